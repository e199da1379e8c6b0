"""`posttrain rewards list` shows what recipes can name."""

import subprocess
import sys

import pytest

from posttrain import cli
from posttrain.authoring.listing import find_rewards
from posttrain.plugins import load_object


def test_rewards_of_the_package_are_listed_by_a_name_that_recipes_can_use() -> None:
    listed = {one.use: one for one in find_rewards()}
    assert all(callable(load_object(use, "use")) for use in listed)
    math, length = listed["rewards.math_answer:math_answer"], listed["rewards.length:Conciseness"]
    assert (math.has_outcome, math.settings) == (True, "")
    assert math.summary.startswith("Compare the last balanced")
    assert (length.has_outcome, length.settings) == (False, "limit: int")
    assert not listed["rewards.preference:PairwiseJudge"].has_outcome
    assert listed["rewards.science_answer:ScienceAnswer"].settings == "judge: Judge | Mapping[str, Any] | None = None"


def test_table_fits_80_columns_and_cuts_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rewards", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for one in find_rewards():
        assert any(one.use in line for line in lines)


def test_list_imports_no_training_library() -> None:
    code = "import sys; from posttrain import cli; cli.main(['rewards', 'list']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"torch", "trl", "transformers", "datasets"} & set(done.stdout.split())
