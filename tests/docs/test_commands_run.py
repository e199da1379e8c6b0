"""The commands of the Markdown are run, in one folder, as those who read the pages run them.

What is appended makes them small and nothing else: fewer steps and rows, and the engine that starts at once.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from posttrain import cli
from posttrain.demo.conductor import STEPS
from posttrain.recipe import load_recipe
from tests.context.same_code import patch_code
from tests.docs.commands import COMMANDS, is_run, starts
from tests.docs.markdown import PROJECT, words

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # 70 s of CPU, minutes on a machine that is shared

ENGINE = "'engine={name: transformers}'"
RL = (
    "engine=transformers trainer.max_steps=12 trainer.num_generations=4 trainer.per_device_train_batch_size=16"
    " trainer.gradient_accumulation_steps=1"
    " trainer.lr_scheduler_type=constant_with_warmup trainer.warmup_steps=1000"  # what is known by heart is soon lost
)
CONTEXT = (
    "model.path=runs/demo/base replay.sources.0.path=runs/demo/data/sft_non_reasoning.jsonl"
    " validation.sources.0.path=runs/demo/data/sft_reasoning.jsonl max_short_regression=9 trainer.learning_rate=1e-2"
    " 'stages=[{name: 1k, length: 256, limit_tokens: 6e4, slice_tokens: 8e3}]' pack_tokens=512"
    " documents.languages=[en] documents.shortest=0.8"
    " gate.languages=[en] gate.lengths=[1.0] gate.depths=[0,1] gate.samples_per_cell=1"
)
# What is appended to a command that begins so. A run folder is used once: those who run a stage again name another.
SMALL = {
    "posttrain sft": "trainer.max_steps=200 trainer.warmup_steps=0 trainer.lr_scheduler_kwargs.num_decay_steps=50",
    "posttrain filter": ENGINE,
    "posttrain filter recipes/demo/filter.yaml keep.pass_rate_above=0": "run=runs/above-0",
    "posttrain filter recipes/demo/filter.yaml keep.pass_rate_below=0.3": "run=runs/below-0.3",
    "posttrain rl": RL,
    "posttrain run": f"{RL} run=runs/rl-b",
    "posttrain pairs": ENGINE,
    "posttrain pref": "trainer.max_steps=1 trainer.per_device_train_batch_size=4",
    "posttrain eval recipes/demo/profile.yaml": "benchmarks.0.args.size=4 latency_questions=1",
    "posttrain context": CONTEXT,
    "posttrain chat": "--max-new-tokens 16",
}
TYPED = {"posttrain chat": "/think 17 * 23?\n/budget 4\nsure?\n/no_think\nsure?\n", "posttrain generate": "17 * 23?"}
ROWS = 18  # of each kind: few enough that SFT of a tiny model ends with half of the answers right


def in_order() -> list[str]:
    """The demo's steps, each as a page has it where one does; then what is left, page by page."""
    left = [command for command in COMMANDS if is_run(command)]
    documented = {(words(each)[1], run): each for each in reversed(left) if (run := run_folder(each)) is not None}
    steps = [
        " ".join(["posttrain", stage, f"recipes/demo/{recipe}.yaml", *(f"'{word}'" for word in overrides)])
        for _, stage, recipe, overrides in STEPS
    ]
    steps = [documented.get((words(step)[1], run_folder(step)), step) for step in steps]
    return list(dict.fromkeys([*steps, *left]))


def run_folder(command: str) -> str | None:
    """Where the stage of a command writes; None if it is none of the demo's."""
    program, *arguments = words(command)
    if program != "posttrain" or not any(word.startswith("recipes/demo/") for word in arguments):
        return None
    _, recipe, *overrides = arguments
    return load_recipe(PROJECT / recipe, [word for word in overrides if "=" in word]).run


def test_steps_of_the_demo_come_first_and_every_command_is_among_them() -> None:
    order = in_order()
    assert {command for command in COMMANDS if is_run(command)} <= set(order)
    demo = order[: len(STEPS)]
    assert [words(command)[1] for command in demo] == [stage for _, stage, _, _ in STEPS]
    assert "posttrain rl recipes/demo/rl.yaml trainer.learning_rate=3e-4" in demo  # the README's


