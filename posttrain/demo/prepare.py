"""Make what the demo starts from: the data files, the tokenizer and the untrained tiny model."""

import json
import time
from pathlib import Path
from typing import Any

from rich.markup import escape

from posttrain.chat import read_template
from posttrain.demo.data import write_data
from posttrain.models.build import PRESETS, build_model
from posttrain.models.cost_table import describe_layers, describe_parameters
from posttrain.models.load import save_model
from posttrain.models.tokenizer import train_tokenizer
from posttrain.terminal import say

VOCABULARY = 512
TOKENIZER_ROWS = 3000


def prepare(root: Path, seed: int) -> None:
    """Write `root/data` and `root/base`; what is already there is kept."""
    base = root / "base"
    if (base / "config.json").is_file():
        return
    began = time.monotonic()
    tokenizer, shape = demo_tokenizer(root / "data", seed), PRESETS["tiny"]
    save_model(build_model(shape, tokenizer, seed=seed), tokenizer, base)
    say(
        f"  {escape(str(base))}: {describe_layers(shape)}; parameters {describe_parameters(shape, len(tokenizer))}; "
        f"{time.monotonic() - began:.0f} s"
    )


def demo_tokenizer(data_folder: Path, seed: int) -> Any:
    """Write the demo's data and train a tokenizer on its two kinds of rows."""
    paths = write_data(data_folder, seed)
    texts = [text for name in ("sft_reasoning", "sft_non_reasoning") for text in _texts(paths[name])]
    return train_tokenizer(texts, vocab_size=VOCABULARY, chat_template=read_template("exaone4"))


def _texts(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(TOKENIZER_ROWS), lines, strict=False)]
    return [
        text
        for row in rows
        for message in row["messages"]
        for key in ("reasoning_content", "content")
        if (text := message.get(key))
    ]
