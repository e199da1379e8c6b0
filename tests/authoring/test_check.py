"""`posttrain rewards check` tells a reward that can be trusted from one that cannot, whatever the reward does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from posttrain import cli
from posttrain.authoring.probes import HOSTILE

REWARD = """\
import time

from rewards.contract import Verdict


def gold_answer(row):
    return row.get("answer")


def grade(attempt):
    if "answer" not in attempt.row:
        return Verdict(None, reason="no gold")
    is_right = attempt.answer == attempt.row["answer"] != "misread"
    return Verdict(float(is_right), outcome=is_right, reason="" if is_right else "not the gold")


def likes_everything(attempt):
    return Verdict(1.0, outcome=True)


def hangs(attempt):
    if not attempt.answer:
        time.sleep(600)
    return grade(attempt)


def raises(attempt):
    return grade(attempt) if attempt.answer.isprintable() else 1 / 0


def style(attempt):
    return Verdict(0.5 if attempt.answer else 0.0, reason="style")


def for_trl(completions, **_):
    return [2.5 for _ in completions]


class Ranks:
    GRADES_GROUPS = True

    def __call__(self, attempts):
        most = max(len(attempt.answer) for attempt in attempts) or 1
        return [Verdict(len(attempt.answer) / most, reason=f"of {len(attempts)}") for attempt in attempts]


class LikesAll(Ranks):
    def __call__(self, attempts):
        return [Verdict(1.0) for _ in attempts]
"""
Said = tuple[int, str]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Check a reward of the module above against rows with these gold answers: exit code, and what was said."""
    (tmp_path / "checked_rewards.py").write_text(REWARD)
    monkeypatch.syspath_prepend(tmp_path)

    def run(name: str, *golds: str | None, words: tuple[str, ...] = ()) -> Said:
        rows = [
            {"messages": [{"role": "user", "content": "?"}], **({"answer": gold} if gold else {})} for gold in golds
        ]
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        use = f"use=checked_rewards:{name}"
        code = cli.main(["rewards", "check", use, f"data={path}", "workers=1", "timeout_s=60", *words])
        said = capsys.readouterr()
        assert "Warning" not in said.err
        return code, said.out

    return run


def counts(said: str, kind: str) -> list[int]:
    """Attempts, ok, failed, broke, no score."""
    (line,) = [line for line in said.splitlines() if line.split()[:1] == [kind]]
    return [int(word) for word in line.split()[1:6]]


def test_all_is_well_with_a_good_reward_and_good_rows(check: Any) -> None:
    code, said = check("grade", "7", "8", "9")
    assert code == 0
    assert counts(said, "gold") == counts(said, "empty") == [3, 3, 0, 0, 0]
    assert counts(said, "hostile") == [len(HOSTILE) + 2] * 2 + [0] * 3
    assert "the slowest" in said


def test_gold_that_fails_is_shown_with_its_row_and_reason(check: Any) -> None:
    code, said = check("grade", "7", "misread", "9")
    assert code == 1
    assert counts(said, "gold") == [3, 2, 1, 0, 0]
    worst = said.partition("the worst")[2].split()
    assert [worst[worst.index("1")], *worst[worst.index("gold") :][:2]] == ["1", "gold", "failed"]
    assert "not the gold 'misread'" in " ".join(worst)


def test_reward_that_likes_everything_fails(check: Any) -> None:
    code, said = check("likes_everything", "7", "8")
    assert code == 1
    assert counts(said, "empty") == [2, 0, 2, 0, 0]
    assert counts(said, "hostile")[2] == len(HOSTILE) + 1


def test_reward_that_hangs_is_shown_and_not_suffered(check: Any) -> None:
    code, said = check("hangs", *map(str, range(40)), words=("timeout_s=1",))
    assert code == 1
    assert 3 <= counts(said, "empty")[3] < 40
    assert "gave no verdict within the 1 s" in " ".join(said.split())
    assert "Ended after" in said


def test_reward_that_raises_is_shown_with_its_error(check: Any) -> None:
    code, said = check("raises", "7")
    assert code == 1
    assert counts(said, "hostile")[3] > 0
    assert "raised ZeroDivisionError" in said


def test_row_without_gold_is_shown_and_fails_nothing_unless_all_are_so(check: Any) -> None:
    code, said = check("grade", "7", None)
    assert code == 0
    assert counts(said, "gold") == [1, 1, 0, 0, 0]
    assert counts(said, "empty") == [2, 1, 0, 0, 1]
    code, said = check("grade", None)
    assert code == 1
    assert "No row can be judged." in said


def test_reward_without_an_outcome_has_no_gold_to_pass(check: Any) -> None:
    code, said = check("style", "7")
    assert code == 0
    assert "sets no outcome" in said


def test_reward_for_trl_is_checked_too(check: Any) -> None:
    code, said = check("for_trl", "7", words=("style=trl",))
    assert code == 0
    assert counts(said, "empty") == [1, 1, 0, 0, 0]


def test_reward_of_groups_is_shown_the_answers_to_a_row_together(check: Any) -> None:
    code, said = check("Ranks", "7", "8")
    assert code == 0
    assert counts(said, "empty") == [2, 2, 0, 0, 0]
    assert counts(said, "hostile") == [len(HOSTILE) + 1] * 2 + [0] * 3
    shown_together = set(re.findall(r"of (\d+)\b", said.partition("the slowest")[2]))
    assert shown_together
    assert shown_together <= {str(len(HOSTILE) + 2), "3"}  # with the gold and the empty answer
    code, said = check("LikesAll", "7", "8")
    assert code == 1
    assert counts(said, "empty") == [2, 0, 2, 0, 0]


def test_limit_takes_the_first_rows_and_the_tables_fit_80_columns(check: Any) -> None:
    code, said = check("grade", "7", "misread" * 50, words=("limit=1",))
    assert code == 0
    assert counts(said, "gold")[0] == 1
    assert max(len(line) for line in said.splitlines()[1:]) <= 80


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["use=rewards.math_answer:math_answer"], "missing data; pass data=..."),
        (["use=rewards.math_answer:math_anser", "data={rows}"], "did you mean 'math_answer'"),
        (["use=rewards.math_answer:math_answer", "data=none.jsonl"], "'none.jsonl' does not exist"),
        (["use=rewards.math_answer:math_answer", "data={rows}", "limt=3"], "did you mean 'limit'"),
        (["use=rewards.math_answer:math_answer", "data={rows}", "limit=0"], "limit: got 0, need at least 1"),
        (["use=rewards.length:Conciseness", "data={rows}", "args.limit=-1"], "needs a positive number"),
        (["rows.jsonl"], "need section.key=value"),
    ],
)
def test_users_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"messages": [{"role": "user", "content": "?"}], "answer": "7"}\n')
    assert cli.main(["rewards", "check", *(word.format(rows=rows) for word in words)]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert problem in said.err
