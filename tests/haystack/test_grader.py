"""The grader: all values that were asked for, and no others."""

import pickle
import re
from typing import Any

import pytest

from posttrain.authoring.probes import HOSTILE
from posttrain.haystack import LANGUAGES, TASKS, make_rows, values_found
from rewards import make_attempt
from rewards.contract import gold_answer_of, seen_attempt

CODES = {"answer": ["4913946", "1234567"]}
NAMES = {"answer": ["K4821", "B2093"]}
WORDS = {"answer": ["apple", "river"], "language": "en"}


@pytest.fixture(scope="module")
def rows(tokenizer: Any) -> list[dict[str, Any]]:
    return make_rows(tokenizer, tasks=tuple(TASKS), lengths=[1200], depths=[0.0, 0.5, 1.0])


def score(answer: str, row: dict[str, Any]) -> float | None:
    return values_found(make_attempt(answer, row)).score


def test_the_gold_and_the_reply_of_every_task_and_language_are_right(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for answer in (gold_answer_of(values_found, row), row["reply"], f"I found this: {row['reply']}"):
            verdict = values_found(make_attempt(str(answer), row))
            assert (verdict.score, verdict.outcome) == (1.0, True), (row["task"], row["reply"], verdict)


def test_an_answer_that_lists_the_values_of_the_text_is_wrong(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        text = row["messages"][0]["content"]
        for listed in (text, " ".join(re.findall(r"[A-Z]?\d{4,}", text)), ", ".join(set(text.split()))):
            if row["task"] != "needle":  # which has one code in its text
                assert not values_found(make_attempt(listed, row)).outcome, (row["task"], listed)


def test_another_value_and_none_are_wrong(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        words = LANGUAGES[row["language"]]
        others = {"variables": "Z0000", "common_words": words.words[0], "qa": words.towns[0]}
        other = others.get(row["task"], "7777777")
        if other not in row["answer"]:
            assert score(other, row) == 0
            assert score(f"{row['reply']} {other}", row) == 0
        assert score("", row) == score("I do not know.", row) == score("모르겠습니다", row) == 0


@pytest.mark.parametrize(
    ("answer", "row", "wanted"),
    [
        ("4913946", {"answer": "4913946"}, 1),
        ("The code is 4913946.", {"answer": "4913946"}, 1),
        ("암호는 4913946 입니다", {"answer": "4913946"}, 1),
        ("4,913,946", {"answer": "4913946"}, 1),
        ("4 913 946", {"answer": "4913946"}, 1),
        ("４９１３９４６", {"answer": "4913946"}, 1),
        ("It is 4913946, so 4913946.", {"answer": "4913946"}, 1),
        ("4913946 in box 12", {"answer": "4913946"}, 1),
        ("4913947", {"answer": "4913946"}, 0),
        ("4913946 or 4913947", {"answer": "4913946"}, 0),
        ("49139461", {"answer": "4913946"}, 0),
        ("1234567,4913946", CODES, 1),
        ("1,234,567, 4,913,946", CODES, 1),
        ("1,234,567,4,913,946", CODES, 1),
        ("1234567 4913946", CODES, 1),
        ("4913946", CODES, 0.5),
        ("4913946 and 4913947", CODES, 0),
        ("K4821, B2093", NAMES, 1),
        ("b2093와 k4821입니다", NAMES, 1),
        ("K4821 = B2093 = 4913946", NAMES, 1),
        ("K4821", NAMES, 0.5),
        ("K4821, B2093, C1111", NAMES, 0),
        ("AK4821 B20933", NAMES, 0),
        ("River and APPLE", WORDS, 1),
        ("pineapple, rivers", WORDS, 0),
        ("apple", WORDS, 0.5),
        ("apple, river, zebra", WORDS, 0),
        ("나비와 바다입니다", {"answer": ["나비", "바다"], "language": "ko"}, 1),
        ("나비와 바다, 사과", {"answer": ["나비", "바다"], "language": "ko"}, 0),
        ("ratón y jardín", {"answer": ["ratón", "jardín"], "language": "es"}, 1),
        ("rato\u0301n y jardi\u0301n", {"answer": ["ratón", "jardín"], "language": "es"}, 1),
        ("서울이 아니라 강릉에 삽니다", {"answer": "강릉", "language": "ko"}, 1),
        ("강릉이나 경주", {"answer": "강릉", "language": "ko"}, 0),
        ("apple", {"answer": "apple"}, None),
        ("apple", {"answer": "apple", "language": "ko"}, None),
        ("7", {"answer": "7"}, None),
        ("4913946", {"answer": []}, None),
        ("4913946", {"answer": 4913946}, None),
        ("4913946", {}, None),
    ],
)
def test_values_are_told_from_what_stands_around_them(answer: str, row: dict[str, Any], wanted: float | None) -> None:
    verdict = values_found(make_attempt(answer, row))
    assert verdict.score == wanted, verdict
    assert verdict.outcome is (None if wanted is None else wanted == 1)
    assert verdict.reason or wanted == 1


@pytest.mark.parametrize("answer", HOSTILE)
def test_what_a_model_may_write_is_wrong_and_breaks_nothing(answer: str) -> None:
    for row in (CODES, NAMES, WORDS):
        verdict = values_found(seen_attempt(values_found, make_attempt(answer, row)))
        assert verdict.score == 0
        (verdict.extracted or "").encode()


def test_an_answer_that_was_cut_off_is_said_to_be() -> None:
    attempt = make_attempt({"answer": "The codes are", "is_truncated": True}, CODES)
    assert values_found(attempt).reason == "truncated"


def test_it_can_be_sent_to_a_worker() -> None:
    assert pickle.loads(pickle.dumps(values_found)) is values_found
