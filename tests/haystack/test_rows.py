"""Rows for an evaluation: as long as they are said to be, with what is asked for where it is said to be."""

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from posttrain.chat import encode_prompt
from posttrain.data.rows import Row
from posttrain.errors import UserError
from posttrain.haystack import LANGUAGES, TASKS, make_rows
from posttrain.haystack.text_files import read_sentences

ALL = tuple(TASKS)


def asked(row: Row) -> str:
    (message,) = row["messages"]
    assert message["role"] == "user"
    return str(message["content"])


def text_of(row: Row) -> str:
    return asked(row).rpartition("\n\n")[0]


def values_of(row: Row) -> list[str]:
    return [row["answer"]] if isinstance(row["answer"], str) else row["answer"]


def test_every_task_in_every_language_has_exactly_the_tokens_asked_for(any_tokenizer: Any) -> None:
    rows = make_rows(any_tokenizer, tasks=ALL, lengths=[1111, 1600], depths=[0.0, 0.6])
    assert len(rows) == len(TASKS) * 2 * 2 * 3
    assert {(row["task"], row["language"]) for row in rows} == {(task, name) for task in TASKS for name in LANGUAGES}
    for row in rows:
        assert len(encode_prompt(any_tokenizer, asked(row))) == row["length"], row
        assert row["domain"] == "long_context"
        assert row["reply"].count(values_of(row)[0]) == 1


@pytest.mark.parametrize("length", range(400, 440))
def test_any_length_is_met(any_tokenizer: Any, length: int) -> None:
    (row,) = make_rows(any_tokenizer, lengths=[length], depths=[0.5], languages=["en"])
    assert len(encode_prompt(any_tokenizer, asked(row))) == length


def test_the_text_is_in_the_rows_language(tokenizer: Any) -> None:
    for row in make_rows(tokenizer, tasks=ALL, lengths=[1500], depths=[0.5]):
        has_hangul = any("가" <= character <= "힣" for character in text_of(row))
        has_accents = any(character in "áéíóúñ" for character in text_of(row))
        assert {"ko": (True, False), "es": (False, True), "en": (False, False)}[row["language"]] == (
            has_hangul,
            has_accents,
        )


# --- depth ---


@pytest.mark.parametrize("task", ["needle", "multi_key", "multi_value", "multi_query", "variables", "qa"])
def test_what_is_asked_for_stands_within_a_sentence_of_its_depth(tokenizer: Any, task: str) -> None:
    for row in make_rows(tokenizer, tasks=[task], lengths=[6000], depths=[0.0, 0.2, 0.5, 0.77, 1.0], num_needles=4):
        text, value = text_of(row), values_of(row)[0]
        sentence = row["reply"] if task in ("needle", "multi_key", "qa") else value
        at = len(encode_prompt(tokenizer, text[: text.index(sentence)])) / len(encode_prompt(tokenizer, text))
        # A sentence has up to 120 tokens here, and other needles may stand above this one.
        assert at == pytest.approx(row["depth"], abs=0.07), row


def test_the_ends_of_the_text_are_the_ends_of_the_depth(tokenizer: Any) -> None:
    first, last = make_rows(tokenizer, lengths=[900], depths=[0.0, 1.0], languages=["en"])
    assert text_of(first).startswith(first["reply"])
    assert text_of(last).rstrip(" .-a\n").endswith(last["reply"].rstrip("."))


def test_frequent_words_stand_in_the_half_around_the_depth(tokenizer: Any) -> None:
    for row in make_rows(tokenizer, tasks=["common_words"], lengths=[6000], depths=[0.0, 0.5, 1.0], languages=["en"]):
        words = text_of(row).split()
        places = [index / len(words) for index, word in enumerate(words) if word in values_of(row)]
        low = {0.0: 0.0, 0.5: 0.25, 1.0: 0.5}[row["depth"]]
        # The words asked for count for nothing in the depth, so they may reach a little beyond.
        assert low - 0.05 <= min(places) < low + 0.1
        assert low + 0.4 < max(places) <= low + 0.55


# --- what a task asks ---


def test_a_needle_is_drawn_anew_for_every_question_and_again_for_the_same_seed(tokenizer: Any) -> None:
    args: dict[str, Any] = {"lengths": [300], "depths": [0.5], "languages": ["en"], "per_cell": 20}
    rows = make_rows(tokenizer, **args)
    assert len({row["answer"] for row in rows}) == 20
    assert rows == make_rows(tokenizer, **args)
    assert not {row["answer"] for row in rows} & {row["answer"] for row in make_rows(tokenizer, seed=1, **args)}


def test_a_row_does_not_depend_on_the_others_that_are_made(tokenizer: Any) -> None:
    all_rows = make_rows(tokenizer, tasks=ALL, lengths=[900, 1300], depths=[0.1, 0.9])
    for row in all_rows[5::7]:
        alone = {"tasks": [row["task"]], "lengths": [row["length"]], "depths": [row["depth"]]}
        assert make_rows(tokenizer, **alone, languages=[row["language"]]) == [row]


@pytest.mark.parametrize(
    ("task", "needles", "values"), [("multi_key", 6, 1), ("multi_value", 6, 3), ("multi_query", 6, 3)]
)
def test_needles_that_nobody_asks_about_are_in_the_text_too(
    tokenizer: Any, task: str, needles: int, values: int
) -> None:
    for row in make_rows(tokenizer, tasks=[task], lengths=[1500], depths=[0.4], num_needles=6):
        codes = [word.strip(".") for word in text_of(row).split() if word.strip(".").isdecimal()]
        assert len(codes) == len(set(codes)) == needles
        assert len(values_of(row)) == values
        assert set(values_of(row)) <= set(codes)


