"""The runs that faults are injected into, and what must be the same in the end."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from tests.faults.mortal import Ended, posttrain

LORA = "lora={r: 2, target_modules: all-linear}"


class Case(NamedTuple):
    """A stage with its recipe of the working directory, and what is changed in it.

    `part`: the folder in the run's own that has checkpoints, metrics and model; what a test calls a run is that one.
    """

    stage: str
    processes: int = 1
    words: tuple[str, ...] = ()
    part: str = ""


CASES = {
    "sft": Case("sft"),
    "sft-packs": Case("sft", words=("data.pack_tokens=192", "trainer.per_device_train_batch_size=1")),
    "sft-lora": Case("sft", words=(LORA,)),
    "sft-two": Case("sft", processes=2),
    "rl": Case("rl"),
    "rl-lora": Case("rl", words=(LORA, "trainer.beta=0.05")),
    "rl-ahead": Case("rl", words=("trainer.staleness=1",)),
    "rl-two": Case("rl", processes=2, words=("trainer.per_device_train_batch_size=4",)),  # two batches an epoch, too
    "pref": Case("pref"),
    "pref-lora": Case("pref", words=(LORA,)),
    "pref-two": Case("pref", processes=2),
    "context": Case("context", part="short"),
}
TRAINED = ("sft", "rl", "pref", "context")


def cases(faults: dict[int, str], *names: str) -> Any:
    """Parameters, one for each case, with the marks of these faults: number and how."""
    return [
        pytest.param(name, marks=[pytest.mark.fault(*fault, stage=CASES[name].stage) for fault in faults.items()])
        for name in names
    ]


def again(
    case: str,
    run: Path,
    *words: str,
    resume: bool = True,
    processes: int = 0,
    before: Callable[[], None] | None = None,
    **settings: Any,
) -> Ended:
    """Start the run of a case in the folder, or go on with it; the others as for `posttrain`."""
    stage, usual, changes, part = CASES[case]
    top = run.parent if part else run
    words = (stage, f"{stage}.yaml", f"run={top.name}", *changes, *words, *(["--resume"] if resume else []))
    before = partial(with_open_gate, before) if stage == "context" else before
    return posttrain(*words, cwd=top.parent, processes=processes or usual, before=before, **settings)


def with_open_gate(and_then: Callable[[], None] | None) -> None:
    """The gate is asked, and passed whatever is answered: nine steps teach nobody what it asks for."""
    from posttrain.context import watch

    watch.failing = lambda *_: []  # type: ignore[assignment]
    if and_then is not None:
        and_then()


def weights(run: Path) -> dict[str, Any]:
    """The exported model's."""
    return load_file(run / "model" / "model.safetensors")


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines without what a clock says, and without TRL's own count of tokens, which starts anew at a resume."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    clocks = ("time", "step_time", "seconds/", "num_tokens")
    return [{key: value for key, value in line.items() if not key.startswith(clocks)} for line in lines]


def samples(run: Path) -> list[dict[str, Any]]:
    """What is kept of the rollouts, without what a clock says."""
    path = run / "samples.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def manifest(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    return content


def checkpoints(run: Path) -> list[str]:
    """The names in the checkpoint folder, README aside."""
    return sorted(path.name for path in (run / "checkpoints").iterdir() if path.is_dir())


def assert_same_run(run: Path, whole: Path) -> None:
    """Bit for bit the same weights, and the same figures and samples at the same steps."""
    got, expected = weights(run), weights(whole)
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert metrics(run) == metrics(whole)
    assert samples(run) == samples(whole)
    assert manifest(run)["status"] == "finished"
