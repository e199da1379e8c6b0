"""Sentences that add up, and what is corrected where they do not."""

import random
from itertools import pairwise

import pytest

from posttrain.errors import UserError
from posttrain.haystack.draws import Draws, split_of
from posttrain.haystack.fitting import fit
from posttrain.haystack.hay import Hay, generated_facts, generated_sentences
from posttrain.haystack.languages import LANGUAGES
from posttrain.haystack.tasks import Insert, place

NAMES = "abcdefghij"
SIZES = [7, 8, 9, 10, 11, 12, 13, 14, 15, 16]


def total(drawn: list[str]) -> int:
    return sum(SIZES[NAMES.index(name)] for name in drawn)


@pytest.mark.parametrize("is_in_order", [False, True])
def test_sentences_of_many_sizes_add_up_to_any_number_of_tokens(is_in_order: bool) -> None:
    hay = Hay(NAMES, SIZES, is_in_order=is_in_order)
    for wanted in range(14, 400):
        assert total(hay.draw(random.Random(wanted), wanted)) == wanted


def test_where_no_sentences_add_up_it_is_less_and_never_more() -> None:
    hay = Hay(["only"], [10])
    assert [len(hay.draw(random.Random(0), wanted)) for wanted in (0, 9, 10, 19, 20, 39)] == [0, 0, 1, 1, 2, 3]


def test_a_longer_text_goes_on_where_the_shorter_one_ends() -> None:
    hay = Hay(NAMES, SIZES)
    longest = hay.draw(random.Random(5), 1000)
    for wanted in (60, 200, 640):
        begins = hay.draw(random.Random(5), wanted)[:-2]
        assert begins == longest[: len(begins)]
        assert len(begins) >= wanted // 16 - 3


def test_every_sentence_is_drawn_before_any_is_drawn_again() -> None:
    drawn = Hay(NAMES, SIZES).draw(random.Random(0), 20 * 12)
    assert sorted(drawn[:10]) == list(NAMES)


def test_a_text_of_ones_own_is_drawn_in_its_order_and_begins_again_at_its_end() -> None:
    drawn = Hay(NAMES, SIZES, is_in_order=True).draw(random.Random(3), 300)[:-2]
    assert all((NAMES.index(after) - NAMES.index(before)) % 10 == 1 for before, after in pairwise(drawn))


def test_what_is_left_out_is_never_drawn() -> None:
    assert set(Hay(NAMES, SIZES).without("aceg").draw(random.Random(0), 500)) == set("bdfhij")


@pytest.mark.parametrize("language", LANGUAGES)
def test_generated_sentences_are_different_ones_and_others_for_another_seed(language: str) -> None:
    sentences = generated_sentences(LANGUAGES[language], random.Random(0))
    assert len(set(sentences)) == len(sentences) == 1000
    assert len(set(sentences) & set(generated_sentences(LANGUAGES[language], random.Random(1)))) < 100
    assert all(sentence.endswith(".") and "{" not in sentence for sentence in sentences)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nobody_has_two_towns_for_the_same(language: str) -> None:
    facts = generated_facts(LANGUAGES[language], random.Random(0))
    assert len(set(facts)) == len(facts) == 4 * 150


# --- places ---


@pytest.mark.parametrize(("depth", "index"), [(0, 0), (0.12, 0), (0.13, 1), (0.5, 2), (0.74, 3), (1, 4)])
def test_an_insert_stands_at_the_nearest_boundary(depth: float, index: int) -> None:
    assert place("abcd", [10, 10, 10, 10], [Insert("N", depth)]).index("N") == index


def test_depth_is_measured_in_tokens_not_in_sentences() -> None:
    assert place("abcd", [70, 10, 10, 10], [Insert("N", 0.6), Insert("M", 0.3)]) == ["M", "a", "N", "b", "c", "d"]


def test_inserts_at_one_boundary_keep_their_order() -> None:
    assert place("ab", [5, 5], [Insert("x", 1), Insert("y", 1), Insert("z", 1)]) == list("abxyz")
    assert place("", [], [Insert("x", 0), Insert("y", 1)]) == ["x", "y"]


# --- fitting ---


def words_and_padding(num_tokens: int, padding: str) -> str:
    return f"question {'word ' * (num_tokens // 5)}{padding}"


@pytest.mark.parametrize("length", range(9, 80))
def test_what_sentences_leave_open_is_padded(length: int) -> None:
    assert len(fit(words_and_padding, len, length, "this")) == length


def test_a_count_that_does_not_add_up_is_corrected() -> None:
    def count(text: str) -> int:  # every sixth word is free
        return len(text) - 5 * (text.count("word") // 6)

    assert count(fit(words_and_padding, count, 509, "this")) == 509


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(UserError, match="this in 8 tokens: the question alone takes 9; need a longer text"):
        fit(words_and_padding, len, 8, "this")
    with pytest.raises(UserError, match="this in 41 tokens: this tokenizer gives no text of exactly that length"):
        fit(words_and_padding, lambda text: 2 * len(text), 41, "this")


# --- draws ---


def test_nothing_is_drawn_twice_and_both_splits_have_about_half() -> None:
    draws = Draws(random.Random(0), LANGUAGES["en"], "evaluation")
    keys = [draws.key() for _ in range(90)]
    assert len(set(keys)) == 90
    assert {split_of(key) for key in keys} == {"evaluation"}
    codes = [split_of(str(code)) for code in range(1_000_000, 1_002_000)]
    assert 900 < codes.count("training") < 1100


def test_depths_are_spread_and_go_up() -> None:
    depths = Draws(random.Random(0), LANGUAGES["en"], "training").depths(5, 0.5)
    assert [int(10 * (depth - 0.5)) for depth in depths] == [0, 1, 2, 3, 4]
