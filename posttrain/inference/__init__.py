"""Engines that continue prompts: vLLM, and a plain loop over a transformers model.

- `engine`: what an engine is, and `open_engine`
- `draft`: one completion while it is sampled, and the thinking budget
- `vllm_engine`: vLLM in this process
- `transformers_engine`: a sampling loop of our own, for models and machines without vLLM
- `sampling`: many prompts through an engine and the grader, in chunks that an interruption leaves whole
"""

from posttrain.inference.engine import Completion, Engine, open_engine

__all__ = ["Completion", "Engine", "open_engine"]
