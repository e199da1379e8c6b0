import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.demo.task import (
    LANGUAGES,
    OPERANDS,
    OPERATORS,
    Language,
    Problem,
    Teacher,
    apply,
    draw_problem,
    prompt_row,
    question,
    sft_row,
)
from rewards import make_attempt
from rewards.language import detect_language
from rewards.math_answer import math_answer

HONEST = Teacher(weak_share=0.0, error_rate=0.0, stray_rate=0.0, rechecks=(0,))
FACTS = [(digit, operator, operand) for digit in range(10) for operator in OPERATORS for operand in OPERANDS]
PROBLEM = Problem(4, (("+", 7), ("*", 3), ("-", 2)))


# --- problems ---


def test_chain_is_worked_from_left_to_right_on_last_digits() -> None:
    assert PROBLEM.chain == "4+7*3-2"
    assert PROBLEM.answer == 1  # 4+7=11 -> 1, 1*3=3, 3-2=1
    assert Problem(3, (("-", 6),)).answer == 7  # as in 13-6
    assert Problem(9, (("*", 9), ("*", 9))).answer == 9  # 81 -> 1, 9
    assert Problem(2, ()).answer == 2


@pytest.mark.parametrize(("fact", "digit"), [((0, "-", 9), 1), ((9, "+", 9), 8), ((8, "*", 7), 6), ((5, "*", 2), 0)])
def test_one_step_keeps_the_last_digit(fact: tuple[int, str, int], digit: int) -> None:
    assert apply(*fact) == digit


def test_there_are_240_facts() -> None:
    assert len(FACTS) == 240


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 3))
def test_drawn_problem_has_the_steps_that_were_asked_for(seed: int, least: int, more: int) -> None:
    problem = draw_problem(random.Random(seed), min_steps=least, max_steps=least + more)
    assert least <= len(problem.steps) <= least + more
    assert all(operator in OPERATORS and operand in OPERANDS for operator, operand in problem.steps)
    assert 0 <= problem.answer <= 9
    assert problem == draw_problem(random.Random(seed), min_steps=least, max_steps=least + more)


def test_split_is_a_fixed_property_of_the_chain() -> None:
    """First byte of `printf "held out 4+7*3-2" | sha256sum`, modulo 10: another hash trains on old test problems."""
    known = {"4+7*3-2": "train", "2+2": "train", "2-2": "validation", "2-8": "validation", "2+3": "test", "2-5": "test"}
    drawn = {chain: Problem(int(chain[0]), steps(chain)).split for chain in known}
    assert drawn == known


def steps(chain: str) -> tuple[tuple[str, int], ...]:
    return tuple((chain[index], int(chain[index + 1])) for index in range(1, len(chain), 2))


def test_splits_are_about_eighty_ten_ten() -> None:
    rng = random.Random(0)
    chains = {draw_problem(rng, min_steps=3, max_steps=6) for _ in range(4000)}
    shares = Counter(problem.split for problem in chains)
    assert shares["train"] / len(chains) == pytest.approx(0.8, abs=0.03)
    assert shares["validation"] / len(chains) == pytest.approx(0.1, abs=0.02)
    assert shares["test"] / len(chains) == pytest.approx(0.1, abs=0.02)


# --- the teacher ---


def test_teacher_errs_on_its_weak_facts_at_its_rate_and_on_no_other() -> None:
    teacher = Teacher(weak_share=0.3, error_rate=0.55, stray_rate=0.0, rechecks=(0,))
    rng, tries = random.Random(0), 400
    rates = []
    for fact in FACTS:
        wrong = Counter(digit for _ in range(tries) if (digit := teacher.believes(rng, *fact)) != apply(*fact))
        assert len(wrong) <= 1  # always the same wrong digit
        rates.append(wrong.total() / tries)
    weak = [rate for rate in rates if rate > 0]
    assert len(weak) / len(FACTS) == pytest.approx(0.3, abs=0.06)
    assert all(rate == pytest.approx(0.55, abs=0.12) for rate in weak)  # five standard deviations of one fact
    assert sum(weak) / len(weak) == pytest.approx(0.55, abs=0.02)


def test_weak_facts_are_the_same_for_every_seed() -> None:
    certain = Teacher(weak_share=0.3, error_rate=1.0, stray_rate=0.0, rechecks=(0,))
    beliefs = [[certain.believes(random.Random(seed), *fact) for fact in FACTS] for seed in (0, 1)]
    assert beliefs[0] == beliefs[1]
    assert all(0 <= digit <= 9 for digit in beliefs[0])


