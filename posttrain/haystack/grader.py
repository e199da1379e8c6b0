"""Are the values that were asked for in the answer, and no others?

A value is whatever looks like the gold: a number of five digits or more, a variable (`K4821`), a word of the language's
list, or a town. Those in the answer are compared with the gold's, so an answer that lists all values of the text is as
wrong as one without any; sentences around them, and their order, do not matter.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from posttrain.haystack.languages import LANGUAGES
from rewards.contract import Attempt, Verdict

SEES = ("answer", "is_truncated", "row")

Finder = Callable[[str], set[str]]

_IN_THOUSANDS = re.compile(r"(?<!\d)\d{1,3}(?:[,. ]\d{3})+(?!\d)")
_CODE = re.compile(r"\d{5,}")
_VARIABLE = re.compile(r"(?<![a-z\d])[a-z]\d{4}(?!\d)", re.IGNORECASE)
_LONGEST = 100  # characters of what is logged


def values_found(attempt: Attempt) -> Verdict:
    """Score the share of the values `row["answer"]` (a text, or a list of them) that the answer has; 0 with any other.

    The outcome is right when all are there. Thousands may be separated. Score None when the row has no such values.
    """
    gold = _gold(attempt.row)
    find = _finder(gold, attempt.row.get("language")) if gold else None
    if find is None:
        return Verdict(None, reason="row['answer'] has no code, variable, word or town of its language")
    found = find(attempt.answer)
    extracted = ", ".join(sorted(found))[:_LONGEST] or None
    if found == gold:
        return Verdict(1.0, outcome=True, extracted=extracted)
    if found - gold:
        return Verdict(0.0, outcome=False, extracted=extracted, reason="another value")
    if found:
        reason = f"{len(found)} of {len(gold)} values"
        return Verdict(len(found) / len(gold), outcome=False, extracted=extracted, reason=reason)
    return Verdict(0.0, outcome=False, reason="truncated" if attempt.is_truncated else "no value")


def gold_answer(row: Mapping[str, Any]) -> str | None:
    """The values themselves."""
    return ", ".join(sorted(_gold(row))) or None


def _gold(row: Mapping[str, Any]) -> set[str]:
    gold = row.get("answer")
    values = [gold] if isinstance(gold, str) else gold if isinstance(gold, list) else []
    return {value for value in values if isinstance(value, str)}


def _finder(gold: set[str], language: Any) -> Finder | None:
    """What finds values of the gold's kind."""
    finders: list[Finder] = [_codes, _variables]
    if language in LANGUAGES:
        finders += [_of_list(language, "words"), _of_list(language, "towns")]
    return next((find for find in finders if all(find(value) == {value} for value in gold)), None)


def _codes(text: str) -> set[str]:
    text = unicodedata.normalize("NFKC", text)
    return set(_CODE.findall(_IN_THOUSANDS.sub(lambda number: re.sub(r"\D", "", number[0]), text)))


def _variables(text: str) -> set[str]:
    return {name.upper() for name in _VARIABLE.findall(unicodedata.normalize("NFKC", text))}


@cache
def _of_list(language: str, name: str) -> Finder:
    """What finds the entries of a list, in upper or lower case; longer ones first."""
    words = LANGUAGES[language]
    entries = {entry.casefold(): entry for entry in getattr(words, name)}
    either = "|".join(map(re.escape, sorted(entries, key=len, reverse=True)))
    pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)" if words.is_spaced else either)
    return lambda text: {entries[said] for said in pattern.findall(unicodedata.normalize("NFKC", text).casefold())}
