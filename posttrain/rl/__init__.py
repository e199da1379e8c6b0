"""AGAPO reinforcement learning on TRL's GRPO trainer with vLLM rollouts."""

from posttrain.rl.config import AGAPOConfig
from posttrain.rl.trainer import AGAPOTrainer

__all__ = ["AGAPOConfig", "AGAPOTrainer"]
