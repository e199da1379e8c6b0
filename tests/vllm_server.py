"""A real vLLM server for as long as a test module needs it."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

START_S = 400  # 30 s on two idle cores
# The server's process group, engine included, ends when our end of the pipe does: also where no fixture cleans up.
END_WITH_US = 'exec 3<&0; (read _ <&3; kill -9 0) & exec "$@"'
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}


def free_port() -> int:
    """A port of this machine that nobody listens to; the test is skipped where there is no vLLM to do so."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Sequence[str], port: int, log: Path, more_variables: Mapping[str, str]) -> Iterator[str]:
    """The address of the server that `command` starts on `port`, up within `START_S`; it ends with the block."""
    with log.open("w") as file:
        server = subprocess.Popen(
            ["sh", "-c", END_WITH_US, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env=os.environ | ENVIRONMENT | more_variables,
            start_new_session=True,
        )
    try:
        _wait_until_up(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            opener.open(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"vLLM does not answer; its log ends with {log.read_text()[-3000:]}")
