"""The demo under random SIGKILLs ends with the weights of one that nobody disturbed, bit for bit.

    make soak                                # 36 kills, seed 0; about three quarters of an hour on two cores
    make soak SEED=7 ARGS="--kills 60"

`posttrain demo` with its own recipes, all stages of them, but for a checkpoint every few steps, so that a kill costs
seconds. First in peace. Then it is killed from outside, the conductor with all that it started, and started again by
the same command, over and over. The moments are drawn beforehand: one in every run, some in the first seconds of an
attempt, the others anywhere in the time that the demo took in peace. Where that falls, in a save, a generation or an
update, is up to the machine.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT))

from posttrain.run_folder.heartbeat import read_beat  # noqa: E402
from posttrain.terminal import say  # noqa: E402

SAVE_STEPS = {"sft": 25, "rl": 1, "pref-stage1": 3, "pref-stage2": 3}
IN_THE_START = 0.15  # the share of kills within START_S after an attempt began, whatever it is at then
START_S = 15.0
# They say how long something took; TRL's count of tokens starts anew at a resume.
CLOCKS = ("time", "step_time", "seconds", "num_tokens")


class Peace(NamedTuple):
    """A run of the demo that nobody disturbed: its folder, its time and the last step of its heartbeat."""

    name: str
    seconds: float
    steps: int


class Moment(NamedTuple):
    """When to kill: in a run, at a step or after a time, whichever comes first, and `delay_s` later.

    Without a run `delay_s` after the start of the attempt. Time alone would not do, as an attempt begins where the one
    before it left off; nor would steps, as an evaluation tells of its answers some hundred at a time.
    """

    run: str | None = None
    step: int = 0
    seconds: float = 0.0
    delay_s: float = 0.0


class Killed(NamedTuple):
    """What the demo was at when it was killed."""

    run: str
    step: int
    what: str


def main() -> int:
    """Run the demo in peace and under fire; the exit code: 1 if an end differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=36, help="over all stages (default: 36)")
    parser.add_argument("--root", type=Path, help="a folder to keep, and to go on in (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = args.root or Path(name)
        write_recipes(root)
        finish(root, "peace", args.seed)
        when = moments(random.Random(args.seed), timeline(root / "peace"), args.kills)
        where = Counter[str]()
        for killed in under_fire(root, args.seed, when):
            where[killed.what] += 1
            say(f"  {where.total():3}  {killed.run:16}  step {killed.step:4}  in {killed.what}")
        finish(root, "fire", args.seed)
        counts = ", ".join(f"{count} in {what}" for what, count in where.most_common())
        say(f"{where.total()} kills ({counts})")
        return 0 if is_same(root / "peace", root / "fire") and where.total() >= args.kills else 1


def write_recipes(root: Path) -> None:
    """The demo's, with other checkpoints."""
    folder = root / "recipes" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    for recipe in (PROJECT / "recipes" / "demo").glob("*.yaml"):
        text = recipe.read_text()
        if recipe.stem in SAVE_STEPS:
            text, num_found = re.subn(r"save_steps: \d+", f"save_steps: {SAVE_STEPS[recipe.stem]}", text)
            assert num_found == 1, recipe
        (folder / recipe.name).write_text(text)


def timeline(peace: Path) -> list[Peace]:
    """The demo's runs in their order; the report is none, as it takes no time."""
    manifests = {path.parent: json.loads(path.read_text()) for path in peace.glob("*/manifest.json")}
    runs = sorted(manifests, key=lambda folder: manifests[folder]["started"])
    beats = {folder: read_beat(folder) for folder in runs}
    return [Peace(run.name, manifests[run]["seconds"], beat.step) for run in runs if (beat := beats[run]) is not None]


def moments(rng: random.Random, runs: list[Peace], kills: int) -> list[Moment]:
    """In the order of the demo."""
    num_early = round(kills * IN_THE_START)
    anywhere = rng.choices(range(len(runs)), [run.seconds for run in runs], k=max(0, kills - num_early - len(runs)))
    places = sorted((number, rng.random()) for number in [*range(len(runs)), *anywhere])
    late = [
        Moment(run.name, int(share * run.steps), share * run.seconds, rng.random() * max(1.0, run.seconds / run.steps))
        for run, share in ((runs[number], share) for number, share in places)
    ]
    for _ in range(num_early):
        late.insert(rng.randrange(len(late)), Moment(delay_s=rng.random() * START_S))
    return late[:kills]


def under_fire(root: Path, seed: int, when: list[Moment]) -> Iterator[Killed]:
    """Kill the demo again and again, until it was faster than a kill."""
    for moment in when:
        if moment.run is not None and is_finished(root / "fire" / moment.run):
            moment = Moment(delay_s=moment.seconds % START_S)  # its run was faster
        began, process = time.monotonic(), start(root, "fire", seed)
        while process.poll() is None and not is_due(moment, root / "fire", began):
            time.sleep(0.005)
        time.sleep(moment.delay_s)
        if process.poll() is not None:
            if process.returncode:
                raise SystemExit(f"an attempt ended by itself with exit code {process.returncode}: see fire.log")
            break
        kill_tree(process)
        yield found(root / "fire", began)


def is_due(moment: Moment, fire: Path, began: float) -> bool:
    """Whether this attempt, not the one before, has come so far."""
    if moment.run is None:
        return True
    run = fire / moment.run
    taken_up = run_age(run)
    if taken_up is None or taken_up > time.monotonic() - began:
        return False
    return taken_up >= moment.seconds or step_since(run, began) >= moment.step > 0


def run_age(run: Path) -> float | None:
    """Seconds since the run was begun, taken up again or finished, each of which writes its manifest."""
    with suppress(FileNotFoundError):
        return time.time() - (run / "manifest.json").stat().st_mtime
    return None


def step_since(run: Path, began: float) -> int:
    """The step of the last heartbeat, -1 if it is an earlier attempt's."""
    beat = read_beat(run)
    return beat.step if beat is not None and beat.monotonic > began else -1


def is_finished(run: Path) -> bool:
    """As its manifest says."""
    path = run / "manifest.json"
    return path.is_file() and json.loads(path.read_text())["status"] == "finished"


def found(fire: Path, began: float) -> Killed:
    """What the dead attempt was at, by what it left."""
    unfinished = [path.parent for path in fire.glob("*/manifest.json") if not is_finished(path.parent)]
    if not unfinished:
        return Killed("", 0, "the time between two runs")
    (run,) = unfinished
    step = step_since(run, began)
    if step < 0:
        return Killed(run.name, 0, "the start")
    aside = run / "checkpoints" / ".aside"
    is_saving = aside.exists() and any(aside.iterdir())
    return Killed(run.name, step, "a save" if is_saving else "the work itself")


def start(root: Path, name: str, seed: int) -> subprocess.Popen[bytes]:
    """Begin or go on with a demo; what it says goes to a file."""
    path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # One thread: two may add in another order than one.
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "posttrain", "demo", "--seed", str(seed), "--root", name]
    with (root / f"{name}.log").open("a") as log:
        return subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)


