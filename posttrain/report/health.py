"""Health verdicts in words, each from data that is there: what went well, and what somebody should look at.

The names of the failures are those a user can search for: mode collapse, RL instability, stale weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import yaml

from posttrain.report.load import StageRun
from posttrain.report.words import duration, number, percent

SPIKE = 5.0  # a gradient norm this many times the run's median is called a spike
WARM_UP_SHARE = 0.05  # the first steps, whose norms are large in every healthy run, are not searched for spikes
ADHERENCE = 0.95  # below this share of answers in the right mode the modes are collapsing
CONSISTENCY = 0.9  # below this share of answers in the question's language
TRUNCATION = 0.05  # above this share of answers that ran out of tokens
LOOPING = 0.02  # above this share of answers that go in circles
REWARD_KEPT = 0.8  # a reward that ends below this share of its best fell
MISMATCH_KL = {"float32": 1e-5, "bfloat16": 5e-3, "float16": 5e-3}  # nats a token, where the recipe names no limit
RATIO_SLACK = 0.05  # how far the realised token ratio may be from the asked one, relatively


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict; `is_fine` is False when somebody should look."""

    is_fine: bool
    text: str


def findings(stage: StageRun) -> list[Finding]:
    """Everything that can be said about one stage, warnings first."""
    checks = (
        _ending,
        _finite,
        _skipped,
        _loss,
        _ratio,
        _weights,
        _gradients,
        _reward,
        _groups,
        _made_pairs,
        _pairs,
        _modes,
        _language,
        _cut,
        _loops,
    )
    found = [finding for check in checks for finding in check(stage)]
    return sorted(found, key=lambda finding: finding.is_fine)


def _ending(stage: StageRun) -> Iterator[Finding]:
    status, seconds = stage.manifest.get("status"), stage.manifest.get("seconds")
    took = f" after {duration(seconds)}" if isinstance(seconds, int | float) else ""
    if status == "running":
        yield Finding(False, "still running when this page was made, or killed before it could say so")
    elif status == "finished":
        again = len(stage.manifest.get("resumed") or [])
        yield Finding(True, f"finished{took}" + (f", resumed {again} time{'s' * (again > 1)}" if again else ""))
    elif status:
        error = (stage.manifest.get("notes") or {}).get("error")
        yield Finding(False, f"{status}{took}" + (f": {error}" if error else ""))


def _finite(stage: StageRun) -> Iterator[Finding]:
    skipped = _skips(stage)
    for key in ("loss", "grad_norm", "reward"):
        steps = [step for step, value in stage.series(key) if value is None and step not in skipped]
        if steps:
            yield Finding(False, f"{_name(key)} was not a finite number at {_steps(steps)}")


def _skipped(stage: StageRun) -> Iterator[Finding]:
    if steps := _skips(stage):
        text = "update skipped, as loss or gradient was not finite"
        yield Finding(False, f"{text}: {_steps(steps)}; the rows are in culprits.jsonl")


def _loss(stage: StageRun) -> Iterator[Finding]:
    if stage.manifest.get("stage") == "sft" and (ends := _ends(stage, "loss")):
        start, end = ends
        yield Finding(end < start, f"loss {_moved(start, end)}")


def _ratio(stage: StageRun) -> Iterator[Finding]:
    values = _values(stage, "tokens/ratio")
    if not values:
        return
    realised, asked = values[-1][1], asked_ratio(stage)
    if asked is None:
        yield Finding(True, f"realised token ratio, reasoning to non-reasoning, {realised:.2f}")
    else:
        is_near = abs(realised / asked - 1) <= RATIO_SLACK
        slack = "" if is_near else f"; more than {percent(RATIO_SLACK)} % off"
        yield Finding(is_near, f"realised token ratio {realised:.2f}, asked for {asked:.2f}{slack}")


def _weights(stage: StageRun) -> Iterator[Finding]:
    synced, mismatch = _values(stage, "rollout/weights_in_sync"), _values(stage, "rollout/mismatch_kl")
    limit = mismatch_limit(stage)
    worst = max(mismatch, key=lambda point: point[1], default=None)
    largest = f": largest mismatch KL {number(worst[1])} nats a token" if worst else ""
    largest += f", limit {number(limit)}" if worst and limit is not None else ""
    stale = [step for step, value in synced if not value]
    if stale:
        text = f"rollout and trainer disagree, as with stale weights: at {_steps(stale)} of {len(synced)}{largest}"
        yield Finding(False, text)
    elif worst and limit is not None and worst[1] > limit:
        yield Finding(False, f"rollout and trainer disagree, most at step {worst[0]}{largest}")
    elif synced:
        yield Finding(True, f"weights in sync at every step{largest}")
    elif worst:
        yield Finding(True, f"rollouts match the trained policy{largest}")


