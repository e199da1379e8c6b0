"""A chat endpoint on a free port that answers by a script: the replies in turn, the last one for ever.

A reply may be a function of the request's prompt.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One answer of the server.

    Attributes:
        delay_s: before it.
        is_dropped: the connection is closed instead.
        drip_s: between the bytes of the body.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    is_dropped: bool = False
    drip_s: float = 0.0


def says(content: str | None, finish_reason: str = "stop", **reply: Any) -> Reply:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    return Reply(json.dumps({"object": "chat.completion", "choices": [choice]}).encode(), **reply)


RIGHT = says('{"reason": "the same", "verdict": "right"}')
WRONG = says('{"reason": "not the same", "verdict": "wrong"}')
BROKEN = Reply(b"Internal Server Error", status=500)
DROPPED = Reply(is_dropped=True)


@dataclass
class Server:
    """What reached it.

    Attributes:
        requests: their bodies.
        headers: theirs.
        times: when they came, in seconds of the monotonic clock.
        most_at_once: the most that were at work at the same time.
    """

    url: str
    replies: Sequence[Reply | Callable[[str], Reply]]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    most_at_once: int = 0

    @property
    def prompts(self) -> list[str]:
        return [request["messages"][0]["content"] for request in self.requests]


@contextmanager
def serve(*replies: Reply | Callable[[str], Reply]) -> Iterator[Server]:
    lock, at_work = threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                reply = server.replies[min(len(server.requests), len(server.replies) - 1)]
                if callable(reply):
                    reply = reply(body["messages"][0]["content"])
                server.requests.append(body | {"path": self.path})
                server.headers.append(dict(self.headers))
                server.times.append(time.monotonic())
                at_work[0] += 1
                server.most_at_once = max(server.most_at_once, at_work[0])
            time.sleep(reply.delay_s)
            with lock:
                at_work[0] -= 1  # before the reply: the client may ask again as soon as it has it
            self._send(reply)

        def _send(self, reply: Reply) -> None:
            if reply.is_dropped:
                self.close_connection = True
                return
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for start in range(0, len(reply.body), 1 if reply.drip_s else len(reply.body)):
                    self.wfile.write(reply.body[start : start + 1] if reply.drip_s else reply.body)
                    self.wfile.flush()
                    time.sleep(reply.drip_s)
            except OSError:
                self.close_connection = True  # the client has gone

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = Server(f"http://127.0.0.1:{http.server_port}/v1", replies)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.socket.close()
