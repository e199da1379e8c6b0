"""Rows come back from the file as they went in, one at a time; counts come without any row being read."""

import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from posttrain.chat import MODES
from posttrain.data.encode import encode_row
from posttrain.data.encoded_file import EncodedRows
from posttrain.data.intake import take_in
from posttrain.data.mixing import mix, parts_of
from posttrain.data.rows import read_all
from posttrain.recipe import MixerSection, SFTDataSection, Source

QUESTION = {"role": "user", "content": "4+7?"}
BOTH = MixerSection(
    use="data_mixers.by_tokens:ByTokens", args={"shares": {"non_reasoning": 1.0}, "on_shortage": "repeat"}
)


def answer(text: str, **more: str) -> dict[str, str]:
    return {"role": "assistant", "content": text, **more}


def write(path: Path, rows: list[dict[str, Any]]) -> Source:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path=str(path))


def rows_of(source: Source, tokenizer: Any) -> EncodedRows:
    (intake,) = take_in(SFTDataSection(sources=[source]), tokenizer)
    return intake.rows


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """One turn and three, both modes, with a domain and without."""
    return write(
        tmp_path / "rows.jsonl",
        [
            {"messages": [QUESTION, answer("11")], "domain": "math"},
            {"messages": [QUESTION, answer("11"), QUESTION, answer("eleven"), QUESTION, answer("열하나")]},
            {"messages": [QUESTION, answer("11", reasoning_content="4+7=11")], "domain": "math"},
            {"messages": [QUESTION, answer("12")], "domain": "math"},
        ],
    )


def test_rows_come_back_as_they_were_encoded(source: Source, tokenizer: Any) -> None:
    rows, expected = rows_of(source, tokenizer), [encode_row(row, tokenizer) for row in read_all([source])]
    assert list(rows) == expected
    assert rows[-1] == expected[-1]
    assert list(rows[1:3]) == expected[1:3]
    with pytest.raises(IndexError):
        rows[4]


def test_counts_are_those_of_the_rows(source: Source, tokenizer: Any) -> None:
    rows = rows_of(source, tokenizer)[::-1]
    assert rows.numbers("num_tokens").tolist() == [len(row.input_ids) for row in rows]
    assert rows.numbers("trained_tokens").tolist() == [row.trained_tokens for row in rows]
    assert rows.numbers("mode_id").tolist() == [row.mode_id for row in rows]


def test_groups_stand_in_the_order_of_their_first_rows_and_keep_the_order_of_theirs(
    source: Source, tokenizer: Any
) -> None:
    rows = rows_of(source, tokenizer)
    groups = {group: members.places.tolist() for group, members in rows.by_mode_and_domain().items()}
    assert list(groups.items()) == [
        (("non_reasoning", "math"), [0, 3]),
        (("non_reasoning", None), [1]),
        (("reasoning", "math"), [2]),
    ]
    assert {MODES[rows[place].mode_id] for place in groups["reasoning", "math"]} == {"reasoning"}


def test_pickled_rows_are_a_path_and_their_places(source: Source, tokenizer: Any) -> None:
    """A data loader's worker is sent no text."""
    rows = rows_of(source, tokenizer)
    again = pickle.loads(pickle.dumps(rows))
    assert list(again) == list(rows)
    assert len(pickle.dumps(rows)) < 1000


def test_planning_takes_no_more_memory_for_rows_ten_times_as_long(tokenizer: Any, tmp_path: Path) -> None:
    """Read into lists, the 240,000 tokens of the long rows would take four megabytes."""
    peaks, lengths = [], []
    for digits in (80, 800):
        rows = [{"messages": [QUESTION, answer(f"{number:0{digits}}")]} for number in range(300)]
        sources = [write(tmp_path / f"{digits}.jsonl", rows)]
        data = SFTDataSection(sources=sources)
        take_in(data, tokenizer)  # into the cache
        before = pyarrow.total_allocated_bytes()
        tracemalloc.start()
        mixed = mix(parts_of(take_in(data, tokenizer), sources), BOTH, seed=0)
        lengths.append(int(mixed.num_tokens.sum()))
        peaks.append(tracemalloc.get_traced_memory()[1] + pyarrow.total_allocated_bytes() - before)
        tracemalloc.stop()
    assert lengths[1] > 7 * lengths[0]
    assert peaks[1] < peaks[0] + 300_000
