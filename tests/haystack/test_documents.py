"""Documents to train on: every length and depth has its turn, and none asks for what an evaluation asks for."""

import re
import tracemalloc
from itertools import islice
from typing import Any

import pytest

from posttrain.chat import render_for_training
from posttrain.data.rows import Row
from posttrain.haystack import LANGUAGES, TASKS, make_documents, make_rows, values_found
from posttrain.haystack.draws import split_of
from rewards import make_attempt

ALL = tuple(TASKS)


def replies(row: Row) -> list[str]:
    return [message["content"] for message in row["messages"] if message["role"] == "assistant"]


def trained(tokenizer: Any, row: Row) -> str:
    rendered = render_for_training(tokenizer, row["messages"], row["mode"])
    ids = [token for token, is_trained in zip(rendered.input_ids, rendered.trained, strict=True) if is_trained]
    return str(tokenizer.decode(ids))


@pytest.mark.parametrize("questions", [1, 3])
def test_a_document_has_exactly_its_tokens_as_it_is_trained(any_tokenizer: Any, questions: int) -> None:
    args: dict[str, Any] = {"tasks": ALL, "lengths": (2400, 2600), "count": 21, "questions": questions}
    documents = list(make_documents(any_tokenizer, **args))
    assert {(row["task"], row["language"]) for row in documents} == {(t, name) for t in TASKS for name in LANGUAGES}
    for row in documents:
        rendered = render_for_training(any_tokenizer, row["messages"], row["mode"])
        assert len(rendered.input_ids) == row["length"]
        assert len(replies(row)) == (1 if row["task"] == "common_words" else questions)
        assert (row["reply"], row["mode"]) == (replies(row)[-1], "non_reasoning")


def test_every_reply_is_trained_and_right(tokenizer: Any) -> None:
    tasks = ["needle", "variables", "qa"]
    for row in make_documents(tokenizer, tasks=tasks, lengths=(2500, 2500), count=9, questions=4):
        assert len(set(replies(row))) == 4
        assert trained(tokenizer, row) == "".join(f"{reply}[|endofturn|]" for reply in replies(row))
        assert values_found(make_attempt(row["reply"], row)).outcome
        if row["task"] == "needle":
            text = row["messages"][0]["content"]
            assert all(text.count(reply) == 1 for reply in replies(row))


def test_several_questions_are_about_depths_that_lie_evenly_in_any_order(tokenizer: Any) -> None:
    orders = set()
    for row in make_documents(tokenizer, lengths=(5000, 5000), languages=["en"], count=6, questions=4):
        text = row["messages"][0]["content"].rpartition("\n\n")[0]
        at = [text.index(reply) / len(text) for reply in replies(row)]
        assert at[0] == pytest.approx(row["depth"], abs=0.04)
        assert sorted(at) == pytest.approx(
            sorted((row["depth"] + index / 4) % 1 or row["depth"] for index in range(4)), abs=0.04
        )
        orders.add(tuple(round(4 * (depth - at[0])) % 4 for depth in at))
    assert len(orders) > 1


def test_of_each_108_documents_one_is_from_each_part_of_lengths_and_depths(tokenizer: Any) -> None:
    ends = [200 * 2 ** (index / 8) for index in range(1, 9)]  # of the eight parts

    def part(row: Row) -> tuple[int, int]:
        in_length = (
            8 if row["length"] == 400 else next(at for at, end in enumerate(ends) if row["length"] <= round(end))
        )
        return in_length, -1 if row["depth"] == 0 else int(10 * row["depth"])

    documents = list(make_documents(tokenizer, lengths=(200, 400), languages=["en"], count=216, seed=3))
    assert min(row["length"] for row in documents) >= 200
    for dealt in (documents[:108], documents[108:]):
        parts = {part(row) for row in dealt}
        assert len(parts) >= 100  # a length at the border of a part may round to either side
        assert {depth for _, depth in parts} == set(range(-1, 11))
        assert {length for length, _ in parts} == set(range(9))
    assert len({row["length"] for row in documents}) > 80


def test_tasks_and_languages_take_turns(tokenizer: Any) -> None:
    documents = list(make_documents(tokenizer, tasks=["needle", "qa"], lengths=(500, 600), count=12))
    kinds = [(row["task"], row["language"]) for row in documents]
    assert len(set(kinds[:6])) == len(set(kinds[6:])) == 6


