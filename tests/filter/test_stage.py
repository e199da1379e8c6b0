"""The filter on a tiny model of random weights and a reward that it earns about half of the time."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from posttrain import cli
from posttrain.data.rows import read_all
from posttrain.errors import UserError
from posttrain.filter.pass_rates import pass_rate, sum_up
from posttrain.filter.stage import histogram_table, run_stage
from posttrain.inference.transformers_engine import TransformersEngine
from posttrain.recipe import FilterRecipe, KeepSection, Source, load_recipe

# Right or wrong at the drop of a letter; without a gold answer not to be judged, as with rewards.math_answer.
REWARD = """\
import os
import time

from rewards.contract import Verdict


def fragile(attempt):
    deed = attempt.row.get("deed")
    if deed == "hang":
        time.sleep(60)
    if deed == "die":
        os._exit(1)
    return coin(attempt) if deed is None else 1 / 0


class Never:
    def __call__(self, attempt):
        return Verdict(score=0.0, outcome=False, reason="never")

    def gold_answer(self, row):
        return row.get("answer")


def coin(attempt):
    if "answer" not in attempt.row:
        return Verdict(score=None, reason="no gold answer")
    is_right = sum(map(ord, attempt.answer)) % 2 == 1
    return Verdict(score=float(is_right), outcome=is_right)
"""
WRITTEN = ("prompts.jsonl", "dropped.jsonl", "summary.json", "samples.jsonl")
SAMPLES = 3


@pytest.fixture
def rows(demo_files: dict[str, Path]) -> list[dict[str, Any]]:
    """The demo's 30 prompts, the third and the eighth without a gold answer, the last one without a domain."""
    rows = [json.loads(line) for line in demo_files["rl"].read_text().splitlines()]
    del rows[2]["answer"], rows[7]["answer"], rows[29]["domain"]
    return rows


