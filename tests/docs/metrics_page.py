"""What docs/metrics.md names, to be compared with what runs log."""

import json
import re
from pathlib import Path

from tests.docs.markdown import PROJECT

PAGE = (PROJECT / "docs" / "metrics.md").read_text(encoding="utf-8")
SECTIONS = {"sft": "SFT and long context", "rl": "RL", "pref": "Preference learning"}


def logged(run: Path) -> set[str]:
    """Every figure in a run's metrics."""
    return {name for line in (run / "metrics.jsonl").read_text().splitlines() for name in json.loads(line)}


def unnamed(run: Path, stage: str) -> list[str]:
    """Figures that a run logged and the page does not name, neither for every stage nor for this one."""
    named = [_pattern(name) for name in _names("Every stage that trains") + _names(SECTIONS[stage])]
    return sorted(name for name in logged(run) if not any(re.fullmatch(each, name) for each in named))


def _names(heading: str) -> list[str]:
    """Of the first column of every table under a `##` heading, and those that the text below `dpo` lists."""
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert cells, f"no table under {heading!r}"
    peers = text.partition("With `objective: dpo`")[2]
    return re.findall(r"`([^`]+)`", "\n".join([*cells, peers]))


def _pattern(name: str) -> str:
    return re.sub(r"<\w+>", "[^/]+", name)
