"""A small recipe of every stage, and how one is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from posttrain.errors import UserError
from posttrain.recipe import (
    load_recipe,
)

MODEL = {"path": "${root}/base"}
DATA = {"sources": [{"path": "rows.jsonl", "mode": "reasoning"}, {"path": "more.jsonl"}]}
REWARDS = [{"use": "rewards.format:Format", "args": {"limit": 3}, "when": {"domain": ["math"]}, "weight": 0.5}]
COMMON = {"root": "runs/demo", "run": "${root}/here", "seed": 3}
RECIPES: dict[str, dict[str, Any]] = {
    "sft": COMMON
    | {
        "stage": "sft",
        "model": MODEL,
        "data": DATA | {"max_length": 256},
        "mixer": {"use": "data_mixers.by_tokens:ByTokens", "args": {"shares": {"reasoning": 1.5, "non_reasoning": 1}}},
        "trainer": {"learning_rate": 0.01, "max_steps": 5},
        "lora": {"r": 8},
    },
    "filter": COMMON
    | {
        "stage": "filter",
        "model": MODEL,
        "data": DATA,
        "decoding": {"temperature": 1.0, "max_new_tokens": 64},
        "rewards": REWARDS,
    },
    "model": COMMON | {"stage": "model"},
    "context": COMMON
    | {
        "stage": "context",
        "model": MODEL,
        "stages": [
            {"name": "1k", "length": 1024, "limit_tokens": 4e6, "slice_tokens": 5e5},
            {"name": "4k", "length": 4096, "limit_tokens": 8e6, "slice_tokens": 1e6, "rope_theta": 1e6},
        ],
        "replay": DATA | {"share": 0.2},
    },
    "rl": COMMON | {"stage": "rl", "model": MODEL, "data": DATA, "rewards": REWARDS, "engine": "transformers"},
    "pairs": COMMON
    | {
        "stage": "pairs",
        "model": MODEL,
        "data": DATA,
        "engine": {"name": "vllm", "max_model_len": 512},
        "decoding": {"temperature": 1.0, "max_new_tokens": 64, "samples": 8},
        "rewards": REWARDS,
        "pairs": {"builder": "shortest_correct"},
    },
    "pref": COMMON | {"stage": "pref", "model": MODEL, "pairs": ["${root}/pairs/pairs.parquet"]},
    "eval": COMMON
    | {
        "stage": "eval",
        "label": "after SFT",
        "model": MODEL,
        "data": DATA,
        "decodings": [
            {"name": "greedy", "mode": "reasoning", "temperature": 0, "max_new_tokens": 64},
            {"name": "T=0.6", "mode": "non_reasoning", "temperature": 0.6, "top_p": 0.95, "max_new_tokens": 64},
        ],
        "rewards": REWARDS,
    },
    "report": COMMON
    | {
        "stage": "report",
        "title": "Demo",
        "stages": [{"name": "sft", "run": "${root}/sft", "eval": "${root}/eval-sft"}],
    },
}


def written(folder: Path, content: dict[str, Any] | str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


def refusal(path: Path, overrides: tuple[str, ...] = (), stage: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides, stage)
    message = str(caught.value)
    assert "\n" not in message
    return message
