"""Faults 18 to 23: input that nothing can be done with is refused before weights are loaded, by file and line.

So is a folder that another run writes to (26).

The model folder has no weights, so that a stage which comes so far as to load them fails at that.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posttrain import cli
from posttrain.runs import Run

pytestmark = pytest.mark.slow

DECODING = "{mode: non_reasoning, temperature: 1.0, max_new_tokens: 12, samples: 3}"
ROWS = "data: {sources: [{path: rows.jsonl}]}\n"
GRADED = ROWS + 'grading: {workers: 0}\nrewards: [{use: "rewards.math_answer:math_answer"}]\n'
SAMPLED = f"{GRADED}engine: {{name: transformers}}\ndecoding: {DECODING}\n"
TRAINER = "learning_rate: 1e-2, max_steps: 2, report_to: none"
RECIPES = {
    "sft": f"""\
data: {{sources: [{{path: rows.jsonl}}], workers: 1}}
mixer: {{use: "data_mixers.by_tokens:ByTokens", args: {{shares: {{reasoning: 1}}}}}}
trainer: {{per_device_train_batch_size: 2, {TRAINER}}}
""",
    "rl": f"""\
{GRADED}engine: transformers
trainer: {{num_generations: 4, per_device_train_batch_size: 8, max_completion_length: 12, {TRAINER}}}
""",
    "pref": f"pairs: [pairs.parquet]\ntrainer: {{per_device_train_batch_size: 2, {TRAINER}}}\n",
    "context": """\
