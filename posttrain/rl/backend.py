"""Who samples the rollouts: the trainer's own model, vLLM beside it, a server, or an engine that runs ahead."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import requests
from trl.trainer import grpo_trainer

from posttrain.errors import UserError
from posttrain.models.patching import replaced
from posttrain.rl.lookahead import Lookahead
from posttrain.rl.synced_vllm import SyncedVLLM


@contextmanager
def generation_backend(arguments: Any) -> Iterator[None]:
    """Inside, TRL's trainer is built with the backend that an `AGAPOConfig` asks for.

    Raises:
        UserError: there is no server.
    """
    use_vllm, backend = arguments.use_vllm, partial(SyncedVLLM, timeout_s=arguments.rollout_timeout_s)
    if arguments.staleness:
        backend = partial(Lookahead, engine="vllm" if use_vllm else "transformers")
        arguments.use_vllm = True  # upstream's word for a backend beside the model
    try:
        with replaced(grpo_trainer, "VLLMGeneration", backend):
            yield
    except requests.exceptions.RequestException as error:
        raise UserError(f"vllm_mode is 'server', but there is none: {error}; start one (trl vllm-serve)") from error
    finally:
        arguments.use_vllm = use_vllm