def test_documents_end_with_their_number_or_their_tokens(tokenizer: Any) -> None:
    by_tokens = list(make_documents(tokenizer, lengths=(300, 400), num_tokens=2000))
    assert sum(row["length"] for row in by_tokens[:-1]) < 2000 <= sum(row["length"] for row in by_tokens)
    assert len(list(make_documents(tokenizer, lengths=(300, 400), count=3, num_tokens=2000))) == 3
    assert len(list(islice(make_documents(tokenizer, lengths=(300, 400)), 9))) == 9


def test_a_stream_goes_on_where_it_was_left(tokenizer: Any) -> None:
    args: dict[str, Any] = {"tasks": ALL, "lengths": (900, 1200), "num_tokens": 15_000, "questions": 2}
    documents = list(make_documents(tokenizer, **args))
    assert list(make_documents(tokenizer, **args, start=6)) == documents[6:]
    assert documents == list(make_documents(tokenizer, **args))
    assert documents != list(make_documents(tokenizer, **args, seed=1))


@pytest.mark.slow
def test_documents_are_made_one_at_a_time(tokenizer: Any) -> None:
    stream = make_documents(tokenizer, lengths=(4096, 4096), languages=["en"], count=150)
    next(stream)
    tracemalloc.start()
    num_characters = sum(len(row["messages"][0]["content"]) for row in stream)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < num_characters


# --- never what an evaluation asks for ---


def drawn(row: Row, task: str) -> set[str]:
    """What the row asks about and for: the codes, variables and people in its text, and the words asked for."""
    text = " ".join(message["content"] for message in row["messages"])
    if task == "common_words":
        return {" ".join(sorted(row["answer"]))}
    words = text.replace("?", "").replace(",", "").split()
    if task == "qa":
        return {" ".join(row["reply"].split()[:2])}
    return {word.rstrip(".") for word in words if any(character.isdigit() for character in word)}


@pytest.mark.parametrize("task", ALL)
def test_nothing_that_is_asked_for_in_training_is_ever_asked_for_in_an_evaluation(tokenizer: Any, task: str) -> None:
    args: dict[str, Any] = {"tasks": [task], "languages": ["en"]}
    documents = list(make_documents(tokenizer, **args, lengths=(700, 900), count=40))
    rows = make_rows(tokenizer, **args, lengths=[700, 900], depths=[0.0, 0.5], per_cell=10)
    in_training = {value for row in documents for value in drawn(row, task)}
    in_evaluation = {value for row in rows for value in drawn(row, task)}
    assert len(in_training) >= 30
    assert {split_of(value) for value in in_training} == {"training"}
    assert {split_of(value) for value in in_evaluation} == {"evaluation"}


def test_the_things_that_have_codes_in_training_have_none_in_an_evaluation(tokenizer: Any) -> None:
    things = {language: {"training": set(), "evaluation": set()} for language in LANGUAGES}
    documents = make_documents(tokenizer, tasks=["multi_key"], lengths=(800, 900), count=60)
    for split, rows in (
        ("training", documents),
        ("evaluation", make_rows(tokenizer, tasks=["multi_key"], lengths=[800], depths=[0.5], per_cell=20)),
    ):
        for row in rows:
            words = LANGUAGES[row["language"]]
            keys = [words.key.format(colour=colour, thing=thing) for colour in words.colours for thing in words.things]
            text = row["messages"][0]["content"]
            said = words.code.partition("{code}")[0]
            things[row["language"]][split] |= {key for key in keys if said.format(key=key) in text}
    for splits in things.values():
        assert min(map(len, splits.values())) > 20
        assert not splits["training"] & splits["evaluation"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"lengths": (900, 300)}, "got lengths (900, 300), 1 questions; need the shortest and the longest"),
        ({"questions": 0}, "0 questions; need the shortest and the longest, and 1 or more"),
        ({"tasks": []}, "got tasks []; need some of needle"),
        ({"tasks": ["qa"], "questions": 4}, "qa (en) in 300 tokens: the question alone takes"),
    ],
)
def test_what_cannot_be_made_is_said_before_the_first_document(tokenizer: Any, args: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make_documents(tokenizer, **{"lengths": (300, 400), **args})
