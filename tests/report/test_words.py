import pytest

from posttrain.report.words import count, duration, listing, number, percent, signed


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (1.0, "1"),
        (0.5, "0.5"),
        (0.000314159, "0.000314"),
        (212.4, "212"),
        (-0.0312, "−0.0312"),
        (48120, "48,120"),
    ],
)
def test_a_number_keeps_three_significant_digits(value, written):
    assert number(value) == written


def test_shares_are_written_in_percent_with_one_decimal():
    assert percent(0.4649) == "46.5"
    assert percent(1.0) == "100.0"


def test_token_counts_lose_their_decimal_when_they_are_long():
    assert count(46.24) == "46.2"
    assert count(12345.6) == "12,346"


@pytest.mark.parametrize(("text", "written"), [("28.0", "+28.0"), ("-0.7", "−0.7"), ("-0.0", "0.0"), ("0.0", "0.0")])
def test_a_change_always_shows_its_sign_and_no_change_shows_none(text, written):
    assert signed(text) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(48, "48 s"), (59.6, "1 min 00 s"), (370, "6 min 10 s"), (3720, "1 h 02 min")],
)
def test_durations_are_written_in_the_two_largest_units(seconds, written):
    assert duration(seconds) == written


def test_a_listing_reads_like_a_sentence():
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(["a"]) == "a"
