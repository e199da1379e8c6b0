import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from posttrain.data.files import data_files, read_file
from posttrain.data.unusable import RowError
from posttrain.errors import UserError

RECORDS = [{"n": 1, "text": "하나"}, {"n": 2, "text": "uno\u2028dos"}]


def jsonl(records: list[Any]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data files at two depths, and others among them."""
    for name in ("b.jsonl", "a.jsonl", "sub/c.jsonl", ".cache/hidden.jsonl", ".d.jsonl", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jsonl(RECORDS))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), tmp_path / "aa.parquet")
    return tmp_path


def names(path: str, folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in data_files(path)]


# --- which files ---


def test_folder_is_all_its_data_files_by_name(folder: Path) -> None:
    assert names(str(folder), folder) == ["a.jsonl", "aa.parquet", "b.jsonl", "sub/c.jsonl"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("**/*.jsonl", ["a.jsonl", "b.jsonl", "sub/c.jsonl"]),
        ("**/**/*.jsonl", ["a.jsonl", "b.jsonl", "sub/c.jsonl"]),
        ("[ab].*", ["a.jsonl", "b.jsonl"]),
        ("*", ["a.jsonl", "aa.parquet", "b.jsonl"]),
        ("s?b/*", ["sub/c.jsonl"]),
    ],
)
def test_glob_is_the_data_files_that_match_by_name(
    folder: Path, pattern: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert names(str(folder / pattern), folder) == expected
    monkeypatch.chdir(folder)
    assert [file.as_posix() for file in data_files(pattern)] == expected


def test_file_whose_name_looks_like_a_glob_is_that_file(folder: Path) -> None:
    odd = (folder / "a.jsonl").rename(folder / "x[ab].jsonl")
    assert data_files(str(odd)) == [odd]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("none.jsonl", "does not exist; mend the path, or run what writes the file"),
        ("README.md", "has the ending '.md'; use .jsonl"),
        ("*.csv", "holds no data file; need files that end in .jsonl"),
        ("sub/none/*", "holds no data file"),
        ("empty", "holds no data file"),
    ],
)
def test_path_without_data_is_named(folder: Path, path: str, problem: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=problem) as caught:
        data_files(str(folder / path))
    assert str(folder / path) in str(caught.value)


# --- what is in them ---


def test_every_kind_of_file_holds_the_same_records(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl(RECORDS))
    (tmp_path / "a.json").write_bytes(jsonl(RECORDS))
    (tmp_path / "array.json").write_text("\n " + json.dumps(RECORDS, indent=2))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(jsonl(RECORDS)))
    with pyarrow.CompressedOutputStream(tmp_path / "a.jsonl.zst", "zstd") as file:
        file.write(jsonl(RECORDS))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), tmp_path / "a.parquet")
    files = data_files(str(tmp_path))
    assert len(files) == 6
    for file in files:
        assert list(read_file(file)) == [(1, RECORDS[0]), (2, RECORDS[1])], file


def test_parquet_of_several_batches_is_numbered_through(tmp_path: Path) -> None:
    records = [{"n": number} for number in range(1, 2501)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "a.parquet")
    assert list(read_file(tmp_path / "a.parquet")) == [(record["n"], record) for record in records]


def test_keys_that_parquet_adds_inside_a_column_are_dropped(tmp_path: Path) -> None:
    tools = [
        {"name": "f", "parameters": {"city": {"type": "string"}}},
        {"name": "g", "parameters": {"n": {"type": "i"}}},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"tools": tools}]), tmp_path / "a.parquet")
    assert list(read_file(tmp_path / "a.parquet")) == [(1, {"tools": tools})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "not JSON"),
        ('{"a": "정답"}'.encode("euc-kr"), "not UTF-8"),
        (rb'{"a": "\ud83d"}', "not UTF-8"),
    ],
)
def test_broken_line_is_reported_and_the_next_is_read(tmp_path: Path, line: bytes, reason: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(line + b"\n\n" + jsonl(RECORDS[:1]))
    (first, problem), last = read_file(tmp_path / "a.jsonl")
    assert (first, last) == (1, (3, RECORDS[0]))
    assert isinstance(problem, RowError)
    assert problem.reason == reason
    assert len(str(problem)) < 200


@pytest.mark.parametrize("text", ['{"a": 1}\n', '[{"a": 1}]'])
def test_mark_that_windows_programs_put_before_a_text_is_no_part_of_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8-sig")
    assert list(read_file(tmp_path / "a.json")) == [(1, {"a": 1})]


def test_whole_surrogate_pair_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(rb'{"a": "\ud83d\ude00"}')
    assert list(read_file(tmp_path / "a.jsonl")) == [(1, {"a": "😀"})]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl.gz", gzip.compress(jsonl(RECORDS), mtime=0)[:-9]),
        ("a.jsonl.gz", b"plain"),
        ("a.jsonl.zst", b"plain"),
        ("a.parquet", b"PAR1 and no more"),
        ("a.json", b'[{"a": 1}, '),
    ],
)
def test_broken_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}'.*write it again"):
        list(read_file(tmp_path / name))
