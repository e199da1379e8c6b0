"""The options of `generate`, `chat` and `serve`; nothing here costs time to import."""

import argparse
import math
from argparse import ArgumentParser
from collections.abc import Callable

from posttrain.chat.modes import MODES

DTYPES = ("float32", "bfloat16", "float16")
ENGINES = ("transformers", "vllm")


def add_generate(parser: ArgumentParser) -> None:
    """One prompt."""
    parser.add_argument("prompt", nargs="?", help="(default: what comes from standard input)")
    parser.add_argument("--stream", action="store_true", help="show the text as it comes")
    _add_model(parser)
    _add_sampling(parser)


def add_chat(parser: ArgumentParser) -> None:
    """A conversation."""
    _add_model(parser)
    _add_sampling(parser)


def add_serve(parser: ArgumentParser) -> None:
    """A server."""
    _add_model(parser)
    _add_mode(parser, "of requests that do not say enable_thinking")
    parser.add_argument("--host", default="127.0.0.1", help="(default: 127.0.0.1, this machine alone)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="(default: 8000)")
    parser.add_argument("vllm_args", nargs="*", metavar="-- ARGS", help="further arguments of vllm serve")


def _add_model(parser: ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="DIR", help="a model folder, as a stage writes it")
    parser.add_argument("--dtype", choices=DTYPES, help="(default: that of the folder)")
    parser.add_argument("--max-model-len", type=_whole(1), metavar="N", help="longest sequence in tokens")


def _add_mode(parser: ArgumentParser, what: str) -> None:
    parser.add_argument("--mode", choices=MODES, default="non_reasoning", help=f"{what} (default: non_reasoning)")


def _add_sampling(parser: ArgumentParser) -> None:
    _add_mode(parser, "think first, or answer at once")
    parser.add_argument("--thinking-budget", type=_whole(0), metavar="N", help="close the thinking after N tokens")
    parser.add_argument("--max-new-tokens", type=_whole(1), metavar="N", help="(default: all that the context leaves)")
    parser.add_argument("--temperature", type=_number(0, math.inf), metavar="T", help="(default: 0.6 or, greedy, 0)")
    parser.add_argument("--top-p", type=_number(0, 1), metavar="P", help="(default: 0.95 or 1)")
    parser.add_argument("--top-k", type=_whole(0), default=0, metavar="K", help="(default: 0, no limit)")
    parser.add_argument("--seed", type=_whole(0), default=0, metavar="N", help="(default: 0)")
    parser.add_argument("--system", metavar="TEXT", help="a system message")
    parser.add_argument("--engine", choices=ENGINES, default="transformers", help="(default: transformers)")
    parser.add_argument(
        "--memory-gb", type=_number(0, math.inf), default=1.0, metavar="GB", help="vLLM's cache on a CPU"
    )
    parser.add_argument("--chat-template", metavar="NAME", help="a built-in name or a file (default: the folder's own)")


def _whole(least: int) -> Callable[[str], int]:
    def read(word: str) -> int:
        number = int(word) if word.strip().lstrip("-").isdecimal() else None
        if number is None or number < least:
            raise argparse.ArgumentTypeError(f"got {word!r}, need a whole number of at least {least}")
        return number

    return read


def _number(least: float, most: float) -> Callable[[str], float]:
    def read(word: str) -> float:
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not least <= number <= most or math.isinf(number):
            limits = f"at least {least}" if math.isinf(most) else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"got {word!r}, need a number {limits}")
        return number

    return read
