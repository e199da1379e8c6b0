"""The stages that sample, as small as the others: their recipes, and what of their runs must be the same in the end."""

import json
from pathlib import Path
from typing import Any

GENERATE = "posttrain.inference.transformers_engine:TransformersEngine.generate"
HEAD = (
    'data: {sources: [{path: rl.jsonl}]}\nengine: {name: transformers}\nrewards: [{use: "even:even"}]\nchunk_size: 2\n'
)
WARM = "mode: non_reasoning, temperature: 1.0, max_new_tokens: 12"
UNTIL_SOME_END = (
    "mode: non_reasoning, temperature: 1.0, max_new_tokens: 40, samples: 12"  # one that is cut is not chosen
)
# Four chunks of two prompts.
RECIPES = {
    "filter": f"{HEAD}decoding: {{{WARM}, samples: 3}}\nkeep: {{pass_rate_below: 1.0}}\n",
    "pairs": f"{HEAD}decoding: {{{UNTIL_SOME_END}}}\npairs: {{builder: shortest_correct, min_correct_share: 0.1}}\n",
    "eval": f"{HEAD}label: x\ndecodings: [{{name: warm, {WARM}, samples: 2}}]\n",
}
WRITTEN = {"filter": ("prompts.jsonl", "dropped.jsonl"), "pairs": ("pairs.parquet", "pair_report.json"), "eval": ()}


def content(stage: str, run: Path) -> Any:
    """What the run wrote, but for what a clock says."""
    written: list[Any] = [(run / name).read_bytes() for name in WRITTEN[stage]]
    if stage == "eval":
        lines = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
        written = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    return written
