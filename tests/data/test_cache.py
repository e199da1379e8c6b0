"""A source is encoded once: what would come out the same is found, what would not is computed anew."""

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterator
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import datasets
import pytest
from transformers import AutoTokenizer

import posttrain.data
from posttrain.data import encoder
from posttrain.data.intake import Intake, describe_encoding, take_in
from posttrain.errors import UserError
from posttrain.recipe import SFTDataSection, Source

QUESTION = {"role": "user", "content": "4+7?"}
ROWS = [{"messages": [QUESTION, {"role": "assistant", "content": str(number)}]} for number in range(5)]
MUTE = {"messages": [QUESTION]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "posttrain"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.jsonl", *ROWS, MUTE)


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def intake_of(path: Path, tokenizer: Any, *, max_length: int | None = None, **source: Any) -> Intake:
    sources = [Source(path=str(path), **source)]
    (intake,) = take_in(SFTDataSection(sources=sources, max_length=max_length, rejected_max_share=1.0), tokenizer)
    return intake


def is_cached(intake: Intake) -> bool:
    return intake.encoding.num_processes == 0


# --- found again ---


def test_second_time_the_rows_are_the_same_and_from_the_cache(path: Path, tokenizer: Any) -> None:
    first, again = intake_of(path, tokenizer), intake_of(path, tokenizer)
    assert not is_cached(first)
    assert is_cached(again)
    assert list(again.rows) == list(first.rows)
    assert again.notes() == first.notes()
    assert again.rejected == first.rejected


def test_user_is_told_where_the_rows_are_from(path: Path, tokenizer: Any, tmp_path: Path) -> None:
    first, other = intake_of(path, tokenizer), intake_of(write(tmp_path / "b.jsonl", *ROWS), tokenizer)
    told = describe_encoding([first, other])
    assert told.startswith("encoded 11 rows in ")
    assert told.endswith(" s with 1 process(es)")
    cached = intake_of(path, tokenizer)
    assert describe_encoding([cached]) == "6 rows from the cache"
    assert describe_encoding([other, cached]).endswith(" s with 1 process(es); 6 rows from the cache")


def test_moved_file_is_found_and_its_rejected_rows_are_named_where_they_are_now(
    path: Path, tokenizer: Any, tmp_path: Path
) -> None:
    intake_of(path, tokenizer)
    moved = path.rename(tmp_path / "moved.jsonl")
    intake = intake_of(moved, tokenizer)
    assert is_cached(intake)
    assert [(each.file, each.line) for each in intake.rejected] == [(str(moved), 6)]


@pytest.mark.parametrize("source", [{"name": "a"}, {"weight": 2.0}, {"language": "ko"}, {"max_length": 100}])
def test_setting_that_changes_no_tokens_is_none_of_the_caches(
    path: Path, tokenizer: Any, source: dict[str, Any]
) -> None:
    intake_of(path, tokenizer)
    assert is_cached(intake_of(path, tokenizer, **source))


def test_length_limit_holds_for_rows_from_the_cache(path: Path, tokenizer: Any) -> None:
    longest = max(len(row.input_ids) for row in intake_of(path, tokenizer).rows)
    assert len(intake_of(path, tokenizer, max_length=longest).rows) == 5
    with pytest.raises(UserError, match="has no row to train on: too long 5"):
        intake_of(path, tokenizer, max_length=longest - 1)


def test_same_tokenizer_from_another_folder_is_the_same(path: Path, tokenizer: Any, tmp_path: Path) -> None:
    loaded = []
    for name in ("a", "b"):
        tokenizer.save_pretrained(tmp_path / name)
        loaded.append(AutoTokenizer.from_pretrained(tmp_path / name, padding_side="left"))
    assert [is_cached(intake_of(path, each)) for each in loaded] == [False, True]


# --- computed anew ---


def test_changed_file_is_encoded_anew(path: Path, tokenizer: Any) -> None:
    intake_of(path, tokenizer)
    intake = intake_of(write(path, *reversed(ROWS)), tokenizer)
    assert not is_cached(intake)
    assert tokenizer.decode(intake.rows[0].input_ids).endswith("4[|endofturn|]\n")


@pytest.mark.parametrize("source", [{"mode": "non_reasoning"}, {"domain": "math"}])
def test_setting_that_the_rows_show_is_encoded_anew(path: Path, tokenizer: Any, source: dict[str, Any]) -> None:
    intake_of(path, tokenizer)
    assert not is_cached(intake_of(path, tokenizer, **source))


def test_changed_template_is_encoded_anew(path: Path, tokenizer: Any) -> None:
    intake_of(path, tokenizer)
    other = copy(tokenizer)
    other.chat_template = tokenizer.chat_template + "{#- a comment -#}"
    assert not is_cached(intake_of(path, other))


def test_changed_vocabulary_and_changed_special_tokens_are_encoded_anew(path: Path, tokenizer: Any) -> None:
    intake_of(path, tokenizer)
    wider, beginning = deepcopy(tokenizer), deepcopy(tokenizer)
    wider.add_tokens(["4+"])
    beginning.bos_token = "[PAD]"
    assert [is_cached(intake_of(path, other)) for other in (wider, beginning)] == [False, False]


def test_changed_code_is_encoded_anew(
    path: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake_of(path, tokenizer)
    newer = Path(shutil.copytree(posttrain.data.__path__[0], tmp_path / "newer"))
    monkeypatch.setattr(posttrain.data, "__path__", [str(newer)])
    assert is_cached(intake_of(path, tokenizer))
    with (newer / "encode.py").open("a") as module:
        module.write("MORE = 1\n")
    assert not is_cached(intake_of(path, tokenizer))


# --- whole or not there ---


def test_interrupted_encoding_leaves_no_file_and_the_next_one_is_whole(
    path: Path, tokenizer: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: encoder.Encoder, source: Source) -> Iterator[Any]:
        yield from whole(self, source)
        raise KeyboardInterrupt

    whole = encoder.Encoder.batches
    with monkeypatch.context() as patch:
        patch.setattr(encoder.Encoder, "batches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            intake_of(path, tokenizer)
    assert [file for file in cache.rglob("*") if file.is_file()] == []
    intake = intake_of(path, tokenizer)
    assert not is_cached(intake)
    assert len(intake.rows) == 5


def test_what_a_killed_process_left_is_swept_away(path: Path, tokenizer: Any) -> None:
    file = intake_of(path, tokenizer).encoding.file.path
    file.rename(file.with_name(".rows.arrow.elsewhere.17.aside"))
    assert not is_cached(intake_of(path, tokenizer))
    assert [each.name for each in file.parent.iterdir()] == ["rows.arrow"]


def test_whoever_comes_second_waits_for_the_first(path: Path, tokenizer: Any) -> None:
    file = intake_of(path, tokenizer).encoding.file.path
    done = file.rename(file.with_name("done"))
    first = os.open(file.parent, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    found: list[Intake] = []
    second = threading.Thread(target=lambda: found.append(intake_of(path, tokenizer)))
    second.start()
    second.join(timeout=1)
    assert not found
    done.rename(file)
    os.close(first)
    second.join()
    assert is_cached(found[0])


def test_source_without_rows_leaves_no_file(tmp_path: Path, tokenizer: Any, cache: Path) -> None:
    for content in ("", "\n \n"):
        (tmp_path / "empty.jsonl").write_text(content)
        with pytest.raises(UserError, match="holds no rows"):
            intake_of(tmp_path / "empty.jsonl", tokenizer)
    assert [file for file in cache.rglob("*") if file.is_file()] == []


def test_cache_that_cannot_be_written_is_named(path: Path, tokenizer: Any, cache: Path) -> None:
    cache.parent.write_text("a file")
    with pytest.raises(UserError, match=r"cannot be kept in '.*cache/posttrain/.*; set HF_DATASETS_CACHE to a folder"):
        intake_of(path, tokenizer)


def test_broken_cache_file_is_named(path: Path, tokenizer: Any) -> None:
    file = intake_of(path, tokenizer).encoding.file.path
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"encoding '.*rows\.arrow' cannot be read .*; delete it"):
        intake_of(path, tokenizer)
