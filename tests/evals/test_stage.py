import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from posttrain.chat import read_template
from posttrain.errors import UserError
from posttrain.evals.stage import run_stage
from posttrain.evals.tables import results_table
from posttrain.models.build import HybridShape, build_model
from posttrain.models.load import save_model
from posttrain.models.tokenizer import train_tokenizer
from posttrain.recipe import EvalRecipe, load_recipe, resolved_yaml
from posttrain.report.evaluation_charts import heat_maps
from posttrain.report.load import load_stage

QUESTIONS = {"en": "What is {} + 4?", "ko": "{} + 4는 얼마입니까?", "es": "¿Cuánto es {} + 4?"}
NUM_ROWS = 12
METRICS = {
    "accuracy",
    "thinking_tokens",
    "answer_tokens",
    "mode_adherence",
    "language_consistency",
    "truncated",
    "thinks",
    "looping",
    "budget_reached",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model/`, a tiny model with random weights, and `test.jsonl`."""
    folder = tmp_path_factory.mktemp("eval")
    rows = [
        {
            "messages": [{"role": "user", "content": QUESTIONS[language].format(number)}],
            "answer": str(number + 4),
            "language": language,
            "domain": "math",
        }
        for number in range(NUM_ROWS // len(QUESTIONS))
        for language in QUESTIONS
    ]
    write_rows(folder / "test.jsonl", rows)
    tokenizer = train_tokenizer(QUESTIONS.values(), vocab_size=300, chat_template=read_template("exaone4"))
    save_model(build_model(HybridShape(), tokenizer, seed=0), tokenizer, folder / "model")
    return folder


def recipe_for(base: Path, run: Path, *overrides: str) -> EvalRecipe:
    content = {
        "stage": "eval",
        "run": str(run),
        "label": "random",
        "model": {"path": str(base / "model")},
        "data": {"sources": [{"path": str(base / "test.jsonl")}]},
        "engine": {"name": "transformers", "max_model_len": 256},
        "decodings": [
            {"name": "reasoning, T=1", "mode": "reasoning", "temperature": 1.0, "max_new_tokens": 16, "samples": 2},
            {"name": "non-reasoning, greedy", "mode": "non_reasoning", "temperature": 0.0, "max_new_tokens": 8},
        ],
        "rewards": [{"use": "rewards.math_answer:math_answer"}, {"use": "rewards.language:language", "weight": 0.0}],
    }
    path = run.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    recipe = load_recipe(path, overrides)
    assert isinstance(recipe, EvalRecipe)
    return recipe


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an evaluation in chunks of 4 questions."""
    run = tmp_path_factory.mktemp("finished") / "run"
    run_stage(recipe_for(base, run, "chunk_size=4"), resume=False)
    return run


def without_time(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "seconds"}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- what is shown ---


def test_table_shows_a_dash_for_what_was_not_measured() -> None:
    share = {"mean": 0.749, "low": 0.712, "high": 0.783}
    count = {"mean": 31.26, "low": 30.0, "high": 32.0}
    metrics = dict.fromkeys(METRICS, share) | {"thinking_tokens": count, "answer_tokens": count}
    entry = {"name": "[greedy]", "groups": {"all": metrics | {"language_consistency": None}}}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(results_table("SFT", [entry]))
    line = next(line for line in console.export_text().splitlines() if "[greedy]" in line)
    assert line.split() == ["[greedy]", "74.9", "[71.2,", "78.3]", "31.3", "31.3", "74.9", "-", "74.9", "74.9"]


# --- what is refused before a model is loaded ---


def refusal(recipe: EvalRecipe) -> str:
    with pytest.raises(UserError) as caught:
        run_stage(recipe, resume=False)
    assert not Path(recipe.run).exists()
    return str(caught.value)


@pytest.fixture
def without_weights(base: Path, tmp_path: Path) -> Path:
    """The same folder, but loading its model would fail."""
    copy = tmp_path / "base"
    (copy / "model").mkdir(parents=True)
    for file in (base / "model").iterdir():
        if file.suffix != ".safetensors":
            (copy / "model" / file.name).write_bytes(file.read_bytes())
    (copy / "test.jsonl").write_bytes((base / "test.jsonl").read_bytes())
    return copy


def test_missing_data_file_is_refused_first(tmp_path: Path) -> None:
    assert "does not exist" in refusal(recipe_for(tmp_path / "no model either", tmp_path / "run"))


def test_prompt_too_long_for_the_engine_is_refused_without_the_weights(without_weights: Path, tmp_path: Path) -> None:
    message = refusal(recipe_for(without_weights, tmp_path / "run", "engine.max_model_len=20"))
    assert "test.jsonl:1 has " in message


def test_rewards_that_apply_to_no_row_are_refused_without_the_weights(without_weights: Path, tmp_path: Path) -> None:
    message = refusal(
        recipe_for(
            without_weights,
            tmp_path / "run",
            "rewards=[{use: 'rewards.math_answer:math_answer', when: {domain: [law]}}]",
        )
    )
    assert message.startswith("no reward applies to any row")


def test_conversation_that_the_template_refuses_is_named(without_weights: Path, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "?"}]}, {"messages": [{"role": "judge", "content": "?"}]}]
    write_rows(without_weights / "test.jsonl", rows)
    message = refusal(recipe_for(without_weights, tmp_path / "run"))
    where = without_weights / "test.jsonl"
    assert message.startswith(f"{where}:2: the chat template refuses this conversation: unknown role 'judge'")


# --- the whole stage ---


@pytest.mark.slow
def test_stage_writes_what_the_report_reads(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run_stage(recipe_for(base, run), resume=False)
    content = json.loads((run / "eval.json").read_bytes())
    assert (content["label"], content["questions"], content["engine"]) == ("random", NUM_ROWS, "transformers")
    assert [entry["name"] for entry in content["decodings"]] == ["reasoning, T=1", "non-reasoning, greedy"]
    for entry, samples in zip(content["decodings"], (2, 1), strict=True):
        assert list(entry["groups"]) == ["all", "en", "ko", "es", "domain/math"]
        assert [group["n"] for group in entry["groups"].values()] == [count * samples for count in (12, 4, 4, 4, 12)]
        assert entry["tokens"] == entry["groups"]["all"]["n"] * sum(
            entry["groups"]["all"][key]["mean"] for key in ("thinking_tokens", "answer_tokens")
        )
        for group in entry["groups"].values():
            assert group.keys() >= METRICS
            assert group["accuracy"]["mean"] == 0
            for interval in (group[key] for key in METRICS - {"language_consistency"}):
                assert all(math.isfinite(interval[bound]) for bound in ("mean", "low", "high"))
    manifest = json.loads((run / "manifest.json").read_bytes())
    assert manifest["status"] == "finished"
    assert manifest["notes"]["rows_without_gold"] == 0
    assert set(manifest["data"]) == {str(base / "test.jsonl"), str(base / "model")}
    records = read_lines(run / "samples.jsonl")
    assert [record["decoding"] for record in records] == ["reasoning, T=1"] * 24 + ["non-reasoning, greedy"] * 12
    stage = load_stage("random", run, run)
    assert stage.evaluation is not None
    assert stage.evaluation.decodings["reasoning, T=1"].groups["ko"].num_answers == 8
    assert "random" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("lines", [0, 3, 8, 17, 24, 29, 33])
def test_run_that_was_killed_anywhere_goes_on_with_the_chunk_that_is_missing(
    finished: Path, base: Path, tmp_path: Path, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    recipe = recipe_for(base, run, "chunk_size=4")
    shutil.copytree(finished, run)
    (run / "recipe.yaml").write_text(resolved_yaml(recipe))
    written = (run / "samples.jsonl").read_bytes().splitlines(keepends=True)
    first = json.loads(written[0]) | {"seconds": 1234.5}  # an answer that is kept is not made again
    written[0] = json.dumps(first).encode() + b"\n"
    (run / "samples.jsonl").write_bytes(b"".join(written[:lines]) + written[lines][:40])
    whole = json.loads((run / "eval.json").read_bytes())
    (run / "eval.json").write_text(json.dumps(whole | {"decodings": whole["decodings"][: lines // 24]}))
    manifest = json.loads((run / "manifest.json").read_bytes())
    (run / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}))
    run_stage(recipe, resume=True)
    again, records = json.loads((run / "eval.json").read_bytes()), read_lines(run / "samples.jsonl")
    for entry, before in zip(again["decodings"], whole["decodings"], strict=True):
        assert entry["groups"] == before["groups"]
    assert [without_time(one) for one in records] == [without_time(json.loads(line)) for line in written]
    # The first decoding has chunks of 4 questions with 2 samples, the second of 4 with one.
    assert (records[0]["seconds"] == 1234.5) == (lines >= 8)


@pytest.mark.slow
def test_rows_without_gold_are_counted_said_and_left_out_of_accuracy(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_lines(base / "test.jsonl")
    del rows[0]["answer"], rows[5]["answer"]
    data = tmp_path / "rows.jsonl"
    write_rows(data, rows)
    recipe = recipe_for(base, tmp_path / "run", f"data.sources=[{{path: {data}}}]")
    run_stage(recipe, resume=False)
    said = f"2 of 12 rows cannot be called right or wrong, as {data}:1: math_answer: row['answer']"
    assert said in capsys.readouterr().out
    content, manifest = (json.loads((tmp_path / "run" / name).read_bytes()) for name in ("eval.json", "manifest.json"))
    assert manifest["notes"]["rows_without_gold"] == 2
    assert [entry["groups"]["all"]["unscorable"] for entry in content["decodings"]] == [4, 2]


# --- benchmarks, budgets, latency ---


def test_wrong_gold_is_refused_without_the_weights(without_weights: Path, tmp_path: Path) -> None:
    write_rows(without_weights / "test.jsonl", [{"messages": [{"role": "user", "content": "?"}], "answer": "E"}])
    grader = "rewards=[{use: 'evals_gold:strict'}]"
    (tmp_path / "evals_gold.py").write_text(
        "from rewards import Verdict\n\n\ndef gold_answer(row):\n    return 'E'\n\n\n"
        "def strict(attempt):\n    return Verdict(0.0, outcome=False, reason='never')\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        message = refusal(recipe_for(without_weights, tmp_path / "run", grader, "grading.workers=0"))
    assert message.startswith("the gold answers of 1 of 1 rows fail their own grader: ")
    assert ".jsonl:1: strict says of the gold" in message


@pytest.mark.slow
def test_benchmarks_are_asked_beside_the_data_and_graded_by_their_own_rewards(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    benchmarks = (
        "benchmarks=[{use: demo, args: {size: 6}}, {use: demo, name: again, args: {size: 3, seed: 1}}, "
        "{use: needle, args: {lengths: [150], depths: [0, 1], languages: [en]}}]"
    )
    recipe = recipe_for(base, run, benchmarks, "engine.max_model_len=512", "latency_questions=2", "longest_text=30")
    run_stage(recipe, resume=False)
    content, records = json.loads((run / "eval.json").read_bytes()), read_lines(run / "samples.jsonl")
    assert json.loads((run / "manifest.json").read_bytes())["notes"]["benchmarks"] == {
        "data": 12,
        "demo": 6,
        "again": 3,
        "needle": 2,
    }
    greedy = content["decodings"][1]
    assert content["questions"] == greedy["groups"]["all"]["n"] == 23
    assert {name: part["groups"]["all"]["n"] for name, part in greedy["benchmarks"].items()} == {
        "data": 12,
        "demo": 6,
        "again": 3,
        "needle": 2,
    }
    cells = greedy["benchmarks"]["needle"]["cells"]
    assert [(cell["length"], cell["depth"], cell["n"]) for cell in cells] == [(150, 0, 1), (150, 1, 1)]
    graders = {record["benchmark"]: set(record["verdicts"]) for record in records}
    assert graders["demo"] == graders["again"] == {"math_answer", "language"}
    assert graders["needle"] == {"values_found"}
    assert greedy["latency"]["mean"] > 0
    assert all(len(record["answer"]) < 60 and len(record["prompt"][0]["content"]) < 60 for record in records)
    said = capsys.readouterr().out
    assert all(len(line) <= 80 for line in said[said.index("random\n") :].splitlines() if "─" in line or "%" in line)
    stage = load_stage("random", run, run)
    assert stage.evaluation is not None
    domains = {"domain/math", "domain/long_context"}
    assert set(stage.evaluation.decodings["non-reasoning, greedy"].groups) == {"all", "en", "ko", "es", *domains}


@pytest.mark.slow
def test_ruler_has_results_by_task_length_and_depth_and_a_heat_map_of_each_task(base: Path, tmp_path: Path) -> None:
    args = "{tasks: [multi_value, qa], lengths: [400, 500], depths: [0, 1], languages: [en]}"
    run = tmp_path / "run"
    recipe = recipe_for(base, run, f"benchmarks=[{{use: ruler, args: {args}}}]", "engine.max_model_len=768")
    run_stage(recipe, resume=False)
    (_, greedy) = json.loads((run / "eval.json").read_bytes())["decodings"]
    cells = greedy["benchmarks"]["ruler"]["cells"]
    grid = [(task, length, depth) for task in ("multi_value", "qa") for length in (400, 500) for depth in (0, 1)]
    assert [(cell["task"], cell["length"], cell["depth"]) for cell in cells] == grid
    assert all(cell["n"] == 1 and cell["unscorable"] == 0 for cell in cells)
    notes = [chart.note for chart in heat_maps([load_stage("random", run, run)])]
    assert [note for note in notes if "greedy" in note] == [
        f"ruler, {task}, non-reasoning, greedy; accuracy in %" for task in ("multi_value", "qa")
    ]


@pytest.mark.slow
def test_budgets_sweep_the_reasoning_decodings_and_give_a_curve(base: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_stage(recipe_for(base, run, "thinking_budgets=[4,8,null]", "decodings.0.samples=1"), resume=False)
    content = json.loads((run / "eval.json").read_bytes())
    names = ["reasoning, T=1, budget 4", "reasoning, T=1, budget 8", "reasoning, T=1", "non-reasoning, greedy"]
    assert [entry["name"] for entry in content["decodings"]] == names
    (curve,) = content["budget_curves"]
    assert curve["decoding"] == "reasoning, T=1"
    assert [point["thinking_budget"] for point in curve["points"]] == [4, 8, None]
    tokens = [point["thinking_tokens"]["mean"] for point in curve["points"]]
    assert tokens[0] <= 4
    assert tokens[0] < tokens[1] <= 8
    assert tokens[1] < tokens[2]
    assert [point["budget_reached"]["mean"] > 0 for point in curve["points"]] == [True, True, False]
