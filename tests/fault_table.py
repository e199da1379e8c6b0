"""The table of faults: which one is injected in which stage, how the tests of it ended, and what plain libraries do.

A test that injects a fault says so, once for each, as `@pytest.mark.fault(2, "killed in the write", stage="rl")`; it
then also carries the marker `faults`. `stage` is one of `STAGES`; "all": what is tested is common to all of them.
`pytest --fault-table=PATH` writes the table as Markdown.
"""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

STAGES = ("sft", "rl", "pref", "pairs", "filter", "eval", "context", "all")


class Fault(NamedTuple):
    """What goes wrong, and what a run of transformers 5.19 with TRL 1.16 does then (measured, or from the source)."""

    name: str
    plain: str


FAULTS = {
    1: Fault(
        "kill -9 in a step", "same end within the first epoch only; rollouts in use are lost, later epochs reshuffle"
    ),
    2: Fault("kill -9 while a checkpoint is written", "half a checkpoint is taken for the newest; resume dies in it"),
    3: Fault("disk full", "crash, half a checkpoint stays, resume dies in it"),
    4: Fault("truncated weights or optimizer", "resume dies, older checkpoints are not tried"),
    5: Fault("optimizer or scheduler file missing", "goes on silently with a fresh optimizer"),
    6: Fault("random state missing", "goes on with other random numbers, a line at log level info"),
    7: Fault("flipped bytes in the weights", "goes on silently with wrong weights"),
    8: Fault("trainer_state.json empty", "resume dies, older checkpoints are not tried"),
    9: Fault("loss is NaN", "logged as 0.0, the update is made and ruins the weights"),
    10: Fault("reward NaN or None for all rows", "group without advantage, a warning"),
    11: Fault("reward infinite", "advantages silently become 0"),
    12: Fault("reward raises", "the run dies without a checkpoint"),
    13: Fault("reward hangs", "the run hangs (from the source)"),
    14: Fault("reward of wrong length or type", "length: a clear error; type: an obscure one"),
    15: Fault("reward worker killed", "there are no workers: rewards run in the trainer's process"),
    16: Fault(
        "vLLM server or engine dies or hangs", "five retries, then dead; a hung server hangs the run (from the source)"
    ),
    17: Fault("SIGTERM", "the run ends without a checkpoint"),
    18: Fault("row without a usable prompt", "dies at the step that meets it"),
    19: Fault("row with an empty prompt", "dies at the step that meets it"),
    20: Fault("gold answer missing or not parsable", "reward 0 for ever"),
    21: Fault("prompt too long", "trained as it is, silently"),
    22: Fault("tokenizer larger than the embedding", "IndexError in the first step"),
    23: Fault("chat rows without a chat template", "clear error, after the model is loaded"),
    24: Fault("dead or hanging rank", "the others wait up to half an hour (from the source)"),
    25: Fault(
        "rotation beside a broken checkpoint", "oldest by file time is deleted, broken ones count (from the source)"
    ),
    26: Fault("read-only folder, two runs in one folder, clock set back", "unguarded (from the source)"),
}

_SAMPLING = ("pairs", "filter", "eval")
_NO_REWARDS = ("sft", "pref", "context")
# Where a fault cannot be: stages that sample have no updates and no checkpoints and are one process; SFT, preference
# learning and the context stage have no rewards, no gold and no engine of their own.
NOWHERE = {
    **dict.fromkeys((4, 5, 6, 7, 8, 9, 24, 25), _SAMPLING),
    **dict.fromkeys((10, 11, 12, 13, 14, 15, 16, 20), _NO_REWARDS),
}


class FaultTable:
    """Collects the outcomes of the tests marked `fault`."""

    def __init__(self) -> None:
        self._outcomes: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)

    def add(self, number: int, stage: str, outcome: str) -> None:
        """Count one test; outcome: passed, failed or skipped."""
        self._outcomes[number, stage][outcome] += 1

    def __len__(self) -> int:
        return len(self._outcomes)

    def rows(self) -> list[list[str]]:
        """Header and a row for each fault with a test: number, name, verdict by stage, what plain libraries do."""
        stages = [stage for stage in STAGES if any(key[1] == stage for key in self._outcomes)]
        numbers = sorted({number for number, _ in self._outcomes})
        return [
            ["#", "fault", *stages, "plain transformers and TRL"],
            *(
                [
                    str(number),
                    FAULTS[number].name,
                    *(self._verdict(number, each) for each in stages),
                    FAULTS[number].plain,
                ]
                for number in numbers
            ),
        ]

    def text(self) -> list[str]:
        """The rows without the last column, aligned."""
        rows = [row[:-1] for row in self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]

    def markdown(self) -> str:
        """All rows as a Markdown table."""
        header, *rows = self.rows()
        return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["---"] * len(header), *rows))

    def _verdict(self, number: int, stage: str) -> str:
        """`ok 3`: all three tests passed; `FAILED 1/3`; `skipped`: none ran; `–`: cannot be; empty: no test."""
        counts = self._outcomes.get((number, stage), Counter())
        ran = counts["passed"] + counts["failed"]
        if counts["failed"]:
            return f"FAILED {counts['failed']}/{ran}"
        if ran:
            return f"ok {ran}"
        return "skipped" if counts["skipped"] else "–" if stage in NOWHERE.get(number, ()) else ""


_TABLE = pytest.StashKey[FaultTable]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", type=Path, metavar="PATH", help="write the table of injected faults as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TABLE] = FaultTable()
    config.pluginmanager.register(_Listener(config.stash[_TABLE]))


@pytest.hookimpl(tryfirst=True)  # before `-m faults` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marks = [_number_and_stage(mark) for mark in item.iter_markers("fault")]
        if marks:
            item.add_marker("faults")
            item.user_properties.append(("faults", marks))


def _number_and_stage(mark: pytest.Mark) -> tuple[int, str]:
    number, _how, stage = mark.args[0], mark.args[1], mark.kwargs["stage"]
    if number not in FAULTS or stage not in STAGES:
        raise pytest.UsageError(f"fault({number}, stage={stage!r}): need one of {list(FAULTS)} and of {STAGES}")
    return number, stage


class _Listener:
    """Hears of every test in the process that prints the table, wherever the test ran (pytest-xdist)."""

    def __init__(self, table: FaultTable) -> None:
        self._table = table

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        is_verdict = report.when == "call" or report.outcome != "passed"  # a set-up can fail or skip as well
        faults: Any = dict(report.user_properties).get("faults", [])
        for number, stage in faults if is_verdict else []:
            self._table.add(number, stage, report.outcome)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash[_TABLE]
    if not len(table):
        return
    terminalreporter.section("faults injected")
    for line in table.text():
        terminalreporter.write_line(line)
    path = config.getoption("--fault-table")
    if path is not None:
        path.write_text(table.markdown(), encoding="utf-8")
