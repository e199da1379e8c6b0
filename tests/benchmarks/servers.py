"""Steps an hour of RL by servers, staleness, trainer and batch, in simulated time: the 32B's plan, the demo's figures.

    make bench-servers       # after `make demo`

The 32B's are of the plan in `recipes/exaone-4.0-32b/rl.yaml`, whose rates are assumed; its skew is assumed here. The
demo's lengths, decoding and updates are those that its run measured.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from posttrain.models.build import PRESETS
from posttrain.models.costs import kv_cache_bytes, parameters
from posttrain.simulation.decoding import StepTime
from posttrain.simulation.lengths import Lengths, lognormal
from posttrain.simulation.measured import read_run
from posttrain.simulation.rollouts import Fleet, Outcome, generate, simulate
from posttrain.terminal import say

SERVERS, STALENESS = (1, 2, 4, 8), (0, 1, 2, 4)
BOUNDS = " | ".join(f"staleness {bound}" for bound in STALENESS)
STEPS, SEED = 300, 0
# The 32B's plan: 64 groups of 8; 4,000 tokens a response and 2,500 a second on a server of eight GPUs.
GROUPS, GROUP_SIZE = 64, 8
MEAN, SIGMA, CAP = 4_000, 1.0, 16_384
TOKENS_PER_S = 2_500
SLOTS = 256  # of the longest responses, what 8 x 80 GB hold beside the weights
SYNC_S = 30.0
UPDATES_S = (120.0, 240.0, 480.0)
# Forward, backward, the forward of gradient checkpointing and that of the reference; 16 GPUs of 989 TFLOP/s (H100,
# bfloat16, by NVIDIA's data sheet) at 35 %.
FLOPS_PER_WEIGHT, TRAINER_FLOPS_PER_S = 2 + 4 + 2 + 2, 16 * 989e12 * 0.35


def main() -> None:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/demo/rl"), help="an RL run whose figures are taken")
    parser.add_argument("--out", type=Path, default=Path("docs/servers.svg"))
    args = parser.parse_args()
    if not (args.run / "metrics.jsonl").is_file():
        parser.error(f"no metrics in {args.run}: run `make demo` first, or pass --run")
    lengths, step_time = lognormal(mean=MEAN, sigma=SIGMA, cap=CAP), plan_step_time()
    say(f"32B: a step of decoding takes {describe(step_time)}; FLOPs of an update take {arithmetic_s():.0f} s")
    rates = {update_s: table(lengths, step_time, update_s=update_s) for update_s in UPDATES_S}
    batch_table(lengths, step_time)
    demo_table(args.run)
    draw(rates, args.out)


def plan_step_time() -> StepTime:
    """Weights and caches in proportion to their bytes, at such a speed that one server keeps to the plan."""
    shape = PRESETS["exaone-4.0-32b"]
    assert shape.vocab_size is not None
    weights = 2 * sum(parameters(shape, shape.vocab_size).values())
    bytes_of_a_step = StepTime(weights, kv_cache_bytes(shape, MEAN))
    batches = generate(
        lognormal(mean=MEAN, sigma=SIGMA, cap=CAP),
        Fleet(1, SLOTS, bytes_of_a_step),
        responses=GROUPS * GROUP_SIZE,
        steps=STEPS,
        seed=SEED,
    )
    planned_s = STEPS * GROUPS * GROUP_SIZE * MEAN / TOKENS_PER_S
    bytes_per_s = sum(batch.seconds for batch in batches.decoded) / planned_s
    return StepTime(bytes_of_a_step.floor_s / bytes_per_s, bytes_of_a_step.per_response_s / bytes_per_s)


def arithmetic_s() -> float:
    """Seconds of an update's matrices."""
    shape = PRESETS["exaone-4.0-32b"]
    assert shape.vocab_size is not None
    weights = sum(parameters(shape, shape.vocab_size).values())
    return FLOPS_PER_WEIGHT * weights * GROUPS * GROUP_SIZE * MEAN / TRAINER_FLOPS_PER_S


