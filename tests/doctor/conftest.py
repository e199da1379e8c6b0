import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Answers = Mapping[str, tuple[int, Any]]  # path: status and what is answered as JSON
Serve = Callable[[Answers], AbstractContextManager[str]]


@pytest.fixture
def serve() -> Serve:
    """A server on a free port; its address. What it is not told about it answers with 404, and without the key 401."""

    @contextmanager
    def serving(answers: Answers, key: str | None = None) -> Iterator[str]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content = answers.get(self.path, (404, {}))
                if key is not None and self.headers.get("Authorization") != f"Bearer {key}":
                    status, content = 401, {}
                self.send_response(status)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(json.dumps(content).encode())

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()

    return serving
