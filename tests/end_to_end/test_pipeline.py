"""The demo's recipes in a row, a few steps each: every folder holds what the next stage and the report need."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.metrics_page import unnamed

pytestmark = pytest.mark.slow
Posttrain = Callable[..., tuple[int, str, str]]

SFT = ("trainer.max_steps=240", "trainer.logging_steps=20")
RL = (
    "trainer.max_steps=2",
    "trainer.num_generations=8",
    "trainer.per_device_train_batch_size=16",
    "trainer.gradient_accumulation_steps=4",
)
PAIRS = ("engine={name: transformers}",)
PREF = ("trainer.per_device_train_batch_size=4", "trainer.max_steps=3")
STAGES = {"SFT": "sft", "AGAPO": "rl", "SimPER": "pref-stage1"}  # as the report calls them: their folders
EVALUATED = ("sft", "pref-stage1")
REPORTED = ", ".join(
    f"{{name: {name}, run: {run}, eval: {f'eval-{run}' if run in EVALUATED else 'null'}}}"
    for name, run in STAGES.items()
)


def evaluation(run: str) -> tuple[str, ...]:
    return ("eval", "eval", f"model.path=${{root}}/{run}/model", f"run=${{root}}/eval-{run}", f"label={run}")


COMMANDS = {
    "sft": ("sft", "sft", *SFT),
    "eval-sft": evaluation("sft"),
    "rl": ("rl", "rl", *RL),
    "pairs-stage1": ("pairs", "pairs-stage1", *PAIRS),
    "pref-stage1": ("pref", "pref-stage1", *PREF),
    "eval-pref-stage1": evaluation("pref-stage1"),
    "report": ("report", "report", f"stages=[{REPORTED}]"),
}


@pytest.fixture(scope="module")
def runs(root: Path, posttrain: Posttrain) -> Path:
    """Every command has been run once; the folder of the runs."""
    for words in COMMANDS.values():
        code, _, err = posttrain(*words)
        assert code == 0, err
    return root


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "report"])
def test_run_folder_says_what_was_run_and_from_what(runs: Path, name: str) -> None:
    run = runs / name
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["stage"] == COMMANDS[name][0]
    assert manifest["seconds"] > 0
    assert manifest["data"]
    assert manifest["template_sha256"] == json.loads((runs / "sft" / "manifest.json").read_text())["template_sha256"]
    assert f"stage: {COMMANDS[name][0]}" in (run / "recipe.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "steps", "keys"),
    [
        ("sft", list(range(20, 241, 20)), {"loss", "tokens/reasoning", "tokens/non_reasoning", "tokens/ratio"}),
        (
            "rl",
            [1, 2],
            {"loss", "reward", "outcome", "groups/all_correct", "groups/mixed", "groups/all_wrong", "seconds/generate"},
        ),
        ("pref-stage1", [1, 2, 3], {"loss", "prob/chosen", "prob/rejected", "margin", "ordering_accuracy"}),
    ],
)
def test_trainer_leaves_metrics_of_every_step_and_a_model(
    runs: Path, name: str, steps: list[int], keys: set[str]
) -> None:
    lines = read_lines(runs / name / "metrics.jsonl")
    assert [line["step"] for line in lines] == steps
    assert all(keys | {"time", "grad_norm", "learning_rate"} <= line.keys() for line in lines)
    model = {path.name for path in (runs / name / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= model


@pytest.mark.parametrize("name", ["sft", "rl", "pref-stage1"])
def test_every_figure_that_is_logged_is_explained_in_the_docs(runs: Path, name: str) -> None:
    assert unnamed(runs / name, COMMANDS[name][0]) == []


def test_sft_learns_from_three_reasoning_tokens_to_two_others(runs: Path) -> None:
    lines = read_lines(runs / "sft" / "metrics.jsonl")
    assert lines[-1]["loss"] < lines[0]["loss"] / 2
    assert lines[-1]["tokens/ratio"] == pytest.approx(1.5, abs=0.01)


def test_rollouts_come_from_the_weights_that_are_trained(runs: Path) -> None:
    for line in read_lines(runs / "rl" / "metrics.jsonl"):
        assert line["rollout/weights_in_sync"] == 1
        assert line["rollout/mismatch_kl"] < 1e-6
        assert line["groups/all_correct"] + line["groups/mixed"] + line["groups/all_wrong"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["eval-sft", "eval-pref-stage1"])
def test_evaluation_measures_every_decoding_with_its_interval(runs: Path, name: str) -> None:
    result = json.loads((runs / name / "eval.json").read_text())
    assert result["questions"] == 12
    names = ["reasoning, greedy", "reasoning, T=0.6", "non-reasoning, greedy", "non-reasoning, T=0.6"]
    assert [decoding["name"] for decoding in result["decodings"]] == names
    for decoding in result["decodings"]:
        assert set(decoding["groups"]) == {"all", "en", "ko", "es", "domain/math"}
        assert decoding["groups"]["all"]["n"] == 12
        accuracy = decoding["groups"]["all"]["accuracy"]
        assert 0 <= accuracy["low"] <= accuracy["mean"] <= accuracy["high"] <= 1


@pytest.mark.parametrize("name", ["rl", "eval-sft", "pairs-stage1"])
def test_samples_can_be_read_with_their_verdicts(runs: Path, name: str) -> None:
    samples = read_lines(runs / name / "samples.jsonl")
    assert samples
    for sample in samples:
        assert sample["stage"] == COMMANDS[name][0]
        assert sample["prompt"][-1]["role"] == "user"
        assert sample["verdicts"]["math_answer"]["outcome"] is sample["outcome"]
        assert sample["num_thinking_tokens"] <= sample["num_tokens"]


def test_pairs_prefer_a_right_answer(runs: Path) -> None:
    import pyarrow.parquet

    pairs = pyarrow.parquet.read_table(runs / "pairs-stage1" / "pairs.parquet").to_pylist()
    notes = json.loads((runs / "pairs-stage1" / "manifest.json").read_text())["notes"]
    assert len(pairs) == notes["pairs"]["pairs"] > 0
    assert all(pair["chosen_outcome"] is True for pair in pairs)
    assert len(pyarrow.parquet.read_table(runs / "pairs-stage1" / "samples.parquet")) == 24 * 8


def test_report_is_one_page_about_all_stages(runs: Path) -> None:
    page = (runs / "report" / "report.html").read_text(encoding="utf-8")
    for name in STAGES:
        assert name in page
    table = (runs / "report" / "table.md").read_text(encoding="utf-8")
    measured = {name for name, folder in STAGES.items() if folder in EVALUATED}
    assert {name for name in STAGES if f"| {name} |" in table} == measured


def test_the_same_commands_again_skip_what_is_finished(runs: Path, posttrain: Posttrain) -> None:
    for name, words in COMMANDS.items():
        before = {path: path.stat().st_mtime_ns for path in (runs / name).rglob("*")}
        code, out, err = posttrain(*words, "--skip-finished")
        assert (code, err) == (0, "")
        if name != "report":  # which is made anew from what is there
            assert out == f"{runs / name} is finished: skipped\n"
            assert {path: path.stat().st_mtime_ns for path in (runs / name).rglob("*")} == before
