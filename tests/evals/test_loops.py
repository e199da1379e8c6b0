import time

import pytest

from posttrain.evals.loops import LONGEST_PASSAGE, MIN_LINES, MIN_REPEATS, MIN_SPAN, is_looping

WAIT = "Wait, let me check that step again before I go on. "
PROSE = " ".join(
    f"Step {number} takes {number * 7} apples from basket {number % 3} and adds a pear." for number in range(90)
)


@pytest.mark.parametrize(
    "text",
    [
        WAIT * 5,
        PROSE + WAIT * 5,
        WAIT * 5 + PROSE,
        "no " * MIN_SPAN,
        "다시 확인해 봅시다. 3-2=1. " * 8,
        "让我再想一想。" * 10,
        "Paso: 4+7=1.\nY luego 1*3=3.\n" * 6,
        (" ".join(f"w{number}" for number in range(LONGEST_PASSAGE)) + " ") * MIN_REPEATS,
    ],
    ids=[
        "passage",
        "at the end",
        "at the start",
        "one word",
        "Korean",
        "without spaces",
        "two lines",
        "longest passage",
    ],
)
def test_what_is_said_over_and_over_is_a_loop(text: str) -> None:
    assert is_looping(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        PROSE,
        WAIT * (MIN_REPEATS - 1) + PROSE,
        "no " * (MIN_SPAN - 1),
        "-" * 500,
        "| --- | --- | --- |\n" * 3,
        "\n" * 400,
        "Let me check: 3-2=1.\nYes, 3-2=1 is right.\n" * 2,
    ],
    ids=["nothing", "prose", "three times", "too short", "a rule", "a table's head", "blank lines", "re-checks"],
)
def test_what_is_said_a_few_times_is_none(text: str) -> None:
    assert not is_looping(text)


def test_lines_that_come_back_out_of_order_are_a_loop_when_most_do() -> None:
    new = [f"x_{number} = {number}" for number in range(MIN_LINES)]
    again = ["Hmm, so x is 3.", "But then y is 4.", "That cannot be."]
    mixed = [line for number in range(MIN_LINES) for line in (again[number % 3], again[(number * 2) % 3])]
    assert is_looping("\n".join(mixed))
    assert not is_looping("\n".join(new + mixed[: MIN_LINES - 2]))


def test_a_long_text_is_read_in_seconds() -> None:
    text = " ".join(str(number) for number in range(64_000))
    began = time.process_time()
    assert not is_looping(text)
    assert time.process_time() - began < 20