def test_honest_teacher_is_always_right() -> None:
    rng = random.Random(0)
    for _ in range(200):
        problem = draw_problem(rng, min_steps=1, max_steps=6)
        thinking, digit = HONEST.think(rng, problem, "en")
        assert digit == problem.answer
        assert thinking.endswith(f"={digit}")


def test_thinking_follows_its_own_mistakes() -> None:
    """The steps of a chain hang together, right or wrong: each starts with the digit the last one ended with."""
    liar = Teacher(weak_share=1.0, error_rate=1.0, stray_rate=0.0, rechecks=(0,))
    thinking, digit = liar.think(random.Random(0), PROBLEM, "ko")
    written = [line.split(" ")[-1] for line in thinking.splitlines() if "=" in line]
    assert [step[0] for step in written] == ["4", written[0][-1], written[1][-1]]
    assert written[-1][-1] == str(digit)
    assert written[0] != "4+7=1"


def test_rechecks_repeat_the_last_step_and_change_nothing() -> None:
    verbose = Teacher(weak_share=0.0, error_rate=0.0, stray_rate=0.0, rechecks=(0, 1, 2, 3, 4))
    rng, lengths = random.Random(0), set()
    for _ in range(100):
        thinking, digit = verbose.think(rng, PROBLEM, "en")
        again = [line for line in thinking.splitlines() if "check" in line or "right" in line]
        assert all("3-2=1" in line for line in again)
        assert digit == 1
        lengths.add(len(again))
    assert lengths == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("asked", LANGUAGES)
def test_the_teacher_strays_into_each_other_language_equally_often(asked: Language) -> None:
    teacher = Teacher(weak_share=0.0, error_rate=0.0, stray_rate=0.4, rechecks=(0,))
    rng = random.Random(0)
    spoken = Counter(teacher.speaks(rng, asked) for _ in range(4000))
    shares = {language: spoken[language] / 4000 for language in LANGUAGES}
    assert shares == pytest.approx({language: 0.6 if language == asked else 0.2 for language in LANGUAGES}, abs=0.03)


# --- rows ---


@pytest.mark.parametrize("language", LANGUAGES)
def test_questions_and_answers_are_in_their_language(language: Language) -> None:
    rng = random.Random(0)
    for mode in ("reasoning", "non_reasoning"):
        for _ in range(20):
            row = sft_row(rng, draw_problem(rng, min_steps=1, max_steps=6), language, mode, HONEST)
            asked, reply = row["messages"]
            assert detect_language(asked["content"]) == language
            assert detect_language(reply["content"]) == language
            assert row["language"] == language


def test_there_are_two_phrasings_in_each_language() -> None:
    for language in LANGUAGES:
        assert len({question(random.Random(seed), PROBLEM, language) for seed in range(20)}) == 2


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("mode", ["reasoning", "non_reasoning"])
def test_gold_passes_the_grader(language: Language, mode: str) -> None:
    rng = random.Random(0)
    for _ in range(20):
        row = sft_row(rng, draw_problem(rng, min_steps=1, max_steps=6), language, mode, HONEST)
        assert math_answer(make_attempt(row["messages"][-1]["content"], row)).outcome is True


def test_wrong_thinking_ends_in_a_wrong_answer_and_the_gold_stays() -> None:
    liar = Teacher(weak_share=1.0, error_rate=1.0, stray_rate=0.0, rechecks=(0,))
    row = sft_row(random.Random(0), Problem(4, (("+", 7),)), "en", "reasoning", liar)
    assert row["answer"] == "1"
    assert math_answer(make_attempt(row["messages"][-1]["content"], row)).outcome is False
    direct = sft_row(random.Random(0), Problem(4, (("+", 7),)), "en", "non_reasoning", liar)
    assert math_answer(make_attempt(direct["messages"][-1]["content"], direct)).outcome is True


def test_only_reasoning_rows_think() -> None:
    for mode, thinks in (("reasoning", True), ("non_reasoning", False)):
        reply = sft_row(random.Random(0), PROBLEM, "es", mode, HONEST)["messages"][-1]
        assert ("reasoning_content" in reply) is thinks


def test_prompt_row_says_all_that_rewards_and_reports_need() -> None:
    row = prompt_row(random.Random(0), PROBLEM, "ko", "reasoning")
    assert [message["role"] for message in row["messages"]] == ["user"]
    assert PROBLEM.chain in row["messages"][0]["content"]
    del row["messages"]
    assert row == {"answer": "1", "language": "ko", "mode": "reasoning", "domain": "math", "steps": 3}