def finish(root: Path, name: str, seed: int) -> None:
    """Let a demo come to its end."""
    code = start(root, name, seed).wait()
    if code:
        raise SystemExit(f"a demo that nobody disturbed ended with exit code {code}: see {root / name}.log")


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for a process and all below it; they are stopped first, so that none starts another meanwhile."""
    first, stopped = psutil.Process(process.pid), set[psutil.Process]()
    while new := {first, *first.children(recursive=True)} - stopped:
        for each in new:
            with suppress(psutil.NoSuchProcess):
                each.suspend()
        stopped |= new
    for each in stopped:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
    psutil.wait_procs(stopped, timeout=10)  # their locks are free then


def is_same(peace: Path, fire: Path) -> bool:
    """Whether all runs ended alike: weights and pairs bit for bit, figures and samples but for clocks."""
    differing = [
        str(path.relative_to(peace))
        for name in ("model/model.safetensors", "pairs.parquet", "metrics.jsonl", "samples.jsonl")
        for path in sorted(peace.glob(f"*/{name}"))
        if content(path) != content(fire / path.relative_to(peace))
    ]
    models = sorted(path.parent.parent.name for path in peace.glob("*/model/model.safetensors"))
    say(
        f"not the same: {', '.join(differing)}" if differing else f"all is the same; the weights of {', '.join(models)}"
    )
    return not differing


def content(path: Path) -> Any:
    """What is compared of a file."""
    if path.suffix != ".jsonl":
        return path.read_bytes()
    lines = map(json.loads, path.read_text().splitlines())
    return [{key: value for key, value in line.items() if not key.startswith(CLOCKS)} for line in lines]


if __name__ == "__main__":
    sys.exit(main())
