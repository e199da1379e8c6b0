"""What the processes that ask a judge share: an SQLite file, which they change in turns and a kill leaves whole."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rewards._judge.judgement import Judgement

DOWN_S = 30.0  # how long nobody asks an endpoint that is down; then one tries it
_LONGEST_PAUSE_S = 600.0  # a turn further away comes from a clock that was set back
_PATIENCE_S = 10.0  # with the other processes
_TABLES = """
    CREATE TABLE IF NOT EXISTS judgements (key TEXT PRIMARY KEY, verdict TEXT NOT NULL, reason TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS state (
        id INTEGER PRIMARY KEY CHECK (id = 0), num_requests INTEGER NOT NULL, next_turn_at REAL NOT NULL,
        answered_at REAL NOT NULL, down_until REAL NOT NULL, down_reason TEXT NOT NULL);
    INSERT OR IGNORE INTO state VALUES (0, 0, 0, 0, 0, '');
"""


class BudgetSpentError(Exception):
    """As many requests were made as were allowed."""


class JudgeDownError(RuntimeError):
    """The judge gave no verdict in the time for it."""


class Ledger:
    """Verdicts by key, the number of requests, whose turn it is, and whether the endpoint is down.

    Times are seconds since 1970: they are compared between processes, and with those of an earlier run.

    Args:
        folder: where it lies, made if need be; on a local disk, or one whose file locks work.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "judge.sqlite"
        folder.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as connection:
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")

    def find(self, key: str) -> Judgement | None:
        """The verdict that is kept under a key."""
        with closing(self._connect()) as connection:
            row = connection.execute("SELECT verdict, reason FROM judgements WHERE key = ?", (key,)).fetchone()
        return Judgement(row[0], row[1]) if row else None

    def keep(self, key: str, judgement: Judgement) -> None:
        """Keep a verdict that counts."""
        with self._change() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO judgements VALUES (?, ?, ?)", (key, judgement.verdict, judgement.reason)
            )

    @property
    def num_requests(self) -> int:
        """The requests that were made so far, of all runs that share the folder."""
        with closing(self._connect()) as connection:
            return int(connection.execute("SELECT num_requests FROM state").fetchone()[0])

    def take_turn(self, *, interval_s: float, max_requests: int | None, seconds_left: float) -> float:
        """Count a request, and return how many seconds to wait with it.

        Args:
            interval_s: the least time from one request to the next.
            max_requests: how many may be made in all.
            seconds_left: how long this one can wait.

        Raises:
            BudgetSpentError: the number is reached.
            JudgeDownError: the turn would come too late.
        """
        with self._change() as connection:
            num_requests, turn_at = connection.execute("SELECT num_requests, next_turn_at FROM state").fetchone()
            if max_requests is not None and num_requests >= max_requests:
                raise BudgetSpentError(f"budget spent: {num_requests} of {max_requests} requests were made")
            now = time.time()
            wait_s = max(0.0, turn_at - now) if turn_at - now <= _LONGEST_PAUSE_S else 0.0
            if wait_s > seconds_left:
                raise JudgeDownError(
                    f"the turn to ask comes in {wait_s:.3g} s, and {seconds_left:.3g} s are left; need fewer workers, "
                    "more requests per minute (max_requests_per_minute, or what the endpoint grants), or a longer "
                    "timeout_s together with grading.timeout_s"
                )
            connection.execute(
                "UPDATE state SET num_requests = num_requests + 1, next_turn_at = ?", (now + wait_s + interval_s,)
            )
        return wait_s

    def hold(self, seconds: float) -> None:
        """Nobody's turn comes before that: the endpoint has asked to be left alone."""
        with self._change() as connection:
            until = time.time() + min(seconds, _LONGEST_PAUSE_S)
            connection.execute("UPDATE state SET next_turn_at = max(next_turn_at, ?)", (until,))

    def check_is_up(self) -> None:
        """Go on, unless somebody has found the endpoint down a short while ago; after it, one goes on to try.

        Raises:
            JudgeDownError: it is down.
        """
        with self._change() as connection:
            down_until, reason = connection.execute("SELECT down_until, down_reason FROM state").fetchone()
            now = time.time()
            if now < down_until <= now + DOWN_S:
                raise JudgeDownError(f"{reason}; it is left alone for another {down_until - now:.3g} s")
            if down_until:
                connection.execute("UPDATE state SET down_until = ?", (now + DOWN_S,))

    def answered(self) -> None:
        """The endpoint has answered, whatever it was."""
        with self._change() as connection:
            connection.execute("UPDATE state SET answered_at = ?, down_until = 0, down_reason = ''", (time.time(),))

    def gave_up(self, *, began_at: float, reason: str) -> None:
        """Somebody has asked in vain since `began_at`; if nobody had an answer since, the endpoint is down."""
        with self._change() as connection:
            connection.execute(
                "UPDATE state SET down_until = ?, down_reason = ? WHERE answered_at < ?",
                (time.time() + DOWN_S, reason, began_at),
            )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_PATIENCE_S, isolation_level=None)
        # No wait for the disk: what a killed process has written is safe with the kernel, and after a power cut a
        # cache may be made anew. Waiting took most of a request's time.
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One process at a time; all of it or, where something raises or the process dies, nothing."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
