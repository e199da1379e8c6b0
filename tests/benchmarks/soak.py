"""A small pipeline under random SIGKILLs ends with the weights of one that nobody disturbed, bit for bit.

    make soak                                # 36 kills, seed 0
    make soak SEED=7 ARGS="--kills 60"

Tiny models and rows of the demo's task: SFT, then AGAPO from its model, then SimPER from that one, a checkpoint every
three steps. Every stage is run once in peace. Then it is started over and over with `--resume`, and killed from outside
at moments that the seed draws: some while it starts, the others at a share of a step's time after a step. Where that
falls, in a save, a generation or an update, is up to the machine; a save is told by what is left of it.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from posttrain.environment import prepare_environment

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two threads may add in another order than one
prepare_environment()

from posttrain.run_folder.heartbeat import Beat, read_beat  # noqa: E402
from posttrain.terminal import say  # noqa: E402

CONTEXT = multiprocessing.get_context("forkserver")
STAGES = {"sft": 60, "rl": 36, "pref": 60}  # with their steps
IN_THE_START = 0.15  # the share of kills before the first step
RECIPES = {
    "sft": """\
data: {{sources: [{{name: long, path: data/sft_reasoning.jsonl}}, {{name: short, path: data/sft_non_reasoning.jsonl}}]}}
mixer: {{use: "data_mixers.by_tokens:ByTokens", args: {{shares: {{reasoning: 1.5, non_reasoning: 1.0}}}}}}
trainer:
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 2
  num_train_epochs: 9
  {trainer}
""",
    "rl": """\
data: {{sources: [{{path: data/rl.jsonl}}]}}
engine: transformers
check_gold: false
rewards: [{{use: "soak_reward:even"}}]
trainer:
  num_generations: 4
  per_device_train_batch_size: 8
  gradient_accumulation_steps: 1
  steps_per_generation: 3
  max_completion_length: 24
  {trainer}
""",
    "pref": """\
pairs: [pairs.parquet]
trainer:
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 2
  num_train_epochs: 99
  {trainer}
""",
}
TRAINER = "learning_rate: 1e-3\n  save_steps: 3\n  logging_steps: 1\n  max_steps: {steps}\n  report_to: none"
# A noise model earns it about half of the time.
REWARD = """\
from rewards.contract import Verdict


def even(attempt):
    is_even = sum(map(ord, attempt.answer + (attempt.thinking or ""))) % 2 == 0
    return Verdict(score=float(is_even), outcome=is_even)
"""


class Killed(NamedTuple):
    """Where a process was when it was killed."""

    step: int
    what: str


def main() -> int:
    """Run the pipeline in peace and under fire; the exit code: 1 if an end differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=36, help="over all stages (default: 36)")
    parser.add_argument("--root", type=Path, help="a folder to keep (default: a temporary one)")
    args = parser.parse_args()
    CONTEXT.set_forkserver_preload(["tests.faults.preloaded"])
    with tempfile.TemporaryDirectory() as name:
        root = args.root or Path(name)
        prepare(root, args.seed)
        finish(begun(CONTEXT.Process(target=int)))  # the process that all others are forked from has its imports
        return soak(root, random.Random(args.seed), args.kills)


def soak(root: Path, rng: random.Random, kills: int) -> int:
    """Every stage in peace, then under fire; a line for each kill."""
    is_same, where = True, Counter[str]()
    for number, (stage, steps) in enumerate(STAGES.items()):
        pace = in_peace(root, stage, steps)
        share = kills // len(STAGES) + (number < kills % len(STAGES))
        for killed in under_fire(root, stage, pace, moments(rng, steps, share)):
            where[killed.what] += 1
            say(f"  {where.total():3}  {stage:4}  step {killed.step:2}  in {killed.what}")
        differing = different(root / f"{stage}-peace", root / f"{stage}-fire")
        is_same &= not differing
        say(f"  {stage}: {', '.join(differing) if differing else 'the same weights and metrics'}")
    counts = ", ".join(f"{count} in {what}" for what, count in where.most_common())
    say(f"{where.total()} kills ({counts}); {'every end is the same, bit for bit' if is_same else 'NOT the same'}")
    return 0 if is_same and where.total() >= kills else 1


class Moment(NamedTuple):
    """When to kill: once this step is made, 0 for none, after a share of the time of the start or of a step."""

    step: int
    share: float


class Pace(NamedTuple):
    """Seconds of a run that nobody disturbs: until its first heartbeat, and a step."""

    start_s: float
    step_s: float


def moments(rng: random.Random, steps: int, kills: int) -> list[Moment]:
    """In the order of the run; the last steps are spared, so that a late kill still finds it alive."""
    early = round(kills * IN_THE_START)
    late = [rng.randrange(1, round(0.9 * steps)) for _ in range(kills - early)]
    return [Moment(step, rng.random()) for step in sorted([0] * early + late)]


def in_peace(root: Path, stage: str, steps: int) -> Pace:
    """Run a stage to its end."""
    began, process = time.monotonic(), start(root, stage, "peace")
    while process.is_alive() and read_beat(root / f"{stage}-peace") is None:
        time.sleep(0.01)
    begun = time.monotonic()
    finish(process)
    return Pace(begun - began, (time.monotonic() - begun) / steps)


