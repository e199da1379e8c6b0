"""Unified SFT of reasoning and non-reasoning data on TRL's SFT trainer."""

from posttrain.sft.trainer import UnifiedSFTTrainer

__all__ = ["UnifiedSFTTrainer"]
