"""`posttrain check` reads what the stage would read, says what it would do, and leaves nothing behind."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from posttrain.chat import MODES, origin_of, read_template
from posttrain.check import check_recipe
from posttrain.cli import main
from posttrain.errors import UserError
from posttrain.recipe import load_recipe

Plan = Callable[..., dict[str, str]]
SIZE = r"[\d.]+ [MG]B"


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str]) -> Plan:
    """Check a recipe and read the plan that it prints below the recipe itself."""

    def check(path: Path, *overrides: str) -> dict[str, str]:
        check_recipe(load_recipe(path, overrides))
        said = capsys.readouterr().out
        lines = said.rpartition("\n\n")[2].splitlines()
        return {line[:12].strip(): line[13:] for line in lines}

    return check


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- SFT ---


def test_plan_of_an_sft_recipe_says_rows_tokens_ratio_and_steps(
    sft_recipe_file: Path, tokenizer: Any, tmp_path: Path, plan: Plan
) -> None:
    from posttrain.data.intake import take_in
    from posttrain.sft.stage import plan as mix

    recipe: Any = load_recipe(sft_recipe_file)
    mixed = mix(recipe, take_in(recipe.data, tokenizer))
    longest = max(len(row.input_ids) for row in mixed.rows)
    said = plan(sft_recipe_file)
    assert said["rows"] == f"{len(mixed.rows)} (longest {longest} tokens)"
    assert said["ratio"] == f"{mixed.ratio:.3f} reasoning : non-reasoning, in trained tokens"
    for mode in ("reasoning", "non_reasoning"):
        assert f"{mode}: {mixed.trained_tokens[mode]:,} trained of {mixed.all_tokens[mode]:,}" in said["tokens"]
    assert plan(sft_recipe_file)["encoding"] == "150 rows from the cache"
    assert said["steps"] == "6 optimizer steps of 6 samples on 1 process(es)"
    assert re.fullmatch(rf"about {SIZE} at the peak \((\w+ {SIZE}, )+.*\); at .*, one process", said["memory"])
    assert not (tmp_path / "run").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["sft.yaml"]


def test_plan_of_packs_says_how_full_they_are_and_counts_steps_in_packs(
    sft_recipe_file: Path, demo_files: dict[str, Path], plan: Plan
) -> None:
    overrides = ("data.pack_tokens=256", "trainer.per_device_train_batch_size=1", "trainer.max_steps=-1")
    validation = f"validation={{sources: [{{path: {demo_files['sft_round2']}}}]}}"
    said = plan(sft_recipe_file, *overrides, validation)
    count = int(said["packs"].partition(" ")[0])
    assert re.fullmatch(rf"{count} of at most 256 tokens \(\d\d\.\d% full, \d\.\d rows each\)", said["packs"])
    assert said["steps"] == f"{-(-count // 2)} optimizer steps of 2 packs on 1 process(es)"
    assert re.fullmatch(r"\d+ rows in \d+ packs", said["validation"])


def test_plan_of_an_sft_recipe_ends_with_what_is_taken_from_each_source(
    sft_recipe_file: Path, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from posttrain.data.intake import take_in
    from posttrain.sft.stage import plan as mix

    check_recipe(load_recipe(sft_recipe_file))
    table = capsys.readouterr().out.rpartition("steps ")[2]
    (long,) = (line.split() for line in table.splitlines() if line.strip().startswith("long"))
    recipe: Any = load_recipe(sft_recipe_file)
    usage = mix(recipe, take_in(recipe.data, tokenizer)).plan.sources[0]
    assert long == [
        *("long", "60", f"{usage.tokens:,}", "60.00", f"{100 * usage.got_share:.2f}"),
        *(f"{usage.epochs:.2f}", "0", f"{usage.left_over_tokens:,}"),
    ]


def headings(said: str) -> list[list[str]]:
    return [line.split(" · ") for line in said.splitlines() if " · " in line]


def test_shown_rows_come_from_each_mode_and_source_in_turn(
    sft_recipe_file: Path, demo_files: dict[str, Path], tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from posttrain.data.intake import take_in
    from posttrain.sft.stage import plan as mix

    more = f"data.sources=[{{name: long, path: {demo_files['sft_reasoning']}, domain: math}},"
    more += (
        f"{{name: a/b, path: {demo_files['sft_reasoning']}}}, {{name: short, path: {demo_files['sft_non_reasoning']}}}]"
    )
    recipe: Any = load_recipe(sft_recipe_file, [more])
    check_recipe(recipe, show=4)
    shown = headings(capsys.readouterr().out)
    sources_and_modes = [(each[1], each[2]) for each in shown]
    assert sources_and_modes == [
        ("long", "reasoning"),
        ("short", "non_reasoning"),
        ("a/b", "reasoning"),
        ("short", "non_reasoning"),
    ]
    rows = mix(recipe, take_in(recipe.data, tokenizer)).rows
    for number, _, mode, domain, tokens in shown:
        row = rows[int(number.removeprefix("row ")) - 1]
        assert MODES[row.mode_id] == mode
        assert domain == (row.domain or "no domain")
        assert tokens == f"{row.trained_tokens} of {len(row.input_ids)} tokens trained"


def test_shown_row_says_what_it_trains_below_the_plan(
    sft_recipe_file: Path, demo_files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    check_recipe(load_recipe(sft_recipe_file), show=1)
    said = capsys.readouterr().out
    plan_said, _, row = said.partition("\nrow ")
    assert "tokens: trained ones" in plan_said
    assert "⟦" not in plan_said
    [trained] = re.findall("<think>↵\n⟦(.*)⟧↵\n", row, flags=re.DOTALL)
    thinking, answer = trained.replace("↵", "").removesuffix("[|endofturn|]").split("\n</think>\n\n")
    rows = [json.loads(line) for line in demo_files["sft_reasoning"].read_text().splitlines()]
    replies = [(row["messages"][-1]["reasoning_content"], row["messages"][-1]["content"]) for row in rows]
    assert (thinking, answer) in replies


def test_template_is_told_with_what_it_can_express(sft_recipe_file: Path, tmp_path: Path, plan: Plan) -> None:
    assert plan(sft_recipe_file)["template"] == "reasoning and non_reasoning, system, tools"
    tags = read_template("exaone4").replace("{%- generation -%}", '{%- generation -%}{{- "" -}}')
    path = write(tmp_path / "own.jinja", tags.replace('{{- "<think>\\n" -}}\n', "", 1))
    with pytest.raises(
        UserError, match=r"in the conversation 'one turn, en', reasoning, turn 1 \(message 1, assistant\)"
    ):
        check_recipe(load_recipe(sft_recipe_file, [f"model.chat_template={path}"]))


@pytest.mark.parametrize(("batch", "accumulation", "epochs"), [(1, 1, 1), (7, 1, 1), (5, 2, 1), (5, 2, 2), (7, 1, 0.5)])
def test_steps_are_those_the_trainer_takes(
    sft_recipe_file: Path, tokenizer: Any, plan: Plan, batch: int, accumulation: int, epochs: float
) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTTrainer

    from posttrain.data.intake import take_in
    from posttrain.sft.stage import plan as mix
    from posttrain.sft.stage import training_arguments

    overrides = [
        "trainer.max_steps=-1",
        f"trainer.per_device_train_batch_size={batch}",
        f"trainer.gradient_accumulation_steps={accumulation}",
        f"trainer.num_train_epochs={epochs}",
    ]
    recipe: Any = load_recipe(sft_recipe_file, overrides)
    rows = [
        {"input_ids": row.input_ids, "labels": row.labels} for row in mix(recipe, take_in(recipe.data, tokenizer)).rows
    ]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(recipe.model.path),
        args=training_arguments(recipe),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    steps = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1]
    assert plan(sft_recipe_file, *overrides)["steps"].startswith(f"{steps:,} optimizer steps")


def test_resolved_recipe_is_printed_letter_by_letter(
    sft_recipe_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Brackets in a value are no markup: `[/a]` would even be an error there."""
    check_recipe(load_recipe(sft_recipe_file, [f"root='{tmp_path}/[bold]x[/a]:tada:'"]))
    assert f"root: '{tmp_path}/[bold]x[/a]:tada:'\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "data.max_length=30",
            r"rows cannot be used .*: too long \d+ \(.*:1: \d+ tokens, data\.max_length is 30; cutting",
        ),
        ("data.sources.0.path=hub:owner/name@main", r"data\.sources\.0\.path: got revision 'main'"),
        ("trainer.learning_rat=1", "did you mean 'learning_rate'"),
        ("lora={rank: 1}", "lora: unknown key 'rank'"),
        ("trainer.per_device_train_batch_size=500", "rows in the mix, one step takes 1000"),
        ("mixer.args.share=1", r"mixer\.args: .*did you mean 'shares'"),
        ("model.path=./none", "no model at"),
    ],
)
def test_whatever_the_stage_would_refuse_is_refused(
    sft_recipe_file: Path, tmp_path: Path, override: str, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        check_recipe(load_recipe(sft_recipe_file, [override]))
    assert not (tmp_path / "run").exists()


def test_rejected_inferred_and_repeated_rows_are_told_and_not_written(
    sft_recipe_file: Path, demo_files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_recipe(load_recipe(sft_recipe_file))
    assert "\ndata         nothing set aside, inferred, converted or repeated\n" in capsys.readouterr().out
    lines = demo_files["sft_reasoning"].read_text().splitlines()
    bare = {key: value for key, value in json.loads(lines[0]).items() if key != "mode"}
    path = write(tmp_path / "rows.jsonl", "\n".join([*lines, "{", json.dumps(bare)]))
    check_recipe(load_recipe(sft_recipe_file, [f"data.sources.0.path={path}"]))
    assert (
        "\ndata         long: mode inferred for 1 rows as reasoning\n"
        f"             long: set aside 1 rows: not JSON 1 (first {path}:61)\n"
        "             long: 1 duplicates ("
    ) in capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} == {"sft.yaml", "rows.jsonl"}


def test_row_beyond_the_models_context_is_refused(sft_recipe_file: Path, tmp_path: Path) -> None:
    reply = {"role": "assistant", "content": "7" * 1100}  # every digit is a token, the context has 1024
    row = {"messages": [{"role": "user", "content": "?"}, reply]}
    path = write(tmp_path / "long.jsonl", json.dumps(row))
    recipe = load_recipe(sft_recipe_file, [f"data.sources.1.path={path}"])
    with pytest.raises(UserError, match=r"model's context, 1024 tokens; the first is .*long\.jsonl:1 with 11"):
        check_recipe(recipe)


def test_command_exits_with_2_and_one_line(sft_recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(sft_recipe_file)]) == 0
    capsys.readouterr()
    assert main(["check", str(sft_recipe_file), "data.max_length=30"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert "rows cannot be used" in said.err
    assert said.err.count("\n") == 1


# --- the other stages ---


@pytest.fixture
def common(model_folder: Path, demo_files: dict[str, Path], tmp_path: Path) -> str:
    return f"""
run: {tmp_path / "run"}
model: {{path: {model_folder}}}
data: {{sources: [{{path: {demo_files["rl"]}}}]}}
rewards: [{{use: "rewards.math_answer:math_answer"}}]
"""


def test_plan_of_an_eval_recipe_counts_prompts_and_responses(common: str, tmp_path: Path, plan: Plan) -> None:
    decodings = """
label: x
engine: transformers
decodings:
  - {name: a, mode: reasoning, temperature: 0.6, max_new_tokens: 64, samples: 3}
  - {name: b, mode: non_reasoning, temperature: 0, max_new_tokens: 16}
"""
    said = plan(write(tmp_path / "eval.yaml", f"stage: eval\n{common}{decodings}"))
    assert said["prompts"].startswith("30 (longest ")
    assert said["responses"] == "120 of at most 64 tokens"
    assert said["engine"] == "transformers"
    assert not (tmp_path / "run").exists()


def test_shown_prompts_of_an_eval_recipe_are_of_each_decodings_mode(
    common: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decodings = """
label: x
engine: transformers
decodings:
  - {name: a, mode: reasoning, temperature: 0.6, max_new_tokens: 64}
  - {name: b, mode: non_reasoning, temperature: 0, max_new_tokens: 16}
  - {name: c, mode: reasoning, temperature: 0, max_new_tokens: 64}
"""
    check_recipe(load_recipe(write(tmp_path / "eval.yaml", f"stage: eval\n{common}{decodings}")), show=3)
    said = capsys.readouterr().out
    assert [each[:2] for each in headings(said)] == [
        ["prompt of row 1", "reasoning"],
        ["prompt of row 1", "non_reasoning"],
        ["prompt of row 2", "reasoning"],
    ]
    first, second = said.split("prompt of row 1")[1:]
    assert first.rstrip().endswith("[|assistant|]↵\n<think>↵")
    assert "<think>↵\n↵\n</think>↵\n↵\n" in second
    assert "⟦" not in said


def test_plan_of_a_pairs_recipe_counts_its_samples(common: str, tmp_path: Path, plan: Plan) -> None:
    rest = "decoding: {temperature: 1.0, max_new_tokens: 20, samples: 8}\npairs: {builder: shortest_correct}\n"
    path = write(tmp_path / "pairs.yaml", f"stage: pairs\n{common}{rest}")
    said = plan(path)
    assert said["prompts"].startswith("30 (longest ")
    assert said["responses"] == "240 of at most 20 tokens, sampled with vllm"
    with pytest.raises(UserError, match="needs a reward named 'language'"):
        check_recipe(load_recipe(path, ["pairs.builder=hybrid"]))
    with pytest.raises(UserError, match=r"decoding\.samples: got 1, need at least 2"):
        load_recipe(path, ["decoding.samples=1"])
    with pytest.raises(UserError, match=r"samples: got '.*', where there are none"):
        check_recipe(load_recipe(path, [f"samples={tmp_path}"]))
    assert not (tmp_path / "run").exists()


def test_plan_of_a_filter_recipe_counts_its_samples(common: str, tmp_path: Path, plan: Plan) -> None:
    path = write(
        tmp_path / "filter.yaml", f"stage: filter\n{common}decoding: {{temperature: 1.0, max_new_tokens: 20}}\n"
    )
    said = plan(path)
    assert said["prompts"].startswith("30 (longest ")
    assert said["responses"] == "240 of at most 20 tokens"
    with pytest.raises(UserError, match=r"more than the engine's 30"):
        check_recipe(load_recipe(path, ["engine.max_model_len=30"]))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_plan_of_an_rl_recipe_names_its_rewards(common: str, tmp_path: Path, plan: Plan) -> None:
    rest = "engine: transformers\ntrainer: {num_generations: 2, per_device_train_batch_size: 4, max_steps: 3}\n"
    said = plan(write(tmp_path / "rl.yaml", f"stage: rl\n{common}{rest}"))
    assert said["prompts"].startswith("30 (longest ")
    assert said["rewards"] == "rewards.math_answer:math_answer x 1"
    assert said["steps"].startswith("3 optimizer steps of 4 samples")
    assert re.fullmatch(rf"about {SIZE} at the peak \(.*\); at .*, one process", said["memory"])
    assert "KV cache" in plan(tmp_path / "rl.yaml", "trainer.generation_batch_size=1024")["memory"]
    assert said["gold"] == "math_answer: 30 right"
    assert plan(tmp_path / "rl.yaml", "check_gold=false")["gold"] == "not checked"
    with pytest.raises(UserError, match=r"30 of 30 rows fail .*rl\.jsonl:1: never says of the gold answer"):
        check_recipe(load_recipe(tmp_path / "rl.yaml", ["rewards.0.use=tests.grading.never_right:never"]))
    assert not (tmp_path / "run").exists()


def test_reward_that_does_not_exist_is_found(common: str, tmp_path: Path) -> None:
    rest = "decoding: {temperature: 1.0, max_new_tokens: 20, samples: 8}\npairs: {builder: shortest_correct}\n"
    path = write(tmp_path / "pairs.yaml", f"stage: pairs\n{common}{rest}")
    with pytest.raises(UserError, match=r"rewards\.0\.use.*did you mean 'math_answer'"):
        check_recipe(load_recipe(path, ["rewards.0.use=rewards.math_answer:math_anser"]))


def test_missing_pairs_file_is_found(model_folder: Path, tmp_path: Path) -> None:
    text = (
        f"stage: pref\nrun: {tmp_path / 'run'}\nmodel: {{path: {model_folder}}}\npairs: [{tmp_path / 'no.parquet'}]\n"
    )
    with pytest.raises(UserError, match=r"no\.parquet' does not exist; make it with `posttrain pairs`"):
        check_recipe(load_recipe(write(tmp_path / "pref.yaml", text)))


@pytest.fixture
def pref_recipe_file(model_folder: Path, tmp_path: Path) -> Path:
    """Three pairs of the model's own, the last with a chosen side of which half is not trained."""
    from posttrain.models.load import load_tokenizer
    from posttrain.preference.pair_files import write_pairs
    from posttrain.recipe import ModelSection

    pair: Any = {"query": 0, "prompt_ids": [10], "chosen_ids": [20, 21], "rejected_ids": [30]}
    origin = origin_of(load_tokenizer(ModelSection(path=str(model_folder))))
    write_pairs(tmp_path / "pairs.parquet", [pair, pair, pair | {"chosen_untrained": 1}], origin)
    text = f"stage: pref\nrun: {tmp_path / 'run'}\nmodel: {{path: {model_folder}}}\npairs: [{tmp_path}/pairs.parquet]\n"
    return write(tmp_path / "pref.yaml", text + "trainer: {per_device_train_batch_size: 2}\n")


def test_plan_of_a_pref_recipe_says_pairs_and_steps(pref_recipe_file: Path, plan: Plan) -> None:
    said = plan(pref_recipe_file)
    assert re.fullmatch(rf"about {SIZE} at the peak \(.*\); at .*, one process", said["memory"])
    assert (said["objective"], said["pairs"]) == ("simper", "3")
    assert said["steps"] == "6 optimizer steps of 2 pairs on 1 process(es)"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("model.chat_template=plain", "was made with another chat template"),
        ("objective=dpo", r"made with train_thinking: false, and objective dpo"),
        ("lora.rang=4", r"lora: .*rang"),
        ("trainer.beta=0.5", r"trainer: beta is 0\.5; SimPER has no"),
    ],
)
def test_what_pref_would_refuse_is_found_in_the_pairs(
    pref_recipe_file: Path, tmp_path: Path, change: str, problem: str
) -> None:
    template = write(tmp_path / "plain.jinja", read_template("exaone4") + "{# another #}")
    recipe = load_recipe(pref_recipe_file, [change.replace("plain", str(template))])
    with pytest.raises(UserError, match=problem):
        check_recipe(recipe)


def test_pairs_file_that_is_none_of_ours_is_found(pref_recipe_file: Path, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"query": [0]}), tmp_path / "pairs.parquet")
    with pytest.raises(UserError, match=r"pairs\.parquet' has no column prompt, .*make it with `posttrain pairs`"):
        check_recipe(load_recipe(pref_recipe_file))


def test_recipe_without_rows_has_nothing_to_show(pref_recipe_file: Path) -> None:
    with pytest.raises(UserError, match="got --show 2, but a pref recipe has no rows to show; leave --show out"):
        check_recipe(load_recipe(pref_recipe_file), show=2)


def test_report_of_runs_that_do_not_exist_is_refused(tmp_path: Path) -> None:
    text = f"stage: report\nrun: {tmp_path}/run\ntitle: t\nstages: [{{name: SFT, run: {tmp_path}/none}}]\n"
    with pytest.raises(UserError, match="none"):
        check_recipe(load_recipe(write(tmp_path / "report.yaml", text)))
    assert not (tmp_path / "run").exists()