def under_fire(root: Path, stage: str, pace: Pace, when: list[Moment]) -> Iterator[Killed]:
    """Kill the stage again and again, then let it finish."""
    run = root / f"{stage}-fire"
    for moment in when:
        old, process = read_beat(run), start(root, stage, "fire")
        while process.is_alive() and moment.step and not has_reached(run, old, moment.step):
            time.sleep(0.001)
        time.sleep(moment.share * (pace.step_s if moment.step else pace.start_s))
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            break  # it was faster, and the count says so
        beat = read_beat(run)
        if beat is None or beat == old:
            yield Killed(0, "the start")
        else:
            yield Killed(beat.step, doing(run))
    if not is_finished_run(run):
        finish(start(root, stage, "fire"))


def has_reached(run: Path, old: Beat | None, step: int) -> bool:
    """Whether this attempt, and not the one before, has said that it made the step."""
    beat = read_beat(run)
    return beat is not None and beat != old and beat.step >= step


def is_finished_run(run: Path) -> bool:
    """As its manifest says."""
    return '"status": "finished"' in (run / "manifest.json").read_text()


def doing(run: Path) -> str:
    """What the dead process was at, by what it left."""
    aside = run / "checkpoints" / ".aside"
    return "a save" if aside.exists() and any(aside.iterdir()) else "a step"


def start(root: Path, stage: str, kind: str) -> Any:
    """Begin or go on with a run."""
    words = (stage, f"{stage}.yaml", f"run={stage}-{kind}", "--resume")
    return begun(CONTEXT.Process(target=call, args=(words, root)))


def begun(process: Any) -> Any:
    """The process, started."""
    process.start()
    return process


def call(words: tuple[str, ...], root: Path) -> None:
    """In a process of its own: the command line, its words in a file."""
    with (root / "out.txt").open("a") as out:
        for descriptor in (1, 2):
            os.dup2(out.fileno(), descriptor)
    os.chdir(root)
    sys.path.insert(0, str(root))
    from posttrain.cli import main as posttrain

    sys.exit(posttrain(words))


def finish(process: Any) -> None:
    """Wait for a run that is to end well."""
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"a run that nobody disturbed ended with exit code {process.exitcode}: see out.txt")


def different(peace: Path, fire: Path) -> list[str]:
    """What differs between two runs: weights bit for bit, metrics but for clocks and TRL's own count of tokens."""
    models = [(run / "model" / "model.safetensors").read_bytes() for run in (peace, fire)]
    found = [] if models[0] == models[1] else ["weights"]
    clocks = ("time", "step_time", "seconds/", "num_tokens")
    lines: list[list[dict[str, float]]] = [
        [
            {key: value for key, value in json.loads(line).items() if not key.startswith(clocks)}
            for line in (run / "metrics.jsonl").read_text().splitlines()
        ]
        for run in (peace, fire)
    ]
    if lines[0] != lines[1]:
        found.append("metrics")
    moved = {line.get("grad_norm") for line in lines[0]} - {0.0, None}
    return found if len(moved) > 5 else [*found, "nothing: it has not learnt, so this says nothing"]


def prepare(root: Path, seed: int) -> None:
    """Data, a tiny model and the recipes; each stage goes on from the model that the one before made in peace."""
    from posttrain.chat import origin_of, read_template
    from posttrain.demo.data import Sizes, write_data
    from posttrain.models.build import HybridShape, build_model
    from posttrain.models.load import load_tokenizer, save_model
    from posttrain.models.tokenizer import train_tokenizer
    from posttrain.preference.pair_files import write_pairs
    from posttrain.recipe import ModelSection

    root.mkdir(parents=True, exist_ok=True)
    sizes = Sizes(sft_reasoning=60, sft_non_reasoning=90, rl=12, pairs_stage1=4, pairs_stage2=4, validation=4, test=4)
    files = write_data(root / "data", seed=seed, sizes=sizes)
    texts = [
        message.get("reasoning_content", "") + message["content"]
        for name in ("sft_reasoning", "sft_non_reasoning")
        for line in files[name].read_text().splitlines()
        for message in json.loads(line)["messages"]
    ]
    tokenizer = train_tokenizer(texts, vocab_size=400, chat_template=read_template("exaone4"))
    shape = HybridShape(
        hidden_size=64, num_layers=2, intermediate_size=128, num_heads=2, num_kv_heads=1, local_layers=1
    )
    save_model(build_model(shape, tokenizer, seed=seed), tokenizer, root / "base")
    (root / "soak_reward.py").write_text(REWARD)
    models = {"sft": "base", "rl": "sft-peace/model", "pref": "rl-peace/model"}
    for stage, steps in STAGES.items():
        head = f"stage: {stage}\nrun: {stage}\nseed: {seed}\nmodel: {{path: {models[stage]}}}\n"
        body = RECIPES[stage].format(trainer=TRAINER.format(steps=steps))
        (root / f"{stage}.yaml").write_text(head + body)
    rng = random.Random(seed)
    ids: Callable[[int], list[int]] = lambda most: rng.choices(range(20, 250), k=rng.randint(2, most))  # noqa: E731
    rows: list[Any] = [
        {"query": query, "prompt_ids": ids(5), "chosen_ids": ids(6), "rejected_ids": ids(9), "mode": "reasoning"}
        for query in range(40)
    ]
    write_pairs(root / "pairs.parquet", rows, origin_of(load_tokenizer(ModelSection(path=str(root / "base")))))


if __name__ == "__main__":
    sys.exit(main())