def table(lengths: Lengths, step_time: StepTime, *, update_s: float) -> dict[int, list[float]]:
    """Servers against staleness; the steps an hour of each number of servers."""
    say(f"\n| update {update_s:.0f} s | generation | stragglers | {BOUNDS} |")
    rates = {}
    for servers in SERVERS:
        fleet = Fleet(servers, SLOTS, step_time)
        batches = generate(lengths, fleet, responses=GROUPS * GROUP_SIZE, steps=STEPS, seed=SEED)
        outcomes = [simulate(batches, update_s=update_s, sync_s=SYNC_S, staleness=bound) for bound in STALENESS]
        seconds = np.mean([batch.seconds for batch in batches.decoded])
        row(f"{servers} servers | {seconds:.0f} s | {batches.straggling:.0%}", outcomes)
        rates[servers] = [outcome.steps_per_hour for outcome in outcomes]
    return rates


def row(head: str, outcomes: Sequence[Outcome]) -> None:
    """Steps an hour, and how busy trainer and servers are."""
    cells = (f"{each.steps_per_hour:.2f} ({each.trainer_busy:.0%}, {each.servers_busy:.0%})" for each in outcomes)
    say(f"| {head} | " + " | ".join(cells) + " |")


def batch_table(lengths: Lengths, step_time: StepTime) -> None:
    """Batches of another size, with updates in proportion, on two servers: thousands of responses an hour."""
    say(f"\n| groups, on 2 servers; 64 update in {UPDATES_S[0]:.0f} s | generation | stragglers | staleness 0 | 1 |")
    for groups in (16, 32, 64, 128, 256):
        fleet = Fleet(2, SLOTS, step_time)
        batches = generate(lengths, fleet, responses=groups * GROUP_SIZE, steps=STEPS, seed=SEED)
        seconds = np.mean([batch.seconds for batch in batches.decoded])
        update_s = UPDATES_S[0] * groups / GROUPS
        outcomes = [simulate(batches, update_s=update_s, sync_s=SYNC_S, staleness=bound) for bound in (0, 1)]
        responses = (f"{each.steps_per_hour * groups * GROUP_SIZE / 1000:.2f}" for each in outcomes)
        say(f"| {groups} | {seconds:.0f} s | {batches.straggling:.0%} | " + " | ".join(responses) + " |")


def demo_table(folder: Path) -> None:
    """Lengths, decoding and updates as the run has them, if engine and trainer had machines of their own."""
    run = read_run(folder)
    say(f"\n{folder}: a step of decoding takes {describe(run.step_time)}; generation {run.generation_s:.2f} s a batch")
    say(f"| update {run.update_s:.1f} s | {BOUNDS} |")
    for servers in SERVERS[:3]:
        fleet = Fleet(servers, run.responses, run.step_time)
        batches = generate(run.lengths, fleet, responses=run.responses, steps=STEPS, seed=SEED)
        outcomes = [simulate(batches, update_s=run.update_s, sync_s=0.0, staleness=bound) for bound in STALENESS]
        row(f"{servers} servers", outcomes)


def describe(step_time: StepTime) -> str:
    """Both parts, in milliseconds."""
    return f"{1e3 * step_time.floor_s:.3g} ms and {1e3 * step_time.per_response_s:.3g} ms for each response"


def draw(rates: dict[float, dict[int, list[float]]], path: Path) -> None:
    """A panel for each trainer: steps an hour by servers, a line for each bound."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(rates), figsize=(4 * len(rates), 3.4), sharey=True)
    for panel, (update_s, by_servers) in zip(panels, rates.items(), strict=True):
        for index, (bound, style) in enumerate(zip(STALENESS, ("o-", "o-", "s--", "x:"), strict=True)):
            speed = [rate[index] for rate in by_servers.values()]
            panel.plot(list(by_servers), speed, style, label=f"staleness {bound}", markersize=5)
        panel.axhline(3600 / update_s, color="gray", linewidth=0.8, linestyle=":")
        panel.set(title=f"an update takes {update_s:.0f} s", xlabel="servers")
        panel.set_xscale("log", base=2)
        panel.set_xticks(SERVERS, [str(servers) for servers in SERVERS])
        panel.set_ylim(0, 1.1 * max(max(speed) for each in rates.values() for speed in each.values()))
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("steps an hour")
    panels[0].legend(frameon=False, fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
