"""A grading worker: `python -m posttrain.grading.worker FD`, started by the pool, which holds the socket's other end.

It reads the rewards' specs and answers None when they are loaded, or else why they cannot be. Then it reads lists of
attempts, and answers each attempt with one verdict for each reward that applies to it, until the socket closes.
"""

import pickle
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from posttrain.child_process import end_with_parent
from posttrain.errors import UserError
from posttrain.grading.grader import Grader, Judgement
from rewards.contract import Attempt


def serve(connection: Connection) -> None:
    """Grade until the other side hangs up, which is an `EOFError` or a `ConnectionError`."""
    try:
        grader = Grader(connection.recv())
    except UserError as error:
        connection.send(str(error))
        return
    connection.send(None)
    while True:
        for judgement in begin_all(grader, connection.recv()):
            connection.send(judgement())


def begin_all(grader: Grader, attempts: Sequence[Attempt]) -> list[Judgement]:
    """One judgement for each reward that applies to an attempt, in order; one and the same for what looks the same."""
    begun: dict[tuple[str, bytes], Judgement] = {}
    judgements = []
    for attempt in attempts:
        for reward in grader.rewards_for(attempt):
            seen = reward.seen(attempt)
            key = reward.name, pickle.dumps(seen)  # tells 1 from True, which == does not
            if key not in begun:
                begun[key] = reward.begin(seen)
            judgements.append(begun[key])
    return judgements


if __name__ == "__main__":
    # A reward that hangs reads no end of a socket. Where only the thread that started us has ended, the pool starts
    # another worker.
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the parent's
    with Connection(int(sys.argv[1])) as socket, suppress(EOFError, ConnectionError):
        serve(socket)