def _gradients(stage: StageRun) -> Iterator[Finding]:
    values = _values(stage, "grad_norm")
    if not values:
        return
    typical = median(value for _, value in values)
    spikes = _spikes(stage)
    if spikes:
        step, value = max(spikes, key=lambda point: point[1])
        more = f", {len(spikes)} spikes in all" if len(spikes) > 1 else ""
        times = f"{value / typical:.0f} times the median, limit {SPIKE:g}"
        yield Finding(False, f"gradient norm spiked at step {step}: {number(value)}, {times}{more}")
    else:
        largest = max(value for _, value in values)
        yield Finding(True, f"gradient norm without spikes: median {number(typical)}, largest {number(largest)}")


def _reward(stage: StageRun) -> Iterator[Finding]:
    key = "reward" if _values(stage, "reward") else "outcome"
    ends = _ends(stage, key)
    if not ends:
        return
    start, end = ends
    values = _values(stage, key)
    width = _window(len(values))
    windows = [values[at : at + width] for at in range(len(values) - width + 1)]
    best, step = max((fmean(value for _, value in window), window[0][0]) for window in windows)
    if best > 0 and end < REWARD_KEPT * best:
        name = "RL instability" if _spikes(stage) or _rose(stage, "kl") else "reward fell"
        fell = f"{_name(key)} was {number(best)} around step {step} and ended at {number(end)}"
        yield Finding(False, f"{name}: {fell}, below {percent(REWARD_KEPT)} % of its best")
    else:
        yield Finding(True, f"{_name(key)} {_moved(start, end)}")


def _groups(stage: StageRun) -> Iterator[Finding]:
    ends = _ends(stage, "groups/mixed")
    if ends:
        start, end = (percent(value) for value in ends)
        text = f"groups with both right and wrong answers: {start} % at the start, {end} % at the end"
        yield Finding(True, text)
    penalty = [value for _, value in _values(stage, "advantage/all_wrong_mean")]
    if penalty:
        yield Finding(True, f"all-wrong groups got a mean advantage of {number(fmean(penalty))}")


def _made_pairs(stage: StageRun) -> Iterator[Finding]:
    made = (stage.manifest.get("notes") or {}).get("pairs")
    if stage.manifest.get("stage") != "pairs" or not isinstance(made, dict):
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in made["reasons"].items())
    yield Finding(
        True, f"{made['pairs']} pairs of {made['queries']} queries, {made['reused']} reused; rejected: {reasons}"
    )
    lengths = f"{number(made['chosen_length'])} tokens chosen, {number(made['rejected_length'])} rejected"
    yield Finding(True, f"{lengths}; both sides right in {percent(made['both_correct'])} % of the pairs")
    if contradicting := made.get("refused", {}).get("chosen_wrong"):
        yield Finding(False, f"the highest reward went to a wrong response at {contradicting} queries")


def _pairs(stage: StageRun) -> Iterator[Finding]:
    chosen, rejected = _ends(stage, "prob/chosen"), _ends(stage, "prob/rejected")
    if chosen and rejected:
        apart = chosen[1] - rejected[1] > chosen[0] - rejected[0]
        text = f"p(chosen) {_moved(*chosen)}, p(rejected) {_moved(*rejected)}"
        yield Finding(apart and chosen[1] >= chosen[0] * REWARD_KEPT, text)
    ordering = _ends(stage, "ordering_accuracy")
    if ordering:
        yield Finding(ordering[1] >= ordering[0], f"pairs in the right order: {percent(ordering[1])} % at the end")


def _modes(stage: StageRun) -> Iterator[Finding]:
    for share, where in _worst(stage, "mode_adherence", lowest=True):
        name = "mode adherence" if share >= ADHERENCE else "mode collapse: adherence only"
        yield Finding(share >= ADHERENCE, f"{name} {percent(share)} %, limit {percent(ADHERENCE)} % ({where})")


