"""TRL's client of a vLLM server, which neither waits for ever nor takes one server for another."""

import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from trl.generation.vllm_client import VLLMClient
from urllib3.util.retry import Retry

_CONNECT_S = 10.0
_TRIES = 3  # more of them
_BACK_OFF_S = 1.0  # before the second of these, then twice as long each time


class RolloutServer(VLLMClient):
    """A vLLM server that samples for the trainer, as long as it is there, answers, and has the trainer's weights.

    Upstream's requests have no limit of time, so that a server that hangs would hang the run. They are repeated after
    any failure, too: a server that was started again in between has the weights that it was started with, and would
    answer with them (trl 1.16). Here a request is repeated where the server could not be reached or answers with an
    error, but not those that move weights, whose other half is under way; and before new weights as after every
    generation the server has to be the one that joined.

    Overridden upstream hooks: `check_server` (limits for all requests), `init_communicator` (which server it is),
    `update_named_params` and `generate` (is it still the same).

    Args:
        timeout_s: that a request may take, in seconds of silence; None: no limit.
    """

    _instance: str | None = None

    def __init__(self, *args: Any, timeout_s: float | None, **kwargs: Any) -> None:
        self._timeout_s = timeout_s
        super().__init__(*args, **kwargs)

    def check_server(self, total_timeout: float = 0.0, retry_interval: float = 2.0) -> None:
        """Wait until the server is up, at most so many seconds.

        Raises:
            requests.ConnectionError: it is not.
        """
        often = Retry(
            total=_TRIES, read=0, status_forcelist=(500, 502, 503), backoff_factor=_BACK_OFF_S, allowed_methods=None
        )
        self.session.mount(self.base_url, _TimeLimited(self._timeout_s, max_retries=0))
        self.session.mount(f"{self.base_url}/v1/", _TimeLimited(self._timeout_s, max_retries=often))
        deadline = time.monotonic() + total_timeout
        while problem := self._problem():
            if time.monotonic() >= deadline:
                waited = f" after {total_timeout:g} s" if total_timeout else ""
                raise requests.ConnectionError(f"no vLLM server is up at {self.base_url}{waited} ({problem})")
            time.sleep(retry_interval)

    def init_communicator(self, device: Any = 0) -> None:
        """Upstream's; remembers which server has joined."""
        super().init_communicator(device)
        self._instance = self._find_instance()

    def update_named_params(self, *args: Any, **kwargs: Any) -> None:
        """Upstream's, for the server that has joined.

        Raises:
            RuntimeError: it is another one.
        """
        self._require_same_server()
        super().update_named_params(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Upstream's, for the server that has joined.

        Raises:
            RuntimeError: it is another one.
        """
        output = super().generate(*args, **kwargs)
        self._require_same_server()
        return output

    def _problem(self) -> str:
        try:
            response = requests.get(f"{self.base_url}/health", timeout=_CONNECT_S)
        except requests.RequestException as error:
            return type(error).__name__
        return "" if response.ok else f"it answers {response.status_code}"

    def _find_instance(self) -> str:
        return str(self.get_server_info()["instance_id"])

    def _require_same_server(self) -> None:
        if self._find_instance() != self._instance:
            raise RuntimeError(
                f"the vLLM server at {self.base_url} has been started again, with the weights of its model folder; "
                "those of the training are sent to it when this run starts again"
            )


class _TimeLimited(HTTPAdapter):
    def __init__(self, timeout_s: float | None, **options: Any) -> None:
        self._timeout = (_CONNECT_S, timeout_s)
        super().__init__(pool_maxsize=64, **options)  # upstream's number of connections

    def send(self, request: Any, stream: bool = False, timeout: Any = None, *args: Any, **kwargs: Any) -> Any:
        return super().send(request, stream, timeout or self._timeout, *args, **kwargs)
