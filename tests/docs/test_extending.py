"""docs/extending.md: its benchmark works as it stands."""

from pathlib import Path

import pytest

from posttrain.evals.benchmark import load_benchmark
from posttrain.grading import Grader
from posttrain.recipe import BenchmarkSpec
from rewards import make_attempt
from tests.docs.markdown import PROJECT, blocks


def test_benchmark_of_the_page_asks_questions_that_its_reward_can_grade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = [block for block in blocks(PROJECT / "docs" / "extending.md") if block.language == "python"]
    assert code.file == "my_benchmark.py"
    (tmp_path / code.file).write_text(code.text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    benchmark = load_benchmark(BenchmarkSpec(use="my_benchmark:sums", args={"size": 3}), "benchmarks.0", tokenizer=None)
    row = benchmark.rows[2]
    grader = Grader(benchmark.rewards)
    assert grader.grade(make_attempt(r"\boxed{3}", dict(row))).outcome is True
    assert grader.grade(make_attempt(r"\boxed{4}", dict(row))).outcome is False