def _language(stage: StageRun) -> Iterator[Finding]:
    for share, where in _worst(stage, "language_consistency", lowest=True):
        text = f"answers in the question's language: {percent(share)} %, limit {percent(CONSISTENCY)} % ({where})"
        yield Finding(share >= CONSISTENCY, text)


def _cut(stage: StageRun) -> Iterator[Finding]:
    for share, where in _worst(stage, "truncated", lowest=False):
        if share > TRUNCATION:
            text = f"truncation: {percent(share)} % of the answers ran out of tokens, limit {percent(TRUNCATION)} %"
            yield Finding(False, f"{text} ({where})")


def _loops(stage: StageRun) -> Iterator[Finding]:
    for share, where in _worst(stage, "looping", lowest=False):
        if share > LOOPING:
            text = f"degeneration: {percent(share)} % of the answers go in circles, limit {percent(LOOPING)} %"
            yield Finding(False, f"{text} ({where})")


def mismatch_limit(stage: StageRun) -> float | None:
    """How far rollout and trainer may disagree in this run, in nats a token; None where its recipe does not say."""
    asked = _said(stage, "trainer", "max_mismatch_kl")
    return float(asked) if isinstance(asked, int | float) else MISMATCH_KL.get(str(_said(stage, "model", "dtype")))


def asked_ratio(stage: StageRun) -> float | None:
    """The reasoning to non-reasoning token ratio that the recipe asks for, None where it asks for none."""
    shares = _said(stage, "mixer", "args", "shares")
    if not isinstance(shares, dict):
        return None
    # A mode with shares of domains has its own under `share`.
    of_mode = {mode: share.get("share") if isinstance(share, dict) else share for mode, share in shares.items()}
    match of_mode:
        case {"reasoning": int() | float() as reasoning, "non_reasoning": int() | float() as direct} if direct:
            return reasoning / direct
    return None


def _said(stage: StageRun, *keys: str) -> Any:
    """What the recipe says under these keys, None where it says nothing."""
    try:
        section = yaml.safe_load(stage.recipe)
    except yaml.YAMLError:
        return None
    for key in keys:
        section = section.get(key) if isinstance(section, dict) else None
    return section


def _worst(stage: StageRun, metric: str, *, lowest: bool) -> Iterator[tuple[float, str]]:
    # What a budget cut short is a point of a curve, not a fault of the model.
    evaluation = stage.evaluation
    decodings = (
        [each for each in evaluation.decodings.values() if each.name not in evaluation.limited] if evaluation else []
    )
    measured = [(interval.mean, each.name) for each in decodings if (interval := each.metric(metric))]
    if measured:
        share, where = (min if lowest else max)(measured)
        yield share, f"{where}, the worst of {len(measured)} decodings" if len(measured) > 1 else where


def _spikes(stage: StageRun) -> list[tuple[int, float]]:
    values = _values(stage, "grad_norm")
    typical = median([value for _, value in values] or [0.0])
    late = values[round(WARM_UP_SHARE * len(values)) :]
    return [(step, value) for step, value in late if value > SPIKE * typical > 0]


def _skips(stage: StageRun) -> list[int]:
    return [step for step, value in _values(stage, "guard/skipped") if value]


def _rose(stage: StageRun, key: str) -> bool:
    ends = _ends(stage, key)
    return ends is not None and ends[1] > 2 * ends[0]


def _values(stage: StageRun, key: str) -> list[tuple[int, float]]:
    return [(step, value) for step, value in stage.series(key) if value is not None]


def _window(length: int) -> int:
    return max(1, length // 10)


def _ends(stage: StageRun, key: str) -> tuple[float, float] | None:
    """Means of the first and the last tenth of a run, None with fewer than two values."""
    values = [value for _, value in _values(stage, key)]
    width = _window(len(values))
    return (fmean(values[:width]), fmean(values[-width:])) if len(values) > 1 else None


def _moved(start: float, end: float) -> str:
    verb = "rose" if end > start else "fell" if end < start else "stayed"
    return f"{verb} from {number(start)} to {number(end)}" if end != start else f"stayed at {number(end)}"


def _steps(steps: list[int]) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} steps, first at step {steps[0]}"


def _name(key: str) -> str:
    return {"grad_norm": "gradient norm", "outcome": "share of right answers"}.get(key, key)