# --- the run ---


class Ran(NamedTuple):
    """A command's exit code, and what it printed where it had a process of its own."""

    code: int
    said: str = ""


@pytest.fixture(scope="module")
def ran(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, demo_files: dict[str, Path]
) -> tuple[Path, dict[str, Ran]]:
    """The folder after the last command, and every command."""
    folder = tmp_path_factory.mktemp("folder")
    prepare(folder, tokenizer, demo_files)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch_code(patch.setattr)  # a needle that is found within seconds
        return folder, {command: run(command, patch) for command in in_order()}


def prepare(folder: Path, tokenizer: Any, demo_files: dict[str, Path]) -> None:
    """What the first step of the demo finds, and the rows of a reader."""
    from posttrain.models.build import HybridShape, build_model
    from posttrain.models.load import save_model

    (folder / "recipes").symlink_to(PROJECT / "recipes")
    (folder / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "3*4?"}], "answer": "12"}\n')
    data = folder / "runs" / "demo" / "data"
    data.mkdir(parents=True)
    rows = {name: file.read_text(encoding="utf-8").splitlines()[:ROWS] for name, file in demo_files.items()}
    right = [json.loads(line) for line in rows["sft_round2"]]
    prompts = [json.dumps(row | {"messages": row["messages"][:1]}) for row in right]
    rows |= {"sft_reasoning": rows["sft_round2"]} | dict.fromkeys(("rl", "pairs_stage1", "pairs_stage2"), prompts)
    for name, lines in rows.items():
        (data / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shape = HybridShape(
        hidden_size=64, num_layers=2, intermediate_size=128, num_heads=2, num_kv_heads=1, local_layers=1
    )
    save_model(build_model(shape, tokenizer, seed=0), tokenizer, folder / "runs" / "demo" / "base")
    (folder / "runs" / "rl-a").symlink_to("demo/rl")


def run(command: str, patch: pytest.MonkeyPatch) -> Ran:
    """One command with what makes it small, `posttrain` in this process where it does not want one of its own."""
    typed = next((text for start, text in TYPED.items() if starts(command, start)), "")
    more = " ".join(text for start, text in SMALL.items() if starts(command, start))
    program, *arguments = words(f"{command} {more}")
    if program == "posttrain" and arguments[0] != "run":  # which takes over the orphans of its process
        patch.setattr("sys.stdin", io.StringIO(typed))
        return Ran(cli.main(arguments))
    start = {
        "accelerate": [sys.executable, "-m", "accelerate.commands.accelerate_cli"],
        "posttrain": [sys.executable, "-m", "posttrain"],
        "python": [sys.executable],
    }
    if program == "accelerate":
        arguments[1:1] = ["--main_process_port", "0"]  # any that is free
    done = subprocess.run(
        [*start.get(program, [program]), *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=500,
        check=False,
    )
    return Ran(done.returncode, done.stdout)


def test_every_command_succeeds(ran: tuple[Path, dict[str, Ran]]) -> None:
    _, commands = ran
    assert len(commands) > 40
    assert {command: each.code for command, each in commands.items() if each.code != 0} == {}


def test_check_under_a_launcher_speaks_once_and_counts_its_processes(ran: tuple[Path, dict[str, Ran]]) -> None:
    [said] = [each.said for command, each in ran[1].items() if command.startswith("accelerate launch")]
    assert said.count("on 2 process(es)") == 1


def test_commands_leave_what_the_pages_say(ran: tuple[Path, dict[str, Ran]]) -> None:
    folder, _ = ran
    files = (
        *("runs/demo/report/report.html", "runs/demo/report/table.md", "runs/demo/report.html", "compare.html"),
        *("runs/demo/filter/prompts.jsonl", "runs/demo/pairs-stage1/pairs.parquet", "models/step-12/model.safetensors"),
        *("runs/context/seed0/ladder/1k/gate.jsonl", "runs/rl-b/attempts.jsonl", "test_house_style.py"),
    )
    assert [file for file in files if not (folder / file).is_file()] == []
