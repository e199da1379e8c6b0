"""A small copy of what `posttrain demo` prepares, and the real command line on it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECIPES = Path(__file__).parents[2] / "recipes" / "demo"

# A noise model earns it about half of the time. A user's own module: it lies in the working directory.
EVEN = """\
from rewards.contract import Verdict


def even(attempt):
    is_even = attempt.num_tokens % 2 == 0
    return Verdict(score=float(is_even), outcome=is_even)
"""


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/`, `base/` and a reward of the user's own; the demo's task, a few hundred rows, a smaller model."""
    from posttrain.chat import read_template
    from posttrain.demo.data import Sizes, write_data
    from posttrain.models.build import HybridShape, build_model
    from posttrain.models.load import save_model
    from posttrain.models.tokenizer import train_tokenizer

    root = tmp_path_factory.mktemp("demo")
    sizes = Sizes(
        sft_reasoning=600, sft_non_reasoning=800, rl=48, pairs_stage1=24, pairs_stage2=24, validation=12, test=12
    )
    files = write_data(root / "data", seed=0, sizes=sizes)
    tokenizer = train_tokenizer(
        (text for name in ("sft_reasoning", "sft_non_reasoning") for text in texts(files[name])),
        vocab_size=512,
        chat_template=read_template("exaone4"),
    )
    shape = HybridShape(
        hidden_size=64, num_layers=2, intermediate_size=128, num_heads=2, num_kv_heads=1, local_layers=1
    )
    save_model(build_model(shape, tokenizer, seed=0), tokenizer, root / "base")
    (root / "even.py").write_text(EVEN)
    return root


def texts(path: Path) -> list[str]:
    messages = [message for line in path.read_text().splitlines() for message in json.loads(line)["messages"]]
    return [message.get("reasoning_content", "") + message["content"] for message in messages]


@pytest.fixture(scope="session")
def recipe_file() -> Callable[[str], Path]:
    """The demo's recipe of this name."""
    return lambda name: RECIPES / f"{name}.yaml"


@pytest.fixture(scope="session")
def start(root: Path, recipe_file: Callable[[str], Path]) -> Callable[..., subprocess.Popen[str]]:
    """`start("sft", "sft", *overrides)`: begin `posttrain sft recipes/demo/sft.yaml` in the prepared folder."""

    def begin(command: str, recipe: str, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "posttrain", command, str(recipe_file(recipe)), f"root={root}", *words],
            cwd=root,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A test run in the background ignores ^C, and its children would too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    return begin


@pytest.fixture(scope="session")
def posttrain(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Any]:
    """The same, to its end: (exit code, stdout, stderr)."""

    def run(command: str, recipe: str, *words: str) -> tuple[int, str, str]:
        process = start(command, recipe, *words)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    return run
