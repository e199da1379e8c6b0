"""The client of a vLLM server against a real HTTP server that refuses, fails, hangs, or is started again."""

import inspect
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import pytest
import requests

from posttrain.environment import prepare_environment

prepare_environment()

from trl.generation.vllm_client import VLLMClient  # noqa: E402  (after the environment)

from posttrain.rl import rollout_server  # noqa: E402
from posttrain.rl.rollout_server import RolloutServer  # noqa: E402

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="upstream's client needs vLLM")

CHOICE = {
    "prompt_token_ids": [5, 6],
    "token_ids": [7],
    "logprobs": {"tokens": ["token_id:7"], "token_logprobs": [-0.5], "top_logprobs": [None]},
}
ANSWERS: dict[str, Any] = {
    "/health": {},
    "/v1/models": {"data": [{"id": "tiny"}]},
    "/v1/completions": {"choices": [CHOICE]},
    "/get_world_size": {"world_size": 1},
    "/reset_prefix_cache": {"success": True},
}


class FakeVLLM(ThreadingHTTPServer):
    """Speaks what the trainer's client speaks; `bad[path]` says of the next answers there what is wrong with each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.instance = 1
        self.asked: Counter[str] = Counter()
        self.bad: dict[str, list[str]] = {}
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: FakeVLLM

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked[path] += 1
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wrong = self.server.bad.get(path, [])
        what = wrong.pop(0) if wrong else ""
        if what == "hang":
            self.server.released.wait(60)
            return
        if what == "restart":
            self.server.instance += 1
        answer = ANSWERS.get(path, {})
        if path == "/server_info":
            answer = {"vllm_config": {"instance_id": str(self.server.instance), "weight_transfer_config": {}}}
        body = json.dumps(answer).encode()
        self.send_response(int(what) if what.isdecimal() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVLLM]:
    monkeypatch.setattr(rollout_server, "_BACK_OFF_S", 0.01)
    monkeypatch.setattr(VLLMClient, "init_communicator", lambda self, device: None)  # NCCL needs a GPU
    running = FakeVLLM()
    yield running
    running.end()


@pytest.fixture
def client(server: FakeVLLM) -> RolloutServer:
    joined = RolloutServer(base_url=server.url, timeout_s=30.0)
    joined.init_communicator()
    return joined


def test_answers_are_upstreams(client: RolloutServer) -> None:
    output = client.generate([[5, 6]])
    assert (output["prompt_ids"], output["completion_ids"], output["logprobs"]) == ([[5, 6]], [[7]], [[[-0.5]]])


@pytest.mark.fault(16, "nobody listens at the address", stage="rl")
def test_an_address_where_no_server_comes_up_is_told_after_the_time_to_wait() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            requests.ConnectionError, match=r"no vLLM server is up at .* after 0\.2 s \(ConnectionError"
        ):
            RolloutServer(base_url=url, timeout_s=1.0, connection_timeout=0.2)


@pytest.mark.fault(16, "answers 503 for ever at the start", stage="rl")
def test_a_server_that_does_not_become_healthy_is_not_waited_for_for_ever(server: FakeVLLM) -> None:
    server.bad["/health"] = ["503"] * 1000
    with pytest.raises(requests.ConnectionError, match="it answers 503"):
        RolloutServer(base_url=server.url, timeout_s=1.0)


@pytest.mark.fault(16, "answers 500 twice", stage="rl")
def test_a_generation_that_fails_is_asked_for_again(server: FakeVLLM, client: RolloutServer) -> None:
    server.bad["/v1/completions"] = ["500", "503"]
    assert client.generate([[5, 6]])["completion_ids"] == [[7]]
    assert server.asked["/v1/completions"] == 3


@pytest.mark.fault(16, "answers 500 for ever", stage="rl")
def test_a_server_that_always_fails_is_given_up(server: FakeVLLM, client: RolloutServer) -> None:
    server.bad["/v1/completions"] = ["500"] * 1000
    with pytest.raises(requests.exceptions.RetryError, match="too many 500 error responses"):
        client.generate([[5, 6]])
    assert server.asked["/v1/completions"] == 4


@pytest.mark.fault(16, "dies between two generations", stage="rl")
def test_a_server_that_is_gone_is_given_up(server: FakeVLLM, client: RolloutServer) -> None:
    client.generate([[5, 6]])
    client.session.close()  # its open connections would be served on
    server.shutdown()
    server.server_close()
    with pytest.raises(requests.ConnectionError):
        client.generate([[5, 6]])


@pytest.mark.fault(16, "hangs", stage="rl")
@pytest.mark.parametrize("path", ["/v1/completions", "/start_weight_update", "/reset_prefix_cache"])
def test_a_server_that_hangs_is_given_up_after_one_request(path: str, server: FakeVLLM) -> None:
    client = RolloutServer(base_url=server.url, timeout_s=0.5)
    client.init_communicator()
    server.bad[path] = ["hang"] * 1000
    requests_of = {
        "/v1/completions": lambda: client.generate([[5, 6]]),
        "/start_weight_update": lambda: client.update_named_params([("a", "float32", [1])], iter([])),
        "/reset_prefix_cache": client.reset_prefix_cache,
    }
    began = time.monotonic()
    with pytest.raises(requests.exceptions.RequestException, match="Read timed out"):
        requests_of[path]()
    assert time.monotonic() - began < 30
    assert server.asked[path] == 1


@pytest.mark.fault(16, "is started again during a generation", stage="rl")
def test_what_a_server_with_other_weights_has_sampled_is_refused(server: FakeVLLM, client: RolloutServer) -> None:
    client.generate([[5, 6]])
    server.bad["/v1/completions"] = ["restart"]
    with pytest.raises(RuntimeError, match="has been started again, with the weights of its model folder"):
        client.generate([[5, 6]])


@pytest.mark.fault(16, "is started again before new weights", stage="rl")
def test_weights_are_not_sent_into_the_group_of_a_server_that_is_gone(server: FakeVLLM, client: RolloutServer) -> None:
    server.instance += 1
    with pytest.raises(RuntimeError, match="has been started again"):
        client.update_named_params([("a", "float32", [1])], iter([]))
    assert server.asked["/start_weight_update"] == 0


def test_a_request_that_moves_weights_is_made_once(server: FakeVLLM, client: RolloutServer) -> None:
    """Its other half is a broadcast that is under way: a second one would wait for another."""
    server.bad["/start_weight_update"] = ["500"]
    with pytest.raises(Exception, match="Request failed: 500"):
        client.update_named_params([("a", "float32", [1])], iter([]))
    assert server.asked["/start_weight_update"] == 1


@pytest.mark.slow
@pytest.mark.fault(16, "hangs under the trainer, or is another one", stage="rl")
@pytest.mark.parametrize(("wrong", "cause"), [("hang", "Read timed out"), ("restart", "has been started again")])
def test_the_trainer_names_the_server_and_the_step_and_uses_nothing_of_it(
    wrong: str, cause: str, server: FakeVLLM, make_trainer: Callable[..., Any]
) -> None:
    settings = {"vllm_mode": "server", "vllm_server_base_url": server.url, "rollout_timeout_s": 2.0}
    trainer = make_trainer(use_vllm=True, **settings)
    trainer._last_loaded_step = 0  # weights are pushed by NCCL
    server.bad["/v1/completions"] = [wrong]
    trainer.model.train()
    with pytest.raises(RuntimeError, match=rf"the rollout engine failed at step 0 \(.*{cause}.*--resume"):
        trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    assert server.asked["/v1/completions"] == 1
    assert trainer._buffered_inputs is None


def test_upstream_has_the_hooks_and_the_server_tells_its_instance() -> None:
    from vllm.config import VllmConfig

    assert [*inspect.signature(VLLMClient.check_server).parameters] == ["self", "total_timeout", "retry_interval"]
    assert [*inspect.signature(VLLMClient.init_communicator).parameters] == ["self", "device"]
    assert [*inspect.signature(VLLMClient.update_named_params).parameters] == ["self", "metadata", "named_params"]
    source = inspect.getsource(VLLMClient)
    assert source.index("self.session = ") < source.index("self.check_server(") < source.index("self._get(")
    assert "/server_info" in inspect.getsource(VLLMClient.get_server_info)
    assert "self.session." in inspect.getsource(VLLMClient._post)
    assert "instance_id" in {item.name for item in fields(VllmConfig)}