@pytest.fixture
def recipe_file(
    tmp_path: Path, model_folder: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Three samples a prompt, seven prompts a chunk: five chunks."""
    (tmp_path / "coin_reward.py").write_text(REWARD)
    monkeypatch.syspath_prepend(tmp_path)
    write_rows(tmp_path / "rows.jsonl", rows)
    content = {
        "stage": "filter",
        "run": str(tmp_path / "run"),
        "model": {"path": str(model_folder)},
        "data": {"sources": [{"path": str(tmp_path / "rows.jsonl")}]},
        "engine": {"name": "transformers"},
        "decoding": {"mode": "non_reasoning", "temperature": 1.0, "max_new_tokens": 12, "samples": SAMPLES},
        "rewards": [{"use": "coin_reward:coin"}, {"use": "rewards.length:Conciseness", "args": {"limit": 9}}],
        "chunk_size": 7,
    }
    path = tmp_path / "filter.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def recipe_of(path: Path, *overrides: str) -> FilterRecipe:
    recipe = load_recipe(path, overrides)
    assert isinstance(recipe, FilterRecipe)
    return recipe


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def without_rate(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "pass_rate"}


def content(run: Path) -> dict[str, bytes]:
    files = [run / name for name in WRITTEN] + list((run / "samples.parquet").iterdir())
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


# --- what is written ---


def test_rows_are_split_by_the_outcomes_of_their_samples(recipe_file: Path, rows: list[dict[str, Any]]) -> None:
    run_stage(recipe_of(recipe_file), resume=False)
    run = recipe_file.parent / "run"
    samples = pq.read_table(run / "samples.parquet").to_pylist()
    assert [sample["query"] for sample in samples] == [index for index in range(30) for _ in range(SAMPLES)]
    outcomes = [[sample["outcome"] for sample in samples if sample["query"] == index] for index in range(30)]
    rates = [pass_rate(some) for some in outcomes]
    assert {0.0, 1.0, None} < set(rates)

    kept, dropped = read_lines(run / "prompts.jsonl"), read_lines(run / "dropped.jsonl")
    expected = [row | {"pass_rate": rate} for row, rate in zip(rows, rates, strict=True)]
    assert kept == [row for row in expected if row["pass_rate"] != 1]
    assert dropped == [row for row in expected if row["pass_rate"] == 1]
    assert [list(row) for row in kept] == [
        [*row] for row in expected if row["pass_rate"] != 1
    ]  # columns in their order

    summary = json.loads((run / "summary.json").read_text())
    assert (summary["prompts"], summary["kept"], summary["dropped"]) == (30, len(kept), len(dropped))
    assert summary["unscorable"] == 2
    assert summary["share_kept"] == len(kept) / 30
    judged = [rate for rate in rates if rate is not None]
    assert summary["mean_pass_rate"] == pytest.approx(sum(judged) / 28)
    assert summary["histogram"] == {f"{right}/3": judged.count(right / 3) for right in range(4)}
    assert {name: group["prompts"] for name, group in summary["by_language"].items()} == {"en": 10, "es": 10, "ko": 10}
    assert {name: group["prompts"] for name, group in summary["by_domain"].items()} == {"math": 29, "unknown": 1}
    korean = sum_up(rates[1::3], KeepSection(), SAMPLES)
    assert rows[1]["language"] == "ko"
    assert summary["by_language"]["ko"]["histogram"] == korean.histogram

    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["stage"], manifest["status"]) == ("filter", "finished")
    assert manifest["notes"]["filter"]["kept"] == len(kept)
    records = read_lines(run / "samples.jsonl")
    assert len(records) == 30 * SAMPLES
    assert all(record["kept"] is (record["pass_rate"] != 1) for record in records)
    assert set(records[0]["verdicts"]) == {"coin", "Conciseness"}


def test_prompts_that_nobody_could_judge_are_kept_and_say_null(recipe_file: Path) -> None:
    run_stage(recipe_of(recipe_file, "keep.pass_rate_above=0.4", "keep.pass_rate_below=0.6"), resume=False)
    kept = read_lines(recipe_file.parent / "run" / "prompts.jsonl")
    assert [row["pass_rate"] for row in kept] == [None, None]  # of three samples no share lies between
    assert all("answer" not in row for row in kept)


def test_kept_rows_are_data_for_the_next_stage(recipe_file: Path, rows: list[dict[str, Any]]) -> None:
    """What the source says of its rows is written into them: a row may come from any of several sources."""
    bare = [{key: value for key, value in row.items() if key not in ("mode", "domain")} for row in rows]
    write_rows(recipe_file.parent / "rows.jsonl", bare)
    recipe = recipe_of(recipe_file, "data.sources.0.mode=reasoning", "data.sources.0.domain=sums")
    run_stage(recipe, resume=False)
    again = read_all([Source(path=str(recipe_file.parent / "run" / "prompts.jsonl"))])
    before = read_all(recipe.data.sources)
    assert again
    assert all(without_rate(row) in before for row in again)
    assert {(row["mode"], row["domain"]) for row in again} == {("reasoning", "sums")}


def test_a_second_filter_measures_anew(recipe_file: Path) -> None:
    run_stage(recipe_of(recipe_file), resume=False)
    first, second = recipe_file.parent / "run", recipe_file.parent / "second"
    run_stage(
        recipe_of(recipe_file, f"data.sources.0.path={first}/prompts.jsonl", f"run={second}", "seed=1"), resume=False
    )
    before = {row["messages"][0]["content"]: row["pass_rate"] for row in read_lines(first / "prompts.jsonl")}
    after = read_lines(second / "prompts.jsonl")
    assert [list(row).count("pass_rate") for row in after] == [1] * len(after)
    assert any(row["pass_rate"] != before[row["messages"][0]["content"]] for row in after)


def test_size_of_the_chunks_changes_no_sample(recipe_file: Path) -> None:
    for size in (30, 7):
        run_stage(recipe_of(recipe_file, f"chunk_size={size}", f"run={recipe_file.parent}/{size}"), resume=False)
    one, five = (recipe_file.parent / str(size) for size in (30, 7))
    assert [len(list((run / "samples.parquet").iterdir())) for run in (one, five)] == [1, 5]
    assert pq.read_table(one / "samples.parquet") == pq.read_table(five / "samples.parquet")
    assert all((one / name).read_bytes() == (five / name).read_bytes() for name in WRITTEN)


def test_histogram_is_a_table_of_80_columns_with_what_is_kept() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(histogram_table(sum_up([0.0] * 10 + [0.5] * 20 + [1.0] * 9 + [None], KeepSection(), 2)))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert " ".join(lines[0]) == "40 prompts, 31 kept (77.5%); mean pass rate 48.7%"
    assert ["0/2", "10", "10", "█" * 15] in lines
    assert ["1/2", "20", "20", "█" * 30] in lines
    assert ["2/2", "9", "0", "█" * 14] in lines
    assert "unscorable 1 1 no response could be judged" in [" ".join(line) for line in lines]


# --- interruption ---


def test_run_that_was_stopped_samples_only_the_rest_and_ends_like_an_undisturbed_one(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recipe_file.parent
    run_stage(recipe_of(recipe_file, f"run={folder}/whole"), resume=False)
    generate, asked = TransformersEngine.generate, []

    def stopped_at_the_third(self: Any, *arguments: Any, first_index: int, **settings: Any) -> Any:
        if len(asked) == 2:
            asked.append("stopped")
            raise KeyboardInterrupt
        asked.append(first_index)
        return generate(self, *arguments, first_index=first_index, **settings)

    monkeypatch.setattr(TransformersEngine, "generate", stopped_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_stage(recipe_of(recipe_file), resume=False)
    assert sorted(path.name for path in (folder / "run").iterdir()) == [
        "heartbeat.json",
        "manifest.json",
        "recipe.yaml",
        "samples.parquet",
    ]
    run_stage(recipe_of(recipe_file), resume=True)
    assert asked == [0, 7, "stopped", 14, 21, 28]
    assert content(folder / "run") == content(folder / "whole")


FRAGILE = ("rewards=[{use: 'coin_reward:fragile'}]", "grading={timeout_s: 0.3, max_broken_share: 0.5}")


@pytest.mark.parametrize("overrides", [(), FRAGILE])
@pytest.mark.filterwarnings("ignore:reward 'fragile'")
def test_run_that_was_stopped_while_grading_samples_nothing_again(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], overrides: tuple[str, ...]
) -> None:
    deeds = {4: {"deed": "raise"}, 5: {"deed": "hang"}, 9: {"deed": "die"}}
    write_rows(recipe_file.parent / "rows.jsonl", [row | deeds.get(index, {}) for index, row in enumerate(rows)])
    run_stage(recipe_of(recipe_file, *overrides), resume=False)
    run = recipe_file.parent / "run"
    before = content(run)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}))
    (run / "prompts.jsonl").unlink()
    monkeypatch.setattr(TransformersEngine, "generate", None)
    run_stage(recipe_of(recipe_file, *overrides), resume=True)
    assert content(run) == before


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:reward 'fragile'")
def test_reward_that_breaks_is_counted_and_its_samples_are_not_judged(
    recipe_file: Path, rows: list[dict[str, Any]], workers: int
) -> None:
    rows[4]["deed"] = "raise"
    write_rows(recipe_file.parent / "rows.jsonl", rows)
    run_stage(recipe_of(recipe_file, *FRAGILE, f"grading.workers={workers}"), resume=False)
    run = recipe_file.parent / "run"
    assert [row["pass_rate"] for row in read_lines(run / "prompts.jsonl") if row.get("deed")] == [None]
    assert json.loads((run / "manifest.json").read_text())["notes"]["broken"] == {"fragile": {"raised": 1 + SAMPLES}}
    broken = [record["verdicts"]["fragile"] for record in read_lines(run / "samples.jsonl") if record["query"] == 4]
    assert [verdict["reason"] for verdict in broken] == ["raised ZeroDivisionError: division by zero"] * SAMPLES


def test_reward_that_breaks_too_often_is_an_error_before_anything_is_sampled(
    recipe_file: Path, rows: list[dict[str, Any]]
) -> None:
    write_rows(recipe_file.parent / "rows.jsonl", [row | {"deed": "raise"} for row in rows])
    with (
        pytest.warns(UserWarning, match="reward 'fragile'"),
        pytest.raises(UserError, match=r"rewards broke on 2 of the last 2 attempts \('fragile' 2 times\)"),
    ):
        run_stage(recipe_of(recipe_file, FRAGILE[0]), resume=False)
    assert not (recipe_file.parent / "run").exists()


@pytest.mark.slow
def test_command_that_is_killed_goes_on_with_resume_and_is_then_skipped(recipe_file: Path) -> None:
    folder = recipe_file.parent
    words = [
        sys.executable,
        "-m",
        "posttrain",
        "filter",
        str(recipe_file),
        "chunk_size=2",
        "decoding.max_new_tokens=40",
    ]
    whole = start([*words, f"run={folder}/whole"], folder)
    out, err = whole.communicate(timeout=300)
    assert (whole.returncode, err) == (0, "")
    assert "30 prompts, " in out
    assert "3/3" in out

    killed, parts = start(words, folder), folder / "run" / "samples.parquet"
    while not (parts / "part-00003.parquet").exists():
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    num_done = len(list(parts.glob("part-*.parquet")))
    assert num_done < 15

    refused = start(words, folder)
    assert "pass --resume" in refused.communicate(timeout=300)[1]
    assert refused.returncode == 2
    resumed = start([*words, "--resume"], folder)
    out, err = resumed.communicate(timeout=300)
    assert (resumed.returncode, err) == (0, "")
    assert out.count("tokens/response") == 15 - num_done
    assert content(folder / "run") == content(folder / "whole")
    again = start([*words, "--skip-finished"], folder)
    assert again.communicate(timeout=300) == (f"{folder}/run is finished: skipped\n", "")


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{Path(__file__).parents[2]}:{folder}"}
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


# --- what is refused, in one line and before anything is written ---


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("data.sources.0.path=none.jsonl", ["data file 'none.jsonl' does not exist"]),
        ("model.path=none", ["no model at 'none'"]),
        ("engine.max_model_len=20", ["rows.jsonl:1 has ", "(max_new_tokens)", "more than the engine's 20"]),
        ("rewards=[{use: 'rewards.length:Conciseness', args: {limit: 9}}]", ["30 prompts", "(Conciseness)", "outcome"]),
        ("rewards.0.use=coin_reward:coins", ["rewards.0.use", "did you mean 'coin'?"]),
        ("keep.pass_rate_max=1", ["unknown key 'keep.pass_rate_max'", "pass_rate_above, pass_rate_below"]),
    ],
)
@pytest.mark.parametrize("command", ["filter", "check"])
def test_mistake_is_named_in_one_line(
    recipe_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    override: str,
    parts: list[str],
) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)  # pytest keeps its own handlers
    assert cli.main([command, str(recipe_file), override]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
    assert not (recipe_file.parent / "run").exists()


def test_column_that_json_cannot_hold_is_refused(
    recipe_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    row = {"messages": [{"role": "user", "content": "?"}], "picture": b"\x00"}
    pq.write_table(pa.Table.from_pylist([row]), recipe_file.parent / "rows.parquet")
    assert cli.main(["filter", str(recipe_file), f"data.sources.0.path={recipe_file.parent}/rows.parquet"]) == 2
    assert ":1 cannot be written to prompts.jsonl (Object of type bytes" in capsys.readouterr().err


def test_no_prompt_left_is_an_error_with_the_counts(
    recipe_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    write_rows(recipe_file.parent / "rows.jsonl", rows[:2])
    bounds = "keep={pass_rate_above: 0.4, pass_rate_below: 0.6}"
    assert cli.main(["filter", str(recipe_file), bounds]) == 2
    assert "got 2 prompts and keep none (" in capsys.readouterr().err
    run = recipe_file.parent / "run"
    assert json.loads((run / "manifest.json").read_text())["status"] == "failed"
    assert [without_rate(row) for row in read_lines(run / "dropped.jsonl")] == rows[:2]


def test_prompts_whose_gold_answer_fails_are_refused_before_anything_is_sampled(recipe_file: Path) -> None:
    recipe = recipe_of(recipe_file, "rewards.0.use=coin_reward:Never")
    with pytest.raises(UserError, match=r"28 of 30 rows fail their own grader: .*:1: Never says .*check_gold=false"):
        run_stage(recipe, resume=False)
    assert not (recipe_file.parent / "run").exists()


def test_bad_rows_are_listed_one_to_a_line(
    recipe_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    (recipe_file.parent / "bad.jsonl").write_text('{"messages": null}\n{"messages": []}\n')
    assert cli.main(["check", str(recipe_file), f"data.sources.0.path={recipe_file.parent}/bad.jsonl"]) == 2
    first, *others = capsys.readouterr().err.splitlines()
    assert first == "error: 2 of 2 rows cannot be used; mend them or take them out:"
    assert [line.partition(": ")[0] for line in others] == [f"  {recipe_file.parent}/bad.jsonl:{n}" for n in (1, 2)]
