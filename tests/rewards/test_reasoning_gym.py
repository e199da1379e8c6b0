import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from posttrain.data.rows import read_all
from posttrain.recipe import Source
from rewards import Verdict, make_attempt
from rewards._python_literals import is_plain_formula, is_plain_literal
from rewards.reasoning_gym import _EVALUATED, _UNUSABLE, ReasoningGym, _main, make_rows

factory = pytest.importorskip("reasoning_gym.factory")
TASKS = sorted(set(factory.DATASETS) - set(_UNUSABLE))
SOME_TASKS = ["leg_counting", "prime_factorization", "boxnet", "rearc", *_EVALUATED]
NONSENSE = ["banana", "[1,2", "{}", "()", "1/0", "x" * 3000, "\x00", "\ud800", "5!!!", "(" * 300, "-" * 9000]
CODE = "__import__('pathlib').Path('executed').touch()"


def rows(task: str, size: int = 3, **config: Any) -> list[dict[str, Any]]:
    return list(make_rows(task, size=size, seed=0, **config))


def grade(answer: str, row: dict[str, Any], *, partial_credit: bool = False) -> Verdict:
    return ReasoningGym(partial_credit=partial_credit)(make_attempt(f"<answer>{answer}</answer>", row))


def entry(task: str) -> tuple[Any, dict[str, Any]]:
    dataset = factory.create_dataset(task, size=1, seed=0)
    return dataset, dataset[0]


def check(task: str) -> None:
    for row in rows(task):
        if row["answer"] is not None:
            assert grade(row["answer"], row).outcome is True
        for nonsense in NONSENSE:
            assert grade(nonsense, row).outcome is False, nonsense
        for code in (CODE, f"[{CODE}]", f"x + {CODE}", f"{CODE} == 24"):
            assert grade(code, row, partial_credit=True).outcome is False
            assert not Path("executed").exists()


