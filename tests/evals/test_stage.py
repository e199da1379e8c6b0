import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from posttrain.chat import read_template
from posttrain.errors import UserError
from posttrain.evals.stage import results_table, run_stage, spread
from posttrain.models.build import HybridShape, build_model
from posttrain.models.load import save_model
from posttrain.models.tokenizer import train_tokenizer
from posttrain.recipe import EvalRecipe, load_recipe
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


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def record(number: int, language: str, outcome: bool | None) -> dict[str, Any]:
    return {"number": number, "language": language, "outcome": outcome}


# --- what is shown ---


def test_few_records_are_all_kept_in_their_order() -> None:
    records = [record(number, "en", number % 2 == 0) for number in range(5)]
    assert spread(records, 5) == records


def test_spread_takes_languages_and_outcomes_in_turn() -> None:
    # 90 right answers in English, 10 wrong ones in Korean, 2 unjudged in Spanish.
    records = [record(number, "en", True) for number in range(90)]
    records += [record(number, "ko", False) for number in range(90, 100)]
    records += [record(number, "es", None) for number in range(100, 102)]
    kept = spread(records, 12)
    assert [kind["language"] for kind in kept] == ["en"] * 5 + ["ko"] * 5 + ["es"] * 2
    assert [kind["number"] for kind in kept] == [0, 1, 2, 3, 4, 90, 91, 92, 93, 94, 100, 101]


def test_table_shows_a_dash_for_what_was_not_measured() -> None:
    share = {"mean": 0.749, "low": 0.712, "high": 0.783}
    count = {"mean": 31.26, "low": 30.0, "high": 32.0}
    metrics = dict.fromkeys(METRICS, share) | {"thinking_tokens": count, "answer_tokens": count}
    entry = {"name": "[greedy]", "groups": {"all": metrics | {"language_consistency": None}}}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(results_table("SFT", [entry]))
    line = next(line for line in console.export_text().splitlines() if "[greedy]" in line)
    assert line.split() == ["[greedy]", "74.9", "[71.2,", "78.3]", "31.3", "31.3", "74.9", "-", "74.9"]


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
    assert message.startswith("prompt 0 has ")


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
    assert message.startswith("row 1 of the data: the chat template refuses this conversation: unknown role 'judge'")


# --- the whole stage ---


@pytest.mark.slow
def test_stage_writes_what_the_report_reads(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run_stage(recipe_for(base, run), resume=False)
    content = json.loads((run / "eval.json").read_bytes())
    assert (content["label"], content["questions"], content["engine"]) == ("random", NUM_ROWS, "transformers")
    assert [entry["name"] for entry in content["decodings"]] == ["reasoning, T=1", "non-reasoning, greedy"]
    for entry, samples in zip(content["decodings"], (2, 1), strict=True):
        assert list(entry["groups"]) == ["all", "en", "ko", "es"]
        assert [group["n"] for group in entry["groups"].values()] == [count * samples for count in (12, 4, 4, 4)]
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
def test_resumed_run_keeps_finished_decodings_and_gives_the_same_as_an_undisturbed_one(
    base: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    recipe = recipe_for(base, run)
    run_stage(recipe, resume=False)
    whole, records = json.loads((run / "eval.json").read_bytes()), read_lines(run / "samples.jsonl")
    # As a kill leaves it between writing the samples of the second decoding and its results.
    first = whole["decodings"][0] | {"seconds": 1234.5}
    (run / "eval.json").write_text(json.dumps(whole | {"decodings": [first]}), encoding="utf-8")
    manifest = json.loads((run / "manifest.json").read_bytes())
    (run / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}), encoding="utf-8")
    run_stage(recipe, resume=True)
    again = json.loads((run / "eval.json").read_bytes())["decodings"]
    assert again[0] == first
    assert again[1]["groups"] == whole["decodings"][1]["groups"]
    assert read_lines(run / "samples.jsonl") == records


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
    said = "2 of 12 rows cannot be called right or wrong, as row 0: math_answer: row['answer']"
    assert said in capsys.readouterr().out
    content, manifest = (json.loads((tmp_path / "run" / name).read_bytes()) for name in ("eval.json", "manifest.json"))
    assert manifest["notes"]["rows_without_gold"] == 2
    assert [entry["groups"]["all"]["unscorable"] for entry in content["decodings"]] == [4, 2]
