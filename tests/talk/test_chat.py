import io
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from posttrain.chat import Part
from posttrain.errors import UserError
from posttrain.talk.chat import COMMANDS, run_chat
from posttrain.talk.generate import run_generate
from posttrain.talk.options import add_chat, add_generate
from posttrain.talk.session import Session, open_session
from tests import taught

Capture = pytest.CaptureFixture[str]


def options(add: Any, *words: object) -> Namespace:
    parser = ArgumentParser()
    add(parser)
    return parser.parse_args([str(word) for word in words])


def chat(folder: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    run_chat(options(add_chat, "--model", folder, "--temperature", 0, *words))


# --- one prompt ---


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_answer_goes_to_standard_output_and_thinking_beside_it(
    taught_folder: Path, capsys: Capture, stream: list[str]
) -> None:
    mode = ["--mode", "reasoning", "--temperature", "0"]
    run_generate(options(add_generate, "--model", taught_folder, *mode, *stream, taught.QUESTION))
    shown = capsys.readouterr()
    assert shown.out == f"{taught.ANSWER}\n"
    assert taught.THINKING in shown.err
    assert "think>" not in shown.err


def test_mode_without_thinking_is_greedy_where_nothing_else_is_said(taught_folder: Path, capsys: Capture) -> None:
    run_generate(options(add_generate, "--model", taught_folder, taught.QUESTION))
    assert capsys.readouterr().out == f"{taught.DIRECT_ANSWER}\n"


def test_prompt_comes_from_standard_input_where_none_is_given(
    taught_folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{taught.QUESTION}\n"))
    run_generate(options(add_generate, "--model", taught_folder))
    assert capsys.readouterr().out == f"{taught.DIRECT_ANSWER}\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n"))
    with pytest.raises(UserError, match="empty prompt"):
        run_generate(options(add_generate, "--model", taught_folder))


def test_reply_that_is_cut_off_says_so(taught_folder: Path, capsys: Capture) -> None:
    run_generate(options(add_generate, "--model", taught_folder, "--max-new-tokens", 1, taught.QUESTION))
    assert "cut off at the token limit" in capsys.readouterr().err


# --- a conversation ---


def test_conversation_changes_its_mode_and_remembers_what_was_said(
    taught_folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"/think {taught.QUESTION}", taught.SECOND_QUESTION, "/reset", "/no_think", taught.QUESTION]
    chat(taught_folder, [*lines, taught.SECOND_QUESTION, "/quit", taught.QUESTION], monkeypatch)
    shown = capsys.readouterr()
    # The second answers are known by heart only behind the first, without their thinking.
    answers = [taught.ANSWER, taught.SECOND_ANSWER, taught.DIRECT_ANSWER, taught.SECOND_ANSWER]
    assert shown.out.splitlines() == answers
    notes = [line for line in shown.err.splitlines() if line]
    assert notes == [
        "mode: reasoning",
        taught.THINKING,
        taught.SECOND_THINKING,
        "a new conversation",
        "mode: non_reasoning",
    ]


def test_budget_of_the_conversation_closes_its_thinking(
    taught_folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat(
        taught_folder,
        ["/budget 1", taught.QUESTION, "/budget off", "/reset", taught.QUESTION],
        monkeypatch,
        "--mode",
        "reasoning",
    )
    shown = capsys.readouterr()
    assert shown.err.count(taught.THINKING) == 1
    assert taught.THINKING.split()[0] in shown.err.partition("thinking budget: off")[0]


def test_mistake_in_a_conversation_is_said_and_the_conversation_goes_on(
    taught_folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["/thnk", "/budget many", "", "word " * 600, taught.QUESTION]
    chat(taught_folder, lines, monkeypatch)
    shown = capsys.readouterr()
    assert f"no command /thnk; there are\n{COMMANDS}" in shown.err
    assert "/budget: got 'many', need a number of tokens, or off" in shown.err
    assert "error: the conversation leaves 0 tokens" in shown.err
    assert shown.out == f"{taught.DIRECT_ANSWER}\n"


def test_budget_that_leaves_no_answer_is_refused(taught_folder: Path) -> None:
    given = options(add_chat, "--model", taught_folder, "--max-new-tokens", 20)
    with open_session(given) as session, pytest.raises(UserError, match="budget of 20 leaves nothing of 20 tokens"):
        session.reply([{"role": "user", "content": "?"}], "reasoning", 20, lambda part: None)


class Endless:
    """An engine whose model never stops."""

    max_model_len, end_ids = 10**6, frozenset[int]()

    def stream(self, prompt_ids: list[int], decoding: Any, *, seed: int) -> Iterator[int]:
        while True:
            yield prompt_ids[0]


def test_reply_can_be_stopped_between_two_tokens(tokenizer: Any) -> None:
    parts: list[Part] = []
    session = Session(options(add_chat, "--model", "x"), Endless(), tokenizer)
    question = [{"role": "user", "content": "?"}]
    reply = session.reply(question, "non_reasoning", None, parts.append, lambda: len(parts) == 3)
    assert reply.answer == "".join(part.text for part in parts).strip()
    assert not reply.is_truncated


# --- the command line ---


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["generate", "--model", "{folder}", "--mode", "thinking", "hi"], "invalid choice: 'thinking'"),
        (["generate", "--model", "{folder}", "--thinking-budget", "-1", "hi"], "got '-1', need a whole number of"),
        (["generate", "--model", "{folder}", "--top-p", "0", "hi"], "got '0', need a number above 0 and at most 1"),
        (["generate", "--model", "{folder}", "--temperature", "nan", "hi"], "got 'nan', need a number of at least 0"),
        (["generate", "--model", "{folder}", "hi"], "error: no model at '{folder}'"),
        (["chat", "--model", "{folder}"], "error: no model at '{folder}'"),
        (["serve", "--model", "{folder}"], "error: no model at '{folder}'"),
        (["chat"], "required: --model"),
    ],
)
def test_mistake_is_named_in_the_last_line_without_a_heavy_import(
    words: list[str], problem: str, tmp_path: Path
) -> None:
    words = [word.format(folder=tmp_path) for word in words]
    code = "import sys; from posttrain.cli import main\ntry: sys.exit(main(sys.argv[1:]))\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert problem.format(folder=tmp_path) in done.stderr.splitlines()[-1]
    assert not set(done.stdout.split()) & {"torch", "transformers", "vllm"}


def test_folder_without_a_template_is_refused_in_words_of_the_command_line(taught_folder: Path, tmp_path: Path) -> None:
    for file in taught_folder.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(UserError, match="has no chat template; set --chat-template to"):
        run_generate(options(add_generate, "--model", tmp_path, "hi"))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two starts from nothing: 12 s of CPU each, minutes on a machine that is shared
def test_piped_conversation_and_both_engines_from_the_command_line(taught_folder: Path) -> None:
    answers = {}
    for engine in ("transformers", "vllm"):
        words = ["--model", taught_folder, "--engine", engine, "--temperature", "0", "--max-model-len", "400"]
        done = subprocess.run(
            [sys.executable, "-m", "posttrain", "chat", *map(str, words)],
            input=f"/think\n/budget 3\n{taught.QUESTION}\n/budget off\n{taught.SECOND_QUESTION}\n/no_think\nwell?\n",
            capture_output=True,
            text=True,
            timeout=800,
            check=True,
        )
        answers[engine] = (done.stdout, [line for line in done.stderr.splitlines() if taught.SECOND_THINKING in line])
    assert answers["vllm"] == answers["transformers"]
    assert taught.SECOND_ANSWER in answers["vllm"][0]
