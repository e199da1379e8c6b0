"""Rollout throughput: the vLLM engine against our transformers engine and `model.generate`, on the same prompts.

    make bench-rollout [MODEL=runs/demo/sft/model]

Every round runs the three one after the other, so that a noisy machine slows all of them; printed are the medians of
each round's ratio. The first round warms up and is left out.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from posttrain.environment import prepare_environment

prepare_environment()

import torch  # noqa: E402  (after the environment is set)

from posttrain.chat import encode_prompt, render_prompt  # noqa: E402
from posttrain.demo.task import LANGUAGES, draw_problem, prompt_row  # noqa: E402
from posttrain.inference import open_engine  # noqa: E402
from posttrain.models.load import load_model, load_tokenizer  # noqa: E402
from posttrain.recipe import Decoding, EngineSection, ModelSection  # noqa: E402
from posttrain.terminal import say  # noqa: E402

MAX_NEW_TOKENS = 160


def main() -> None:
    """Time the three and print tokens per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="runs/demo/sft/model")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=6)
    args = parser.parse_args()
    if not Path(args.model).is_dir():
        parser.error(f"no model at {args.model}: run `make demo` first, or pass --model")

    section = ModelSection(path=args.model)
    tokenizer = load_tokenizer(section)
    rng = random.Random(0)
    rows = [
        prompt_row(rng, draw_problem(rng, min_steps=3, max_steps=6), LANGUAGES[index % 3], "reasoning")
        for index in range(args.prompts)
    ]
    prompts = [encode_prompt(tokenizer, render_prompt(tokenizer, row["messages"], "reasoning")) for row in rows]
    decoding = Decoding(temperature=1.0, max_new_tokens=MAX_NEW_TOKENS)
    limits = {"max_model_len": 384, "max_num_seqs": args.prompts}
    with (
        closing(open_engine(EngineSection(name="vllm", **limits), section, tokenizer)) as vllm,
        closing(open_engine(EngineSection(name="transformers", **limits), section, tokenizer)) as transformers,
    ):
        model = load_model(section, tokenizer).eval()
        peers: dict[str, Callable[[int], int]] = {
            "vllm": lambda seed: _count(vllm.generate(prompts, decoding, seed=seed)),
            "transformers": lambda seed: _count(transformers.generate(prompts, decoding, seed=seed)),
            "model.generate": lambda seed: _plain_generate(model, tokenizer, prompts, seed),
        }
        rounds = [{name: _rate(run, seed) for name, run in peers.items()} for seed in range(args.rounds)][1:]
    for name in peers:
        say(f"{name:<16}{statistics.median(rates[name] for rates in rounds):>8,.0f} tokens/s")
    for name in ("transformers", "model.generate"):
        ratios = [rates["vllm"] / rates[name] for rates in rounds]
        say(f"vllm / {name:<16} {statistics.median(ratios):.2f}x  (range {min(ratios):.2f} to {max(ratios):.2f})")


def _rate(run: Callable[[int], int], seed: int) -> float:
    began = time.perf_counter()
    tokens = run(seed)
    return tokens / (time.perf_counter() - began)


def _count(completions: list[list[object]]) -> int:
    return sum(len(completion.token_ids) for samples in completions for completion in samples)  # type: ignore[attr-defined]


@torch.inference_mode()
def _plain_generate(model: torch.nn.Module, tokenizer: object, prompts: list[list[int]], seed: int) -> int:
    torch.manual_seed(seed)
    padded = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")  # type: ignore[attr-defined]
    output = model.generate(**padded, do_sample=True, top_k=0, max_new_tokens=MAX_NEW_TOKENS)  # type: ignore[operator]
    return int((output[:, padded["input_ids"].shape[1] :] != tokenizer.pad_token_id).sum())  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