stages: [{name: short, length: 1024, limit_tokens: 4000, slice_tokens: 4000}]
documents: null
long: {sources: [{path: rows.jsonl}], share: 1.0}
gate: {samples_per_cell: 1, lengths: [0.2], depths: [0], languages: [en], max_new_tokens: 12}
trainer: {learning_rate: 1e-2, report_to: none}
""",
    "pairs": f"{SAMPLED}pairs: {{builder: shortest_correct}}\n",
    "filter": SAMPLED,
    "eval": f"{GRADED}label: base\nengine: {{name: transformers}}\ndecodings: [{DECODING[:-1]}, name: warm}}]\n",
}
OF_ROWS = [stage for stage in RECIPES if stage != "pref"]
SAID_OF_WEIGHTS = "no model could be loaded from 'hollow'"

Refusal = Callable[..., str]


def stages(number: int, how: str, *names: str) -> Any:
    """Parameters `stage` with the mark of this fault."""
    return [pytest.param(name, marks=pytest.mark.fault(number, how, stage=name)) for name in names]


@pytest.fixture
def refusal(
    workplace: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> Refusal:
    """Run a stage on these rows, which change the good ones by their number; the one line that it ends with."""
    shutil.copytree(model_folder, tmp_path / "hollow")
    (tmp_path / "hollow" / "model.safetensors").unlink()
    shutil.copy(workplace / "pairs.parquet", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)  # pytest keeps its own handlers

    def run(stage: str, changed: dict[int, dict[str, Any]] | None = None, *words: str) -> str:
        name = "sft_reasoning" if stage in ("sft", "context") else "rl"
        rows = [json.loads(line) for line in (workplace / f"{name}.jsonl").read_text().splitlines()]
        for number, change in (changed or {}).items():
            rows[number] |= change
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(f"stage: {stage}\nrun: run\nmodel: {{path: hollow}}\n{RECIPES[stage]}")
        assert cli.main([stage, str(recipe), *words]) == 2
        before, mark, said = capfd.readouterr().err.partition("error: ")
        assert mark, before
        return str(said)

    return run


def asking(question: object) -> dict[str, Any]:
    reply = {"role": "assistant", "content": "7", "reasoning_content": "3+4=7"}
    return {"messages": [{"role": "user", "content": question}, reply]}


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("stage", RECIPES)
def test_good_input_comes_as_far_as_the_weights(stage: str, refusal: Refusal) -> None:
    assert SAID_OF_WEIGHTS in refusal(stage)


@pytest.mark.parametrize("stage", stages(18, "prompts null and a number", *OF_ROWS))
def test_rows_without_a_usable_prompt_are_refused_by_file_and_line(stage: str, refusal: Refusal) -> None:
    said = refusal(stage, {1: asking(None), 4: asking(7), 5: {"messages": None}})
    assert "rows cannot be used" in said
    assert "rows.jsonl:2" in said
    if stage not in (
        "sft",
        "context",
    ):  # which tell the first of every reason, and keep all in rejected.jsonl where they go on
        assert "rows.jsonl:5" in said
    assert "rows.jsonl:6" in said


@pytest.mark.parametrize("stage", stages(19, "an empty prompt", *OF_ROWS))
def test_a_row_with_an_empty_prompt_is_refused_by_file_and_line(stage: str, refusal: Refusal) -> None:
    said = refusal(stage, {2: asking(" \n")})
    assert "rows.jsonl:3" in said
    assert "(user) is empty" in said


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        pytest.param(None, "prompt_ids", marks=pytest.mark.fault(18, "a prompt null in pairs.parquet", stage="pref")),
        pytest.param([], "prompt_ids is empty", marks=pytest.mark.fault(19, "empty in pairs.parquet", stage="pref")),
    ],
)
def test_a_pair_without_a_prompt_is_refused_by_file_and_row(
    prompt: list[int] | None, problem: str, refusal: Refusal, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "pairs.parquet")
    rows = table.to_pylist()
    rows[3]["prompt_ids"] = prompt
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), tmp_path / "pairs.parquet")
    assert f"pairs.parquet:4: {problem}" in refusal("pref")


@pytest.mark.parametrize("gold", [None, 7])
@pytest.mark.fault(20, "gold null, a number", stage="rl")
def test_gold_answers_that_cannot_be_read_are_refused_by_file_and_line(gold: object, refusal: Refusal) -> None:
    said = refusal("rl", {1: {"answer": gold}, 5: {"answer": gold}})
    assert "2 of 8 rows cannot be judged, more than 5%: rows.jsonl:2: row['answer']" in said
    assert "rows.jsonl:6" in said
    assert SAID_OF_WEIGHTS in refusal("rl", {1: {"answer": gold}, 5: {"answer": gold}}, "check_gold=false")


@pytest.mark.fault(20, "all golds null", stage="filter")
def test_prompts_that_nobody_can_judge_are_refused(refusal: Refusal) -> None:
    assert "got 8 prompts that no reward" in refusal("filter", {row: {"answer": None} for row in range(8)})


@pytest.mark.fault(20, "gold null", stage="eval")
def test_questions_without_gold_are_told_by_file_and_line(refusal: Refusal, tmp_path: Path, capfd: Any) -> None:
    recipe = tmp_path / "recipe.yaml"
    assert SAID_OF_WEIGHTS in refusal("eval", {1: {"answer": None}})
    assert cli.main(["eval", str(recipe), "run=again"]) == 2
    assert "1 of 8 rows cannot be called right or wrong, as rows.jsonl:2: math_answer" in capfd.readouterr().out


@pytest.mark.parametrize("stage", stages(21, "longer than the context", "sft", "rl", "pairs", "filter", "eval"))
def test_a_prompt_that_is_too_long_is_refused_by_file_and_line(stage: str, refusal: Refusal, tmp_path: Path) -> None:
    said = refusal(stage, {3: asking("7" * 1100)})  # every digit is a token, the context has 1024
    assert "rows.jsonl:4" in said
    assert "1024" in said or "1012" in said  # RL: what a whole completion leaves of it


@pytest.mark.fault(21, "longer than the length", stage="context")
def test_a_row_longer_than_the_length_is_set_aside_with_its_file_and_line(refusal: Refusal, tmp_path: Path) -> None:
    assert SAID_OF_WEIGHTS in refusal("context", {3: asking("7" * 1100)})
    (row,) = map(json.loads, (tmp_path / "run" / "short" / "rejected.jsonl").read_text().splitlines())
    assert (Path(row["file"]).name, row["line"], row["reason"]) == ("rows.jsonl", 4, "too long")


@pytest.mark.fault(21, "longer than the context", stage="pref")
def test_a_pair_that_is_too_long_is_refused_by_its_number(refusal: Refusal, tmp_path: Path) -> None:
    change_json(tmp_path / "hollow" / "config.json", max_position_embeddings=8)
    assert "of pairs.parquet has " in (said := refusal("pref"))
    assert "the model's context is 8" in said


@pytest.mark.parametrize("stage", stages(22, "an embedding of 100 rows", *RECIPES))
def test_a_tokenizer_larger_than_the_embedding_is_refused(stage: str, refusal: Refusal, tmp_path: Path) -> None:
    change_json(tmp_path / "hollow" / "config.json", vocab_size=100)
    assert "tokens but the model's embedding has 100 rows" in refusal(stage)


@pytest.mark.parametrize("stage", stages(23, "the template removed", *RECIPES))
def test_a_model_without_a_chat_template_is_refused(stage: str, refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "hollow" / "chat_template.jinja").unlink()
    assert "'hollow' has no chat template" in refusal(stage)


@pytest.mark.parametrize(
    ("stage", "words", "said"),
    [
        (
            "sft",
            ("trainer.per_device_train_batch_size=0",),
            "trainer.per_device_train_batch_size: got 0, need at least 1",
        ),
        (
            "pref",
            ("trainer.gradient_accumulation_steps=0",),
            "trainer.gradient_accumulation_steps: got 0, need at least",
        ),
        ("sft", ("trainer.per_device_train_batch_size=64",), "one step takes 64"),
        ("rl", ("trainer.num_generations=3",), "trainer: "),
        ("rl", ("trainer.num_generations=1",), "trainer: "),
        ("rl", ("trainer.generation_batch_size=12",), "trainer: "),
        ("rl", ("trainer.steps_per_generation=3", "trainer.gradient_accumulation_steps=2"), "one must be a multiple"),
        ("rl", ("trainer.per_device_train_batch_size=64",), "got 8 prompts, one step takes 16"),
    ],
)
def test_batches_that_do_not_come_out_even_are_refused(
    stage: str, words: tuple[str, ...], said: str, refusal: Refusal
) -> None:
    line = refusal(stage, None, *words)
    assert said in line
    assert SAID_OF_WEIGHTS not in line


@pytest.mark.parametrize("stage", stages(26, "a second run in the folder", *RECIPES))
def test_a_folder_that_another_run_writes_to_is_refused(stage: str, refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    holder = Run(tmp_path / "run", None)
    holder._lock()
    assert "run is in use by another process" in refusal(stage)
    del holder
    assert SAID_OF_WEIGHTS in refusal(stage)
