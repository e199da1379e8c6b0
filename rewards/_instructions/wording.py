"""Constraints on words, letters, sentences and the language."""

import re
from typing import Literal

from rewards.language import detect_language

Relation = Literal["at least", "less than"]

_WORD = re.compile(r"\w+")
_WRITTEN_WORD = re.compile(r"[^\W_](?:[\w'’-]*\w)?")  # with its hyphens and apostrophes
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]*_]*(?=\s+(?P<next>\S)|\s*$)|[。！？]+")
_LAST_WORD = re.compile(r"[^\s.!?…(\"'“‘]*$")
_ABBREVIATION = re.compile(r"Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Inc|Ltd|Co|vs|No|Fig|[A-Za-z]|\d{1,2}")
_COMMA = re.compile("[,،，、]")


def keywords_exist(text: str, *, keywords: list[str]) -> str:
    """Each keyword occurs, also inside of a word, in upper or lower case."""
    missing = [keyword for keyword in keywords if not _count(keyword, text)]
    return f"without {', '.join(missing)}" if missing else _no_words(text)


def keyword_frequency(text: str, *, keyword: str, frequency: int, relation: Relation) -> str:
    """A keyword occurs so often, also inside of words, in upper or lower case."""
    return _compare(_count(keyword, text), frequency, relation, f"times {keyword}") or _no_words(text)


def forbidden_words(text: str, *, forbidden_words: list[str]) -> str:
    """None of the words occurs as a word of its own, in upper or lower case."""
    found = [word for word in forbidden_words if has_word(word, text)]
    return f"with {', '.join(found)}" if found else _no_words(text)


def letter_frequency(text: str, *, letter: str, let_frequency: int, let_relation: Relation) -> str:
    """A character occurs so often, in upper or lower case."""
    return _compare(_count(letter, text), let_frequency, let_relation, f"times {letter}") or _no_words(text)


def response_language(text: str, *, language: str) -> str:
    """Most of the text is in a language (ISO 639-1)."""
    spoken = detect_language(text, expected=language)
    return "" if spoken == language else f"in {spoken or 'no language that can be told'}, not {language}"


def number_words(text: str, *, num_words: int, relation: Relation) -> str:
    """The text has so many words; "don't" is two, as in the benchmark."""
    return _compare(len(_WORD.findall(text)), num_words, relation, "words") or _no_words(text)


def number_sentences(text: str, *, num_sentences: int, relation: Relation) -> str:
    """The text has so many sentences."""
    return _compare(count_sentences(text), num_sentences, relation, "sentences") or _no_words(text)


def capital_word_frequency(text: str, *, capital_frequency: int, capital_relation: Relation) -> str:
    """So many words have capital letters only; "I" is one, and so is what a hyphen joins."""
    capital = sum(word.isupper() for word in _WRITTEN_WORD.findall(text))
    return _compare(capital, capital_frequency, capital_relation, "words in capitals") or _no_words(text)


def english_capital(text: str) -> str:
    """English, without lower-case letters."""
    return _not_english(text) if text.isupper() else "not in capital letters only"


def english_lowercase(text: str) -> str:
    """English, without capital letters."""
    return _not_english(text) if text.islower() else "not in lower-case letters only"


def no_comma(text: str) -> str:
    """There is no comma, of any script."""
    return "with a comma" if has_comma(text) else _no_words(text)


def has_word(word: str, text: str) -> bool:
    """Does a word occur as a word of its own, in upper or lower case?"""
    return re.search(rf"(?<!\w){re.escape(word.strip())}(?!\w)", text, re.IGNORECASE) is not None


def has_comma(text: str) -> bool:
    """Is there a comma of any script?"""
    return _COMMA.search(text) is not None


def count_sentences(text: str) -> int:
    """Stretches of text up to a full stop, a question mark or an exclamation mark, or up to the end.

    No sentence ends after an abbreviation, an initial or the number of a list, nor (where there are capitals at all)
    before a lower-case letter.
    """
    count, end, has_capitals = 0, 0, not text.islower()
    for match in _SENTENCE_END.finditer(text):
        following, before = match["next"], text[max(0, match.start() - 20) : match.start()]
        is_abbreviation = match[0] == "." and _ABBREVIATION.fullmatch(_LAST_WORD.findall(before)[0])
        if following and (is_abbreviation or (has_capitals and following.islower())):
            continue
        count += _WORD.search(text, end, match.end()) is not None
        end = match.end()
    return count + (_WORD.search(text, end) is not None)


def _count(part: str, text: str) -> int:
    return text.casefold().count(part.strip().casefold())


def _compare(count: int, threshold: int, relation: Relation, what: str) -> str:
    holds = count >= threshold if relation == "at least" else count < threshold
    return "" if holds else f"{count} {what}, need {relation} {threshold}"


def _not_english(text: str) -> str:
    spoken = detect_language(text, expected="en")
    return "" if spoken in ("en", None) else f"in {spoken}, not English"


def _no_words(text: str) -> str:
    return "" if _WORD.search(text) else "without words"