def test_a_chain_of_variables_leads_to_the_value_that_is_asked_for(tokenizer: Any) -> None:
    for row in make_rows(
        tokenizer, tasks=["variables"], lengths=[2000], depths=[0.0, 0.3, 1.0], languages=["en"], num_needles=8
    ):
        value_of: dict[str, str] = {}
        for sentence in text_of(row).split(". "):
            words = sentence.rstrip(".").split()
            if words[:2] == ["The", "variable"]:  # read from above, each name is known when it is copied
                value_of[words[2]] = value_of[words[-1]] if "same" in words else words[-1]
        (value,) = (word.rstrip("?") for word in asked(row).split()[-1:])
        assert sorted(name for name, its in value_of.items() if its == value) == sorted(row["answer"])
        assert len(row["answer"]) == 4
        assert len(value_of) == 8


@pytest.mark.parametrize("length", [700, 3000, 12000])
def test_the_words_that_are_asked_for_are_far_more_frequent_than_any_other(tokenizer: Any, length: int) -> None:
    for row in make_rows(tokenizer, tasks=["common_words"], lengths=[length], depths=[0.2]):
        counts = Counter(text_of(row).split())
        (_, most), (_, second), (_, third) = counts.most_common(3)
        assert {word for word, _ in counts.most_common(2)} == set(row["answer"])
        assert most == second >= 3 * third


def test_the_same_person_has_other_towns_for_other_facts(tokenizer: Any) -> None:
    for row in make_rows(tokenizer, tasks=["qa"], lengths=[2500], depths=[0.5], languages=["en"], per_cell=5):
        person = " ".join(row["reply"].split()[:2])
        about = [sentence.rstrip(".") for sentence in text_of(row).split(". ") if sentence.startswith(person)]
        assert len(about) == 4
        assert len({sentence.split()[-1] for sentence in about}) == 4
        assert sum(row["reply"].rstrip(".") == sentence for sentence in about) == 1


# --- text of one's own ---


def write_words(path: Path, num_words: int) -> Path:
    words, rng = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], random.Random(0)
    written = [f"{rng.choice(words)}{rng.choice(['', '', '.', '!'])}" for _ in range(num_words)]
    path.write_text("\n".join(" ".join(written[at : at + 30]) for at in range(0, num_words, 30)), encoding="utf-8")
    return path


def test_needles_are_hidden_in_a_text_of_ones_own(any_tokenizer: Any, tmp_path: Path) -> None:
    path = write_words(tmp_path / "mine.txt", 900)
    tasks = ["needle", "multi_value", "variables"]
    whole = " ".join(path.read_text(encoding="utf-8").split())
    for row in make_rows(any_tokenizer, tasks=tasks, lengths=[1200], depths=[0.0, 0.5], text=str(path)):
        assert len(encode_prompt(any_tokenizer, asked(row))) == 1200
        if row["task"] == "needle":
            above, _, below = text_of(row).partition(row["reply"])
            assert above.strip() in f"{whole} {whole}"  # a text that is too short begins again
            assert below.strip()[: len(below) // 2] in f"{whole} {whole}"  # its very end is picked to fit


def test_text_is_read_from_files_folders_and_globs(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("Third one.\nFourth without a mark\n", encoding="utf-8")
    (tmp_path / "a.md").write_text("First one! Second one? ", encoding="utf-8")
    (tmp_path / "c.bin").write_bytes(b"\xff")
    in_order = ["First one!", "Second one?", "Third one.", "Fourth without a mark"]
    assert read_sentences(str(tmp_path)) == in_order
    assert read_sentences(str(tmp_path / "*.txt")) == in_order[2:]
    assert read_sentences(str(tmp_path / "a.md")) == in_order[:2]


def test_a_line_without_end_is_cut_between_words_and_then_within(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("word " * 100 + "x" * 700, encoding="utf-8")
    parts = read_sentences(str(tmp_path / "long.txt"))
    assert max(map(len, parts)) <= 300
    assert "".join("".join(parts).split()) == "word" * 100 + "x" * 700


@pytest.mark.parametrize(
    ("content", "said"), [(None, "is no file and holds none"), (b" \n", "has no words"), (b"\xff\xfe", "is not UTF-8")]
)
def test_text_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_sentences(str(tmp_path / "mine.txt"))


def test_a_text_with_the_needles_in_it_already_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    words = LANGUAGES["en"]
    keys = [words.key.format(colour=colour, thing=thing) for colour in words.colours for thing in words.things]
    (tmp_path / "keys.txt").write_text(". ".join(keys), encoding="utf-8")
    with pytest.raises(UserError, match="has such needles already"):
        make_rows(tokenizer, lengths=[6000], depths=[0.5], languages=["en"], text=str(tmp_path / "keys.txt"))


# --- what cannot be made ---


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"languages": ["de"]}, "got languages ['de']; need some of en, ko, es"),
        ({"tasks": ["niah"]}, "got tasks ['niah']; need some of needle, multi_key"),
        ({"depths": [1.5]}, "got depths [1.5]; need 0 to 1"),
        ({"num_needles": 1}, "got num_needles 1; need 2 or more"),
        ({"lengths": [20]}, "needle (en) in 20 tokens: the question alone takes"),
    ],
)
def test_what_there_is_none_of_is_said(tokenizer: Any, args: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make_rows(tokenizer, **{"lengths": [500], "depths": [0.5], **args})


def test_more_needles_than_there_are_things_are_refused(tokenizer: Any) -> None:
    with pytest.raises(UserError, match="room for no more keys"):
        make_rows(tokenizer, tasks=["multi_key"], lengths=[50_000], depths=[0.5], num_needles=300)
