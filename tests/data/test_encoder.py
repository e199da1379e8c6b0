"""However many processes encode, the records are the same, and none of the processes stays behind."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet
import pytest

from posttrain.data import files
from posttrain.data.encoder import Encoder
from posttrain.errors import UserError
from posttrain.recipe import Source

QUESTION = {"role": "user", "content": "4+7?"}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Two files, of a piece for every few rows; some cannot be used, and one has a domain."""
    monkeypatch.setattr(files, "CHUNK_BYTES", 500)
    rows: list[Any] = [{"messages": [QUESTION, {"role": "assistant", "content": str(number)}]} for number in range(30)]
    rows[7] = {"messages": [QUESTION]}
    rows[12]["domain"] = "math"
    for name, part in (("a", rows[:10]), ("b", rows[10:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in part))
    return Source(path=str(tmp_path))


@pytest.fixture
def unreadable(tmp_path: Path) -> Source:
    """Arrow has a value that Python has not: a date after the year 9999."""
    column = pyarrow.array([datetime(2000, 1, 1)] * 300 + [None], pyarrow.timestamp("s"))
    late = pyarrow.compute.coalesce(column, pyarrow.scalar(2**50, pyarrow.int64()).cast(pyarrow.timestamp("s")))
    messages = pyarrow.array([[QUESTION, {"role": "assistant", "content": "11"}]] * 301)
    path = tmp_path / "late.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"messages": messages, "when": late}), path)
    return Source(path=str(path))


def table_of(batches: Iterator[Any]) -> Any:
    return pyarrow.Table.from_batches(list(batches))


def test_records_are_in_the_order_of_the_files(source: Source, tokenizer: Any) -> None:
    with Encoder(tokenizer, 1) as encoder:
        table = table_of(encoder.batches(source))
    assert table.column("num_tokens").num_chunks > 5
    assert table.column("file").to_pylist() == [0] * 10 + [1] * 20
    assert table.column("line").to_pylist() == [*range(1, 20, 2), *range(1, 40, 2)]
    assert table.column("reason").to_pylist() == [None] * 7 + ["no assistant turn"] + [None] * 22


def test_small_data_starts_no_other_process(source: Source, tokenizer: Any) -> None:
    with Encoder(tokenizer, 8) as encoder:
        assert len(table_of(encoder.batches(source))) == 30
        assert encoder.num_processes == 1


@pytest.mark.slow
def test_records_do_not_depend_on_the_number_of_processes(source: Source, tokenizer: Any) -> None:
    with Encoder(tokenizer, 1, alone_s=0) as one, Encoder(tokenizer, 2, alone_s=0) as two:
        tables = [table_of(encoder.batches(source)) for encoder in (one, two)]
        assert (one.num_processes, two.num_processes) == (1, 2)
    assert tables[0].equals(tables[1])


@pytest.mark.slow
def test_error_is_the_same_in_a_worker(unreadable: Source, tokenizer: Any) -> None:
    said = []
    for workers in (1, 2):
        with (
            Encoder(tokenizer, workers, alone_s=0) as encoder,
            pytest.raises(
                UserError, match=r"data file '.*late\.parquet' cannot be read \(.*; write it again"
            ) as caught,
        ):
            list(encoder.batches(unreadable))
        said.append(str(caught.value))
    assert said[0] == said[1]


@pytest.mark.slow
def test_worker_that_dies_is_the_users_to_know(source: Source, tokenizer: Any) -> None:
    with Encoder(tokenizer, 2, alone_s=0) as encoder:
        batches = encoder.batches(source)
        next(batches)
        assert encoder._pool is not None
        for process in list(encoder._pool._processes.values()):
            process.kill()
        with pytest.raises(UserError, match=r"a process that encodes rows died .*; set data\.workers to less than 2"):
            list(batches)


@pytest.mark.slow
def test_workers_end_with_a_process_that_is_killed(source: Source, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.pickle").write_bytes(pickle.dumps(tokenizer))
    script = tmp_path / "parent.py"
    script.write_text(
        f"""\
import pickle, time
from pathlib import Path
from posttrain.data import files
from posttrain.data.encoder import Encoder
from posttrain.recipe import Source

if __name__ == "__main__":
    files.CHUNK_BYTES = 500
    tokenizer = pickle.loads(Path({str(tmp_path / "tokenizer.pickle")!r}).read_bytes())
    with Encoder(tokenizer, 2, alone_s=0) as encoder:
        next(encoder.batches(Source(path={source.path!r})))
        print(*encoder._pool._processes, flush=True)
        time.sleep(600)
"""
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert all(map(is_running, workers))
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, workers))


def is_running(pid: int) -> bool:
    """A dead process that nobody has waited for runs no more."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
def test_worker_starts_without_torch(tokenizer: Any, tmp_path: Path) -> None:
    """Which would cost each of them seconds and hundreds of megabytes."""
    (tmp_path / "tokenizer.pickle").write_bytes(pickle.dumps(tokenizer))
    row = {"mode": "non_reasoning", "messages": [QUESTION, {"role": "assistant", "content": "11"}]}
    code = (
        "import pickle, sys; from posttrain.data import encoder; from posttrain.data.encode import encode_row; "
        f"encode_row({row!r}, pickle.load(open({str(tmp_path / 'tokenizer.pickle')!r}, 'rb'))); "
        "print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "False"
