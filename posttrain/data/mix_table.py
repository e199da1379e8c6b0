"""The plan of a mix as a table: by mode, by domain, by source."""

import re
from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from data_mixers.plan import MixPlan, SourcePlan, Usage, summed

COLUMNS = ("rows", "tokens", "asked", "got", "epochs", "repeated", "left over")
UNITS = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "P": 1e15}
LEGEND = "tokens: trained ones; asked and got: % of all drawn tokens; left over: tokens never drawn"


def mix_table(plan: MixPlan) -> Table:
    """One line per mode, domain (where there are some) and source; fits a terminal of 80 columns."""
    caption = Text(LEGEND, style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), caption=caption, caption_justify="left")
    table.add_column("", overflow="fold", min_width=16)
    for head in COLUMNS:
        table.add_column(head, justify="right", no_wrap=True)
    for depth, name, usage in _lines(plan.sources):
        table.add_row(Text("  " * depth + name, style="" if depth else "bold"), *_cells(usage))
    table.add_row(Text("all", style="bold"), *_cells(plan.total()))
    return table


def _lines(sources: Sequence[SourcePlan]) -> Iterator[tuple[int, str, Usage]]:
    for mode, of_mode in _grouped(sources, "mode"):
        yield 0, mode or "", summed(of_mode)
        if {source.domain for source in of_mode} == {None}:
            yield from ((1, _file(source), source) for source in of_mode)
            continue
        for domain, of_domain in _grouped(of_mode, "domain"):
            yield 1, domain or "no domain", summed(of_domain)
            yield from ((2, _file(source), source) for source in of_domain)


def _grouped(sources: Sequence[SourcePlan], key: str) -> list[tuple[str | None, list[SourcePlan]]]:
    """Groups in the order of their first source."""
    groups: dict[str | None, list[SourcePlan]] = {}
    for source in sources:
        groups.setdefault(getattr(source, key), []).append(source)
    return list(groups.items())


def _file(source: SourcePlan) -> str:
    """The name without the mode and domain that the lines above give; the weight of its rows stays."""
    domain = re.escape(source.domain or "no domain")
    return re.sub(rf"/{re.escape(source.mode)}(/{domain})?( x[\d.e+-]+)?$", r"\2", source.name)


def _cells(usage: Usage) -> list[str]:
    asked = "–" if usage.asked_share is None else f"{100 * usage.asked_share:.2f}"
    return [
        short(usage.rows),
        short(usage.tokens),
        asked,
        f"{100 * usage.got_share:.2f}",
        f"{usage.epochs:.2f}",
        short(usage.repeated_tokens),
        short(usage.left_over_tokens),
    ]


def short(count: int) -> str:
    """A count in at most six characters: 27,000, 123k, 1.23M, 12.3B; exact below 100,000."""
    if count < 100_000:
        return f"{count:,}"
    unit, size = next((unit, size) for unit, size in UNITS.items() if count < 999.5 * size)
    value = count / size
    return f"{value:.2f}{unit}" if value < 9.995 else f"{value:.1f}{unit}" if value < 99.95 else f"{value:.0f}{unit}"
