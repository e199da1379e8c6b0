"""The page's first paragraph: what was run and what came of it."""

from collections.abc import Sequence
from itertools import groupby

from posttrain.report.evaluation import Decoding
from posttrain.report.load import StageRun
from posttrain.report.words import count, duration, listing, percent


def summary(stages: Sequence[StageRun]) -> str:
    """A few sentences over the runs, in the stages' order; says nothing about what was not measured.

    An evaluation that stands for itself is a stage only among its kind.
    """
    runs = [stage for stage in stages if stage.manifest.get("stage") != "eval"] or stages
    names = listing([stage.name for stage in runs])
    took = sum(float(stage.manifest.get("seconds") or 0) for stage in runs)
    ran = f"{len(runs)} stages: {names}" if len(runs) > 1 else names
    ran += f", run in {duration(took)}" if took else ""
    said = [f"{ran}."]
    for _, pipeline in groupby(stages, key=lambda stage: stage.pipeline):
        evaluated = [stage for stage in pipeline if stage.evaluation]
        comparable = [stage for stage in evaluated[1:] if _leading(evaluated[0], stage)]
        if comparable:
            said.append(_change(evaluated[0], comparable[-1]))
        elif evaluated:
            said.append(_level(evaluated[0]))
    return " ".join(filter(None, said))


def _level(stage: StageRun) -> str:
    decoding = _leading(stage)
    accuracy = decoding.metric("accuracy") if decoding else None
    if not decoding or not accuracy:
        return ""
    bounds = f"95 % interval {percent(accuracy.low)} to {percent(accuracy.high)}"
    return f"Decoded as “{decoding.name}”, {percent(accuracy.mean)} % of the answers are right ({bounds})."


def _change(first: StageRun, last: StageRun) -> str:
    before = _leading(first, last)
    after = last.decoding(before.name) if before else None
    if not before or not after:
        return ""
    said = []
    old, new = before.metric("accuracy"), after.metric("accuracy")
    if old and new:
        unclear = "" if old.is_apart_from(new) else " (the 95 % intervals overlap)"
        said.append(f"accuracy went from {percent(old.mean)} % to {percent(new.mean)} %{unclear}")
    old, new = before.metric("thinking_tokens"), after.metric("thinking_tokens")
    if old and new and old.mean + new.mean > 0:
        said.append(f"mean thinking from {count(old.mean)} to {count(new.mean)} tokens")
    if not said:
        return ""
    return f"From {first.name} to {last.name}, decoded as “{before.name}”, {listing(said)}."


def _leading(*stages: StageRun) -> Decoding | None:
    """The first stage's first reasoning decoding that all of them share; any shared one when none reasons."""
    own = stages[0].evaluation.decodings.values() if stages[0].evaluation else ()
    shared = [each for each in own if all(stage.decoding(each.name) for stage in stages)]
    return min(shared, key=lambda each: each.mode != "reasoning", default=None)
