"""Sources to batches of encoded records, in this process or in many, the same whichever it is.

`datasets.map` would need the rows as an Arrow table first; rows of several shapes, broken ones among them, are none.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Self

from posttrain.data.encode_piece import encode_piece
from posttrain.data.rows import Piece, read_pieces
from posttrain.errors import UserError
from posttrain.recipe import Source

# The first worker starts in about a second of CPU time: imports (no torch is among them) and the tokenizer.
WORTH_WORKERS_S = 3.0


class Encoder:
    """Encodes sources with one tokenizer. Use it as a context manager: its processes end with it, or with this one.

    This process works alone for the first seconds, which is all that small data takes; what then is left goes to
    `num_workers` others, a few pieces at a time, so that memory does not grow with the data.

    Args:
        tokenizer: of the model.
        num_workers: processes, null for the cores; with 1 this process does it all.
        alone_s: seconds of work before other processes are started.
    """

    def __init__(self, tokenizer: Any, num_workers: int | None, alone_s: float = WORTH_WORKERS_S) -> None:
        self._tokenizer = tokenizer
        self._num_workers = num_workers or len(os.sched_getaffinity(0))
        self._seconds_left = alone_s
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @property
    def num_processes(self) -> int:
        """How many encode at present."""
        return 1 if self._pool is None else self._num_workers

    def batches(self, source: Source) -> Iterator[Any]:
        """The records of a source as `pyarrow.RecordBatch`es, in their order.

        Raises:
            UserError: the source cannot be read, or a worker died.
        """
        pieces = read_pieces(source)
        while self._num_workers == 1 or self._seconds_left > 0:
            began = time.monotonic()
            piece = next(pieces, None)
            if piece is None:
                return
            batch = encode_piece(piece, source, self._tokenizer)
            self._seconds_left -= time.monotonic() - began
            yield batch
        yield from self._in_workers(pieces, source)

    def _in_workers(self, pieces: Iterator[Piece], source: Source) -> Iterator[Any]:
        under_way: deque[Future[Any]] = deque()
        try:
            for piece in pieces:
                self._pool = self._pool or self._start()
                under_way.append(self._pool.submit(_encode, piece, source))
                if len(under_way) > 2 * self._num_workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that encodes rows died (out of memory?); "
                f"set data.workers to less than {self._num_workers}, 1 for none"
            ) from error

    def _start(self) -> ProcessPoolExecutor:
        # A fork of this process would inherit the threads of torch and CUDA in whatever state they are. The server has
        # none; it imports once what every worker needs, and the main script.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["__main__", __name__, type(self._tokenizer).__module__])
        return ProcessPoolExecutor(
            self._num_workers, mp_context=context, initializer=_begin, initargs=(self._tokenizer,)
        )


_tokenizer: Any = None  # of a worker


def _begin(tokenizer: Any) -> None:
    global _tokenizer
    _tokenizer = tokenizer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C reaches the whole group; the one that began this ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _encode(piece: Piece, source: Source) -> Any:
    return encode_piece(piece, source, _tokenizer)
