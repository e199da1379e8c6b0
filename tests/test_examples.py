"""What is shown of a row is what its tokens say, and what of them is trained."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from posttrain.chat import encode_prompt, render_for_training
from posttrain.examples import Example, in_turn, show

QUESTION = "4+7 은? [bold]b[/x] :tada:"
THINKING = "4+7=1\n[red]"
SHOWN = (
    f"[|user|]↵\n{QUESTION}[|endofturn|]↵\n[|assistant|]↵\n<think>↵\n"
    "⟦4+7=1↵\n[red]↵\n</think>↵\n↵\n정답은 1 입니다.[|endofturn|]⟧↵\n"
)


@pytest.fixture
def example(tokenizer: Any) -> Example:
    reply = {"role": "assistant", "content": "정답은 1 입니다.", "reasoning_content": THINKING}
    ids, trained = render_for_training(tokenizer, [{"role": "user", "content": QUESTION}, reply], "reasoning")
    return Example.of_tokens(tokenizer, ("row 1", "long", "reasoning", None, "x"), ids, trained)


def shown(example: Example, **console: Any) -> str:
    file = io.StringIO()
    show([example], Console(file=file, width=30, emoji=False, highlight=False, **console))
    return file.getvalue()


def test_in_a_log_what_is_trained_stands_in_brackets_and_all_else_is_letter_by_letter(example: Example) -> None:
    assert shown(example) == f"\nrow 1 · long · reasoning · no domain · x\n{SHOWN}"


def test_on_a_terminal_what_is_trained_is_green_and_the_rest_dim(example: Example) -> None:
    coloured = shown(example, force_terminal=True, color_system="standard")
    heading, plain, dim, bold_dim, green = "\x1b[1m", "\x1b[0m", "\x1b[2m", "\x1b[1;2m", "\x1b[32m"
    assert f"{heading}row 1 · long · reasoning · no domain · x{plain}\n" in coloured
    assert f"{bold_dim}<think>{plain}{dim}↵{plain}\n{green}4+7=1↵{plain}\n{green}[red]↵{plain}\n" in coloured
    assert f"{dim}{QUESTION}{plain}" in coloured
    # Special tokens stand out from text that only looks like them.
    assert f"{green}정답은 1 입니다.{plain}\x1b[1;32m[|endofturn|]{plain}{dim}↵{plain}\n" in coloured
    assert f"{bold_dim}[|user|]{plain}{dim}↵" in coloured
    bare = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert bare.partition(" · x\n")[2] == SHOWN.replace("⟦", "").replace("⟧", "")


def test_without_colours_a_terminal_gets_the_brackets(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(variable, raising=False)
    assert "⟦" not in shown(example, force_terminal=True, color_system="standard")
    monkeypatch.setenv("TERM", "dumb")
    assert "⟦4+7=1" in shown(example, force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "⟦4+7=1" in shown(example, force_terminal=True, color_system="standard")


def test_control_characters_are_seen_and_do_nothing(tokenizer: Any) -> None:
    ids = encode_prompt(tokenizer, "a\x1b[31mb\rc\td")
    example = Example.of_tokens(tokenizer, ("x",), ids, [False] * len(ids))
    assert shown(example) == "\nx\na␛[31mb␍c␉d\n"


def test_prompt_has_nothing_trained_and_is_not_dim(tokenizer: Any) -> None:
    ids = encode_prompt(tokenizer, "[|user|]\n가")
    example = Example.of_tokens(tokenizer, ("x",), ids, [False] * len(ids))
    assert shown(example) == "\nx\n[|user|]↵\n가\n"
    assert "\x1b[2m" not in shown(example, force_terminal=True, color_system="standard")


def test_groups_are_taken_in_turn_until_the_longest_ends() -> None:
    assert list(in_turn(["abc", "", "d", "ef"])) == ["a", "d", "e", "b", "f", "c"]
    assert list(in_turn([])) == []
