"""docs/plan.md: what it quotes is what is printed, and its tables are those of the code."""

import re
import shlex
from pathlib import Path

import pytest

from posttrain.cli import main
from posttrain.plan.devices import DEVICES
from posttrain.plan.options import HELP

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "plan.md").read_text(encoding="utf-8")


def test_example_on_the_page_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    [command] = re.findall(r"^    posttrain (plan .*)$", PAGE, re.MULTILINE)
    [quoted] = re.findall(r"```\n(recipe .*?)```", PAGE, re.DOTALL)
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == quoted


def test_devices_and_options_on_the_page_are_those_there_are() -> None:
    for device in DEVICES.values():
        figures = [f"{device.flops / 1e12:g}", f"{device.memory / 1e9:g}", f"{device.bandwidth / 1e9:,.0f}"]
        figures += [f"{device.link / 1e9:g}", f"{device.network / 1e9:g}", device.source]
        assert f"| `{device.name}` | {' | '.join(figures)} |" in PAGE
    named = set(re.findall(r"`(--[\w-]+)`", PAGE)) - {"--json"}
    assert named == {f"--{name.replace('_', '-')}" for name in HELP}
