"""One batch of responses on servers with continuous batching, event by event."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds in which a server adds one token to each response that runs there.

    A step reads all weights once, and the cache of every response: memory is what decoding waits for.

    Attributes:
        floor_s: with hardly any response.
        per_response_s: more for each.
    """

    floor_s: float
    per_response_s: float = 0.0

    def __call__(self, running: int) -> float:
        """Seconds of a step with so many responses."""
        return self.floor_s + self.per_response_s * running


class Decoded(NamedTuple):
    """When what was there, in seconds since the batch was given to the servers.

    Attributes:
        finished_s: of each response.
        busy_s: of each server, until its last response.
    """

    finished_s: list[float]
    busy_s: list[float]

    @property
    def seconds(self) -> float:
        """Until the whole batch was there."""
        return max(self.finished_s, default=0.0)


def decode(lengths: Sequence[int], *, servers: int, slots: int, step_time: StepTime) -> Decoded:
    """Let servers generate responses of these lengths (tokens).

    Responses are admitted in order, each by the server where the fewest run; those that find no slot wait for one. A
    server's step takes the time of all that run there. Prompts cost nothing: a group shares one, and beside thousands
    of tokens of thinking it is short.

    Args:
        lengths: of the responses, at least one token each.
        servers: how many there are, all alike.
        slots: responses that one of them runs at a time, vLLM's `max_num_seqs`.
        step_time: of any of them.
    """
    fleet = [_Server(step_time) for _ in range(servers)]
    waiting = deque(enumerate(lengths))
    finished_s = [0.0] * len(lengths)
    while waiting and (idlest := min(fleet, key=_Server.running)).running() < slots:
        idlest.admit(*waiting.popleft())
    while busy := [server for server in fleet if server.running()]:
        server = min(busy, key=_Server.next_finish_s)
        for response in server.finish():
            finished_s[response] = server.clock_s
        while waiting and server.running() < slots:
            server.admit(*waiting.popleft())
    return Decoded(finished_s, [server.clock_s for server in fleet])


@dataclass(slots=True)
class _Server:
    """Advances from one finished response to the next: in between, its steps are all alike."""

    step_time: StepTime
    clock_s: float = 0.0
    steps: int = 0
    responses: list[tuple[int, int]] = field(default_factory=list)  # a heap: the step after which it ends, which one

    def running(self) -> int:
        return len(self.responses)

    def admit(self, response: int, length: int) -> None:
        heappush(self.responses, (self.steps + length, response))

    def next_finish_s(self) -> float:
        return self.clock_s + (self.responses[0][0] - self.steps) * self.step_time(self.running())

    def finish(self) -> list[int]:
        """Go on to the next step after which a response ends, and let go of all that end there."""
        self.clock_s = self.next_finish_s()
        self.steps = self.responses[0][0]
        done = []
        while self.responses and self.responses[0][0] == self.steps:
            done.append(heappop(self.responses)[1])
        return done