@pytest.mark.parametrize("task", SOME_TASKS)
def test_the_own_answer_is_right_and_nonsense_is_wrong_and_code_is_not_run(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check(task)


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(set(TASKS) - set(SOME_TASKS)))
def test_the_same_holds_for_every_other_task(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(task)


@pytest.mark.parametrize("task", _EVALUATED)
def test_the_package_alone_would_run_the_answer(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this fails, the package has mended it and `_EVALUATED` can lose the task."""
    monkeypatch.chdir(tmp_path)
    dataset, problem = entry(task)
    dataset.score_answer(CODE, problem)
    assert Path("executed").exists()


def test_the_package_gives_full_marks_to_wrong_answers_of_the_tasks_that_are_refused() -> None:
    """Where this fails, the package has mended it and `_UNUSABLE` can lose the task."""
    dataset, problem = entry("game_of_life_halting")
    assert {dataset.score_answer(answer, problem) for answer in ("True", "False", "banana")} == {1.0}
    dataset, problem = entry("puzzle24")
    assert sorted(problem["metadata"]["numbers"]) != [1, 1, 4, 6]
    assert dataset.score_answer("6*4*1*1", problem) == 1.0


@pytest.mark.parametrize("task", _UNUSABLE)
def test_a_task_that_cannot_be_trusted_gives_no_rows_and_no_score(task: str) -> None:
    with pytest.raises(ValueError, match=f"{task}.*cannot be used"):
        rows(task)
    assert grade("24", {"source_dataset": task, "answer": "24", "metadata": "{}"}).score is None


def test_many_right_answers_are_all_right() -> None:
    row = {"source_dataset": "countdown", "answer": "5*4", "metadata": {"numbers": [5, 4], "target": 20}}
    assert [grade(answer, row).score for answer in ("5*4", "4 * 5", "(5)*(4)", "5*5", "20")] == [1, 1, 1, 0, 0]


def test_partial_credit_is_passed_on_only_where_it_was_asked_for() -> None:
    row = rows("leg_counting", size=1)[0]
    longer = f"perhaps {row['answer']}"
    assert grade(longer, row).score == 0
    verdict = grade(longer, row, partial_credit=True)
    assert verdict.score is not None
    assert 0 < verdict.score < 1
    assert verdict.outcome is False
    assert grade(row["answer"], row, partial_credit=True) == grade(row["answer"], row)


def test_the_verifier_gets_the_settings_that_the_rows_were_made_with() -> None:
    settings = {"max_time_difference_seconds": 100, "task_types": ["time"]}
    row = rows("time_intervals", size=1, **settings)[0]
    assert json.loads(row["config"]) == settings
    with_settings = grade("00:00", row, partial_credit=True).score
    assert with_settings != grade("00:00", {**row, "config": None}, partial_credit=True).score


def test_a_verifier_that_cannot_read_the_right_answer_either_is_broken() -> None:
    row = {"source_dataset": "sudoku", "answer": "1 2", "metadata": {}}
    with pytest.raises(KeyError, match="solution"):
        grade("1 2", row)


def test_what_a_verifier_prints_stays_out_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    row = rows("tower_of_hanoi", size=1)[0]
    assert grade("Move disk 9 from Peg 1 to Peg 2", row).score == 0
    assert not "".join(capsys.readouterr())


def test_an_unknown_task_names_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="no task 'leg_count'; did you mean 'leg_counting'"):
        grade("4", {"source_dataset": "leg_count", "answer": "4", "metadata": {}})


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "reasoning_gym.factory")
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'posttrain\[reasoning-gym\]'"):
        rows("leg_counting", size=1)


def test_the_command_writes_rows_that_a_recipe_reads_and_the_reward_grades(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "rewards.reasoning_gym", "leg_counting", "--size=3", "max_animals=4"]
    with path.open("wb") as file:
        subprocess.run(command, stdout=file, check=True)
    read = read_all([Source(path=str(path), mode="reasoning")])
    assert [row["metadata"] for row in read] == [row["metadata"] for row in rows("leg_counting", max_animals=4)]
    assert {row["domain"] for row in read} == {"reasoning_gym"}
    assert [grade(row["answer"], row).outcome for row in read] == [True] * 3


def test_the_seed_decides_which_problems_there_are() -> None:
    first, again, other = (list(make_rows("leg_counting", size=3, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("task", "setting", "message"),
    [
        ("leg_count", "max_animals=4", "did you mean 'leg_counting'"),
        ("leg_counting", "animals=4", "unexpected keyword argument 'animals'"),
        ("leg_counting", "max_animals=0", "refuses its settings"),
        ("leg_counting", "max_animals=many", "refuses its settings"),
    ],
)
def test_the_command_says_what_is_wrong(
    task: str, setting: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rewards.reasoning_gym", task, setting, "--size=1"])
    with pytest.raises(SystemExit, match="2"):
        _main()
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["x**3/3 - 2*x + C", "-sin(x)**2 + exp(-2*x)", "(x + 1)**2", "sqrt(2)*pi", "7", "2**(1/3)", "e**x", "x**-2"],
)
def test_a_plain_formula_is_evaluated(text: str) -> None:
    assert is_plain_formula(text)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9", "(9**9)**99", "2**101", "2**(9*9)", "x**y**z**9", "open('f')", "x.real", "[1]", "'a'", "f(x)",
        "True", "exp(x)(y)", "__import__", "sin(x, y)", "lambda: 1", "", "x +", "(" * 500, "1" + "+1" * 800,
    ],
)  # fmt: skip
def test_anything_else_is_not_evaluated_as_a_formula(text: str) -> None:
    assert not is_plain_formula(text)


@pytest.mark.parametrize("text", ["[[0, 1], [1, 0]]", "['A', 'B']", "ABCDE", "0 1\n1 0", "Q _ _", "-1"])
def test_literals_words_and_what_is_no_python_are_harmless(text: str) -> None:
    assert is_plain_literal(text)


@pytest.mark.parametrize("text", ["f()", "[f()]", "[1]*10**10", "[0 for _ in x]", "a.b", "-" * 9000 + "1", "x[0]"])
def test_anything_else_is_not_evaluated_as_a_literal(text: str) -> None:
    assert not is_plain_literal(text)
