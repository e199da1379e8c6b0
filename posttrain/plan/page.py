"""A plan as a page of the terminal, 100 columns wide at most, or as JSON."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from posttrain.models.costs import parameters
from posttrain.plan.changes import Change, fullest
from posttrain.plan.costing import COMPUTE, DECODE, EXCHANGE, GRADING, TRANSFER, Plan, three_digits
from posttrain.plan.shapes import Found
from posttrain.terminal import say

WIDTH = 100
GB = 1e9
RELIEF = {
    COMPUTE: "more devices, or fewer and shorter sequences",
    DECODE: "more sequences at a time, more devices to sample on, or shorter responses",
    EXCHANGE: "more tokens a micro-batch, or a sharding that exchanges less",
    TRANSFER: "fewer updates of the engine: trainer.steps_per_generation, trainer.num_iterations",
    GRADING: "grading.workers, or cheaper rewards",
}
Ways = Mapping[str, Sequence[Change]]


def print_page(file: Path, plans: Sequence[Plan], found: Found, ways: Ways) -> None:
    """Everything, for people."""
    first = plans[0]
    count = sum(parameters(found.shape, found.shape.vocab_size).values())
    _line("recipe", f"{file} on {_devices(first)}")
    _line("model", f"{_count(count)} parameters: {found.how}")
    for plan in plans:
        say("")
        _line("stage", plan.work.name)
        _line("step" if plan.work.update else "all", plan.work.per_step)
        say("")
        _print(_memory_table(plan))
        say("")
        _print(_time_table(plan))
        say("")
        for name, text in _totals(plan):
            _line(name, text)
    _verdict(plans, ways)
    _line("assumed", "; ".join(_assumed(first)))


def write_json(plans: Sequence[Plan], found: Found, ways: Ways) -> None:
    """The same for programs: bytes, seconds, hours."""
    page = {
        "model": found.how,
        "device": plans[0].device.name,
        "assumed": list(_assumed(plans[0])),
        "stages": [_summary(plan) for plan in plans],
        "changes": {
            name: [{"change": step.words, "stages": [_summary(plan) for plan in step.plans]} for step in steps]
            for name, steps in ways.items()
        },
    }
    sys.stdout.write(json.dumps(page, indent=2, ensure_ascii=False) + "\n")


def _summary(plan: Plan) -> dict[str, Any]:
    return {
        "stage": plan.work.name,
        "devices": plan.work.devices,
        "sharding": plan.work.update.training.sharding if plan.work.update else None,
        "fits": plan.fits,
        "memory": {
            load.device: {"moment": load.moment, "bytes": dict(load.parts), "room": load.room, "on_host": load.on_host}
            for load in plan.loads
        },
        "seconds": {phase.name: phase.seconds for phase in plan.phases},
        "bounds": {phase.name: phase.bound for phase in plan.phases},
        "bottleneck": plan.bottleneck.name if plan.phases else None,
        "steps": plan.work.steps,
        "tokens_per_step": plan.work.tokens,
        "responses": _responses(plan),
        "stage_seconds": plan.seconds,
        "device_hours": plan.device_hours,
        "price": plan.price,
    }


def _memory_table(plan: Plan) -> Table:
    table = _table("GB a device")
    for load in plan.loads:
        table.add_column(load.device, justify="right")
    names = dict.fromkeys(name for load in plan.loads for name, size in load.parts.items() if size)
    for name in names:
        table.add_row(name, *(_gb(load.parts[name]) if load.parts.get(name) else "" for load in plan.loads))
    table.add_section()
    table.add_row("all", *(f"{_gb(load.total)} of {_gb(load.room)}" for load in plan.loads))
    if any(load.on_host for load in plan.loads):
        table.add_row("on the host", *(_gb(load.on_host) for load in plan.loads))
    table.add_row("when", *(load.moment for load in plan.loads))
    return table


def _time_table(plan: Plan) -> Table:
    table = _table("a step" if plan.work.update else "the stage")
    for name in ("time", "share"):
        table.add_column(name, justify="right")
    table.add_column("bound by")
    table.add_column("", overflow="fold")
    for phase in plan.phases:
        share = phase.seconds / plan.step_seconds if plan.step_seconds else 0.0
        table.add_row(phase.name, _time(phase.seconds), f"{share:.0%}", phase.bound, phase.how)
    table.add_section()
    table.add_row("all", _time(plan.step_seconds))
    return table


def _totals(plan: Plan) -> Iterator[tuple[str, str]]:
    work = plan.work
    told = [f"{work.steps:,} steps x {_time(plan.step_seconds)} = {_time(plan.seconds)}"] if work.update else []
    if work.tokens:
        rate = work.tokens / plan.step_seconds
        told.append(f"{_count(work.steps * work.tokens)} tokens trained, {three_digits(rate)} a second")
    if work.sampling is not None:
        told.append(f"{_responses(plan):,} responses of {work.sampling.response_tokens:,} tokens")
    yield "in all", "; ".join(told)
    price = "" if plan.price is None else f"; at {plan.options.price_per_hour:g} an hour {plan.price:,.0f}"
    yield "cost", f"{work.devices} x {_time(plan.seconds)} = {three_digits(plan.device_hours)} device-hours{price}"
    if plan.phases:
        phase = plan.bottleneck
        yield "bottleneck", f"{phase.name}, by {phase.bound}; what relieves it: {RELIEF[phase.bound]}"


def _verdict(plans: Sequence[Plan], ways: Ways) -> None:
    load = fullest(plans)
    share = f"{_gb(load.total)} of {_gb(load.room)} GB, {load.device}"
    if load.fits:
        _line("fits", f"yes: {share}")
        return
    _line("fits", f"no: {share}" + ("" if ways else "; nothing that was tried makes it fit"))
    for name, steps in ways.items():
        say("")
        table = _table(f"to fit {name}, each with those above")
        for column in ("GB", "step", "device-hours"):
            table.add_column(column, justify="right")
        for step in steps:
            needs, hours = fullest(step.plans), sum(plan.device_hours for plan in step.plans)
            seconds = max(plan.step_seconds for plan in step.plans)
            table.add_row(step.words, _gb(needs.total), _time(seconds), f"{three_digits(hours)}")
        _print(table)
    say("")


def _assumed(plan: Plan) -> Iterator[str]:
    """What was assumed because nobody said it, then the shares, then the device."""
    options, device = plan.options, plan.device
    yield from plan.work.assumed
    yield f"--mfu {options.mfu:g} of {three_digits(device.flops / 1e12)} TFLOP/s"
    yield f"--bandwidth-share {options.bandwidth_share:g} of {device.bandwidth / GB:,.0f} GB/s (memory)"
    if plan.work.devices > 1:
        yield f"of {device.link / GB:,.0f} (link), of {device.network / GB:,.0f} a device (network)"
    if plan.work.sampling is not None:
        yield f"{1000 * options.decode_overhead:g} ms overhead a decoding step"
    yield f"{options.usable:.0%} of {device.memory / GB:,.0f} GB usable"
    yield device.source


def _devices(plan: Plan) -> str:
    """How many, what for, and how the model is shared out."""
    work = plan.work
    told = f"{work.devices} x {plan.device.name}"
    sharding = work.update.training.sharding if work.update else "none"
    sharing = "" if sharding == "none" else f", {sharding}"
    if work.sampling is None or work.sampling.where not in ("server", "alone"):
        return told + sharing
    engines = work.sampling.engines
    sampling = f"{engines} engine{'s' * (engines > 1)} of {work.sampling.tensor_parallel}"
    return (
        f"{told}: {work.update.training.processes} train{sharing}; {sampling}" if work.update else f"{told}: {sampling}"
    )


def _responses(plan: Plan) -> int:
    sampling = plan.work.sampling
    return 0 if sampling is None else round(plan.work.steps * sampling.responses / sampling.updates)


def _table(title: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(title, overflow="fold")
    return table


def _print(table: Table) -> None:
    """Without the blanks that rich fills lines up with."""
    plain = Console(width=WIDTH, file=StringIO(), color_system=None, highlight=False, emoji=False)
    plain.print(table)
    for line in plain.file.getvalue().splitlines():  # type: ignore[attr-defined]  # a StringIO, as given above
        say(escape(line.rstrip()))


def _line(name: str, text: str) -> None:
    """A word and what it stands for, broken between words."""
    first, rest = f"{name:<12}", " " * 12
    for line in wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False):
        say(escape(line))


def _gb(size: float) -> str:
    return f"{size / GB:,.1f}" if size >= 10 * GB else f"{size / GB:,.2f}"


def _count(number: float) -> str:
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{three_digits(number / size)} {name}"
    return f"{number:,.0f}"


def _time(seconds: float) -> str:
    """In the largest unit of which there are two."""
    for name, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{three_digits(seconds / size)} {name}"
    return f"{three_digits(seconds)} s" if seconds >= 0.1 else f"{three_digits(1000 * seconds)} ms"
