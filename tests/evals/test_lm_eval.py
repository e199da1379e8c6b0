"""Tasks of lm-eval: what is asked, and that lm-eval's own filters and metrics decide. Needs the extra `lm-eval`."""

import json
import pickle
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from posttrain.errors import UserError
from posttrain.evals.benchmark import Benchmark, load_benchmark
from posttrain.evals.stage import run_stage
from posttrain.grading.grader import load_rewards
from posttrain.recipe import BenchmarkSpec, load_recipe
from posttrain.recipe.schema import EvalRecipe
from rewards.contract import Verdict, make_attempt
from tests.taught import ANSWER, DIRECT_ANSWER, QUESTION

FILTERS = [
    {"name": "strict", "filter": [{"function": "regex", "regex_pattern": r"It is (\d+)"}, {"function": "take_first"}]},
    {"name": "any", "filter": [{"function": "regex", "regex_pattern": r"(\d+)"}, {"function": "take_first"}]},
]
EXACT_MATCH = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}


def task_file(folder: Path, **changes: Any) -> str:
    """A task of lm-eval over local files, changed; None takes a key out."""
    for name, answer in (("test", "5"), ("shots", "It is 2.")):
        row = {"question": QUESTION if name == "test" else "1+1?", "answer": answer}
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    config = {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {name: str(folder / f"{name}.jsonl") for name in ("test", "shots")}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n\n"]},
        "filter_list": FILTERS,
        "metric_list": [EXACT_MATCH],
    }
    path = folder / "sums.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (config | changes).items() if value is not None}))
    return str(path)


def load(task: str, **args: Any) -> Benchmark:
    return load_benchmark(BenchmarkSpec(use="lm_eval", args={"task": task, **args}), "benchmarks.0", tokenizer=None)


def verdict(benchmark: Benchmark, answer: str) -> Verdict:
    (reward,) = load_rewards(benchmark.rewards)
    return pickle.loads(pickle.dumps(reward.plugin))(make_attempt({"answer": answer}, dict(benchmark.rows[0])))


def test_without_the_package_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.api.task", None)
    with pytest.raises(UserError, match=r"the package lm-eval is not installed .*pip install lm-eval=="):
        load(str(tmp_path / "task.yaml"))


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`task(**changes)`: a task's file. The package is there, and its cache of data sets is no one else's."""
    pytest.importorskip("lm_eval.api.task", reason="the extra lm-eval is not installed")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))  # of the processes that grade
    return partial(task_file, tmp_path)


def test_description_and_shots_are_turns_before_the_question(task: Callable[..., str]) -> None:
    shots = {"num_fewshot": 1, "fewshot_split": "shots", "description": "Be brief."}
    benchmark = load(task(**shots))
    assert [(turn["role"], turn["content"]) for turn in benchmark.rows[0]["messages"]] == [
        ("system", "Be brief."),
        ("user", "1+1?"),
        ("assistant", "It is 2."),
        ("user", QUESTION),
    ]
    assert [file.name for file in benchmark.files] == ["sums.yaml", "shots.jsonl", "test.jsonl"]


@pytest.mark.parametrize(
    ("args", "answer", "score", "extracted"),
    [
        ({}, "It is 5.", 1, "5"),
        ({}, "It is 6.", 0, "6"),
        ({}, "5", 0, None),
        ({}, "", 0, None),
        ({"filter_name": "any"}, "5", 1, "5"),
        ({}, "Well\n\nIt is 5.", 0, None),
    ],
    ids=["right", "wrong", "not in the form", "empty", "another filter", "after the end of the answer"],
)
def test_filter_and_metric_of_the_task_decide(
    task: Callable[..., str], args: dict[str, Any], answer: str, score: int, extracted: str | None
) -> None:
    got = verdict(load(task(), **args), answer)
    assert (got.score, got.outcome, got.extracted) == (score, bool(score), extracted)


def test_row_without_a_document_cannot_be_judged(task: Callable[..., str]) -> None:
    (reward,) = load_rewards(load(task()).rewards)
    assert reward.plugin(make_attempt({"answer": "It is 5."}, {})).score is None


@pytest.mark.parametrize(
    ("changes", "args", "said"),
    [
        ({"output_type": "multiple_choice", "doc_to_choice": ["5", "6"]}, {}, "got output_type multiple_choice"),
        ({"gen_prefix": "It is"}, {}, "its gen_prefix begins the model's answer"),
        ({"unsafe_code": True}, {}, "its unsafe_code runs the model's code outside the sandbox"),
        ({"metric_list": [{**EXACT_MATCH, "metric": "bleu"}]}, {}, "bleu of one answer is .*; need a metric from 0"),
        ({"dataset_path": "openai/gsm8k"}, {}, "got dataset_path 'openai/gsm8k' without a commit"),
        ({"doc_to_text": "{{qestion}}"}, {}, "lm-eval cannot load it: UndefinedError: 'qestion' is undefined"),
        ({"test_split": None}, {}, "must have valid or test docs"),
        ({}, {"metric": "exact_macth"}, "the metric is 'exact_macth', did you mean 'exact_match'?"),
        ({}, {"filter_name": "lax"}, "the filter is 'lax'; need one of strict, any"),
    ],
)
def test_task_that_cannot_be_asked_or_graded_is_refused(
    task: Callable[..., str], changes: dict[str, Any], args: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        load(task(**changes), **args)


def test_file_that_is_not_there_is_named(task: Callable[..., str]) -> None:
    path = Path(task())
    path.unlink()
    with pytest.raises(UserError, match=r"sums.yaml: lm-eval cannot load it: FileNotFoundError"):
        load(str(path))


@pytest.mark.slow
def test_task_is_answered_in_both_modes_by_the_engine_and_template_of_the_recipe(
    task: Callable[..., str], taught_folder: Path, tmp_path: Path
) -> None:
    content = {
        "stage": "eval",
        "run": str(tmp_path / "run"),
        "label": "taught",
        "model": {"path": str(taught_folder)},
        "engine": {"name": "transformers"},
        "benchmarks": [{"use": "lm_eval", "name": "sums", "args": {"task": task()}}],
        "decodings": [
            {"name": mode, "mode": mode, "temperature": 0.0, "max_new_tokens": 64}
            for mode in ("reasoning", "non_reasoning")
        ],
    }
    (tmp_path / "eval.yaml").write_text(yaml.safe_dump(content))
    recipe = load_recipe(tmp_path / "eval.yaml")
    assert isinstance(recipe, EvalRecipe)
    run_stage(recipe, resume=False)
    records = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert [(one["mode"], one["answer"], one["outcome"]) for one in records] == [
        ("reasoning", ANSWER, True),
        ("non_reasoning", DIRECT_ANSWER, False),
    ]
    assert [one["verdicts"]["exact_match"]["extracted"] for one in records] == ["5", None]
    assert all(one["is_in_mode"] for one in records)
