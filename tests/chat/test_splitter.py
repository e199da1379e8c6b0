import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.chat import MODES, Mode, ThinkingSplitter, parse_completion

PIECES = ["<think>", "</think>", "<", "</", "thi", "nk>", " ", "\n", "a", "b c", "답", "<tool_call>"]


def split(pieces: list[str], mode: Mode) -> tuple[str, str]:
    splitter, said = ThinkingSplitter(is_open=mode == "reasoning"), {"thinking": "", "answer": ""}
    parts = [part for piece in pieces for part in splitter.feed(piece)]
    for kind, text in [*parts, *splitter.end()]:
        said[kind] += text
    return said["thinking"], said["answer"]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12), mode=st.sampled_from(MODES))
def test_parts_joined_are_the_parsed_whole(pieces: list[str], mode: Mode) -> None:
    text = "".join(pieces)
    if mode == "non_reasoning" and not text.lstrip().startswith("<think>") and "</think>" in text:
        return  # the one case that only the end shows
    parsed = parse_completion(text, mode)
    thinking, answer = split(pieces, mode)
    assert (thinking.strip(), answer.strip()) == (parsed.thinking or "", parsed.answer)


def test_text_comes_as_soon_as_it_cannot_be_a_tag() -> None:
    splitter = ThinkingSplitter(is_open=True)
    fed = [
        [tuple(part) for part in splitter.feed(piece)] for piece in ["Two", " <", "3", "</th", "ink>", "\n\n", "5", "."]
    ]
    two, three, five = ("thinking", "Two"), ("thinking", "<3"), ("answer", "5")
    assert fed == [[two], [("thinking", " ")], [three], [], [], [], [five], [("answer", ".")]]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_gives_nothing(mode: Mode) -> None:
    assert split([], mode) == split(["", "\n"], mode) == ("", "")
