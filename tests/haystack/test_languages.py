"""The words of the languages do not get into each other's way."""

from dataclasses import fields
from itertools import permutations

import pytest

from posttrain.haystack import LANGUAGES
from posttrain.haystack.languages import Language

EACH = pytest.mark.parametrize("words", LANGUAGES.values(), ids=LANGUAGES)


@EACH
def test_no_list_says_anything_twice(words: Language) -> None:
    for field in fields(words):
        entries = getattr(words, field.name)
        if isinstance(entries, tuple):
            assert len(set(entries)) == len(entries), field.name
            assert all(entries), field.name
    assert not set(words.words) & set(words.towns)


@EACH
def test_a_thing_is_enough_to_tell_its_code_from_others(words: Language) -> None:
    keys = [words.key.format(colour=colour, thing=thing) for colour in words.colours for thing in words.things]
    sentences = {words.code.format(key=key, code="1") for key in keys}
    assert len(sentences) == len(words.colours) * len(words.things) >= 200


@EACH
def test_no_value_stands_in_another_one_or_in_what_is_said_around_it(words: Language) -> None:
    values = words.words + words.towns
    around = [words.frequent, words.ask_words, *(fact for fact, _ in words.facts)]
    people = [words.person.format(given=given, family=family) for given in words.given for family in words.family]

    def stands_in(value: str, text: str) -> bool:
        if not words.is_spaced:
            return value in text
        return value.casefold() in [word.strip(".,?¿") for word in text.casefold().split()]

    assert not [pair for pair in permutations(values, 2) if stands_in(*pair)]
    assert not [(value, said) for value in values for said in around if stands_in(value, said)]
    assert not [(town, person) for town in words.towns for person in people if stands_in(town, person)]


@EACH
def test_generated_text_has_no_digits(words: Language) -> None:
    parts = [*words.times, *words.actors, *words.deeds, *words.places]
    assert not any(character.isdigit() for part in parts for character in part)
