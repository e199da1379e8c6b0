"""Constraints that no answer can keep together."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from rewards._instructions.constraints import Constraint
from rewards._instructions.wording import has_comma, has_word

_EXCLUSIVE = (
    {"change_case:english_capital", "change_case:english_lowercase"},
    {"change_case:english_capital", "detectable_format:constrained_response"},
    {"change_case:english_lowercase", "detectable_format:constrained_response"},
    *(
        {"detectable_format:json_format", other}
        for other in (
            "combination:two_responses",
            "combination:repeat_prompt",
            "startend:end_checker",
            "startend:quotation",
            "length_constraints:number_paragraphs",
        )
    ),
    {"startend:quotation", "combination:repeat_prompt"},
    {"length_constraints:number_paragraphs", "combination:two_responses"},  # ****** holds two dividers
)
_COUNTED = {  # id -> what is counted (and of which argument), the number, the relation
    "keywords:frequency": ("keyword", "frequency", "relation"),
    "keywords:letter_frequency": ("letter", "let_frequency", "let_relation"),
    "length_constraints:number_words": (None, "num_words", "relation"),
    "length_constraints:number_sentences": (None, "num_sentences", "relation"),
    "change_case:capital_word_frequency": (None, "capital_frequency", "capital_relation"),
}
_SINGLE = {  # two of these agree, or no answer keeps both
    "language:response_language": "language",
    "length_constraints:number_paragraphs": "num_paragraphs",
    "length_constraints:nth_paragraph_first_word": "num_paragraphs",
    "detectable_format:number_bullet_lists": "num_bullets",
}
_REQUIRED = {  # id -> the argument whose text the answer must contain
    "keywords:existence": "keywords",
    "keywords:frequency": "keyword",
    "keywords:letter_frequency": "letter",
    "startend:end_checker": "end_phrase",
    "combination:repeat_prompt": "prompt_to_repeat",
    "length_constraints:nth_paragraph_first_word": "first_word",
}


def find_conflicts(constraints: Sequence[Constraint]) -> list[str]:
    """What contradicts what, in words; the order of the constraints decides the order."""
    return [*_exclusive(constraints), *_bounds(constraints), *_disagreements(constraints), *_wordings(constraints)]


def _exclusive(constraints: Sequence[Constraint]) -> Iterator[str]:
    ids = {constraint.id for constraint in constraints}
    for pair in _EXCLUSIVE:
        if pair <= ids:
            yield " against ".join(sorted(pair))


def _bounds(constraints: Sequence[Constraint]) -> Iterator[str]:
    """At least 20 words and less than 10; less than one word; capital words in a text without capitals."""
    ids = {constraint.id for constraint in constraints}
    lowest: dict[Any, int] = defaultdict(int)
    highest: dict[Any, int] = {}
    if "change_case:english_lowercase" in ids:
        highest["change_case:capital_word_frequency", None] = 0
    elif "change_case:english_capital" in ids:
        lowest["change_case:capital_word_frequency", None] = 1
    for name in ("length_constraints:number_words", "length_constraints:number_sentences"):
        lowest[name, None] = 1
    for name, _, arguments in constraints:
        if name not in _COUNTED:
            continue
        what, number, relation = _COUNTED[name]
        key = name, arguments[what].strip().casefold() if what else None
        if arguments[relation] == "at least":
            lowest[key] = max(lowest[key], arguments[number])
        else:
            highest[key] = min(highest.get(key, arguments[number]), arguments[number] - 1)
    for (name, what), most in highest.items():
        least = lowest[name, what]
        if least > most:
            yield f"{name}{f' of {what!r}' if what else ''}: at least {least} against at most {most}"


def _disagreements(constraints: Sequence[Constraint]) -> Iterator[str]:
    for name, argument in _SINGLE.items():
        values = [each.arguments[argument] for each in constraints if each.id == name]
        if len(set(values)) > 1:
            yield f"{name}: {argument} {' against '.join(map(str, values))}"
    for name, _, arguments in constraints:
        if name == "language:response_language" and arguments["language"] != "en":
            for other in constraints:
                if other.id.startswith("change_case:english"):
                    yield f"{other.id} against language {arguments['language']}"
        if name == "length_constraints:nth_paragraph_first_word":
            nth, number = arguments["nth_paragraph"], arguments["num_paragraphs"]
            if nth > number:
                yield f"{name}: paragraph {nth} of {number}"
    for one, other in combinations([each for each in constraints if each.id == "startend:end_checker"], 2):
        phrases = sorted((each.arguments["end_phrase"].strip().casefold() for each in (one, other)), key=len)
        if not phrases[1].endswith(phrases[0]):
            yield f"startend:end_checker: {phrases[0]!r} against {phrases[1]!r}"


def _wordings(constraints: Sequence[Constraint]) -> Iterator[str]:
    """A required text with a comma where none is allowed, with a forbidden word, or in letters of the other case."""
    ids = {constraint.id for constraint in constraints}
    required = [(each.id, text) for each in constraints for text in _required_texts(each)]
    for name, text in required:
        if "punctuation:no_comma" in ids and has_comma(text):
            yield f"punctuation:no_comma against {name} {text!r}"
        for each in constraints:
            for word in each.arguments["forbidden_words"] if each.id == "keywords:forbidden_words" else ():
                if name != "keywords:letter_frequency" and has_word(word, text):
                    yield f"forbidden {word!r} against {name} {text!r}"
    for each in constraints:
        if each.id == "detectable_format:multiple_sections":
            word = each.arguments["section_spliter"]
            for case, is_kept in (("capital", word.upper() == word), ("lowercase", word.lower() == word)):
                if f"change_case:english_{case}" in ids and not is_kept:
                    yield f"change_case:english_{case} against sections that begin with {word!r}"


def _required_texts(constraint: Constraint) -> list[str]:
    name, _, arguments = constraint
    if name in ("keywords:frequency", "keywords:letter_frequency"):
        _, _, relation = _COUNTED[name]
        if arguments[relation] != "at least":
            return []
    value = arguments[_REQUIRED[name]] if name in _REQUIRED else []
    return [value] if isinstance(value, str) else list(value)
