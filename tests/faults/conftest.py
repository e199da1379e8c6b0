"""A working directory with a recipe for every stage, small enough to be run, killed and run again many times."""

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cases import CASES, again
from tests.faults.mortal import ROTATE, Kill, KillAtCall, posttrain
from tests.faults.sampling import GENERATE
from tests.faults.sampling import RECIPES as SAMPLING

TRAINER = "learning_rate: 1e-2\n  save_steps: 2\n  logging_steps: 1\n  max_steps: 8\n  report_to: none"
RECIPES = {
    "sft": """\
data:
  sources:
    - {{name: long, path: sft_reasoning.jsonl}}
    - {{name: short, path: sft_non_reasoning.jsonl}}
mixer: {{use: "data_mixers.by_tokens:ByTokens", args: {{shares: {{reasoning: 1.5, non_reasoning: 1.0}}}}}}
trainer:
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 2
  num_train_epochs: 2
  {trainer}
""",
    # Two updates with the rollouts of a generation; eight prompts, four a generation: four steps are an epoch.
    "rl": """\
data: {{sources: [{{path: rl.jsonl}}]}}
engine: transformers
rewards: [{{use: "even:even"}}]
trainer:
  num_generations: 4
  per_device_train_batch_size: 8
  gradient_accumulation_steps: 1
  steps_per_generation: 2
  max_completion_length: 12
  {trainer}
""",
    # Twenty pairs, four a step: five steps are an epoch.
    "pref": """\
pairs: [pairs.parquet]
trainer:
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 2
  {trainer}
""",
    # Nine steps, of which the last one ends in the gate instead of a checkpoint.
    "context": """\
stages: [{{name: short, length: 192, limit_tokens: 3700, slice_tokens: 3700}}]
pack_tokens: 512
documents: {{languages: [en], shortest: 0.8}}
gate: {{samples_per_cell: 1, lengths: [1.0], depths: [0, 1], languages: [en], max_new_tokens: 12}}
trainer: {{learning_rate: 1e-2, warmup_steps: 0, save_steps: 2, logging_steps: 1, report_to: none}}
""",
}
# A noise model earns it about half of the time.
EVEN = """\
from rewards.contract import Verdict


def even(attempt):
    is_even = sum(map(ord, attempt.answer + (attempt.thinking or ""))) % 2 == 0
    return Verdict(score=float(is_even), outcome=is_even)
"""


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory, demo_files: dict[str, Path], model_folder: Path) -> Path:
    """Recipes, data and a reward of the user's own."""
    folder = tmp_path_factory.mktemp("faults")
    for name, recipe in RECIPES.items():
        head = f"stage: {name}\nrun: run\nmodel: {{path: {model_folder}}}\n"
        (folder / f"{name}.yaml").write_text(head + recipe.format(trainer=TRAINER))
    for name, recipe in SAMPLING.items():
        (folder / f"{name}.yaml").write_text(f"stage: {name}\nrun: run\nmodel: {{path: {model_folder}}}\n{recipe}")
    for name, rows in (("sft_reasoning", 20), ("sft_non_reasoning", 30), ("rl", 8)):
        (folder / f"{name}.jsonl").write_text("".join(demo_files[name].read_text().splitlines(keepends=True)[:rows]))
    (folder / "even.py").write_text(EVEN)
    write_random_pairs(folder / "pairs.parquet", model_folder)
    return folder


def write_random_pairs(path: Path, model_folder: Path) -> None:
    """Twenty pairs of random tokens."""
    from posttrain.chat import origin_of
    from posttrain.models.load import load_tokenizer
    from posttrain.preference.pair_files import write_pairs
    from posttrain.recipe import ModelSection

    rng = random.Random(0)
    ids: Callable[[int], list[int]] = lambda most: rng.choices(range(20, 250), k=rng.randint(2, most))  # noqa: E731
    rows: list[Any] = [
        {
            "query": query,
            "prompt_ids": ids(5),
            "chosen_ids": ids(6),
            "rejected_ids": ids(9),
            "mode": ("reasoning", "non_reasoning")[query % 2],
            "language": "en",
        }
        for query in range(20)
    ]
    write_pairs(path, rows, origin_of(load_tokenizer(ModelSection(path=str(model_folder)))))


@pytest.fixture
def run_folder(workplace: Path, request: pytest.FixtureRequest) -> Path:
    """A folder for the run of this test, inside the working directory."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return workplace / name


@pytest.fixture(scope="session")
def whole(workplace: Path) -> Callable[[str], Path]:
    """The run of a case that nobody disturbs; `<case>.calls` beside it counts the calls of its training."""

    def run(case: str) -> Path:
        folder = workplace / f"{case}-whole" / CASES[case].part
        if not folder.exists():
            last_rank = CASES[case].processes - 1
            counter = KillAtCall(None, count_to=str(workplace / f"{case}.calls"), rank=last_rank)
            ended = again(case, folder, kill=counter, resume=False)
            assert ended.code == 0, ended.err
        return folder

    return run


@pytest.fixture(scope="session")
def interrupted(workplace: Path) -> Callable[[str], Path]:
    """A run of a case that was killed after step 6, with checkpoints 2, 4 and 6; anew for each test, in one place."""

    def run(case: str) -> Path:
        top, kept = workplace / f"{case}-interrupted", workplace / f"{case}-interrupted-kept"
        folder = top / CASES[case].part
        if not kept.exists():
            ended = again(case, folder, kill=Kill(ROTATE, nth=3), resume=False)
            assert ended.code == -signal.SIGKILL, ended.err
            top.rename(kept)
        shutil.rmtree(top, ignore_errors=True)
        shutil.copytree(kept, top)
        return folder

    return run


@pytest.fixture(scope="session")
def sampled(workplace: Path) -> Callable[[str], Path]:
    """The run of a stage that samples, which nobody disturbs; `<run>.calls` counts the calls of its generations."""

    def run(stage: str) -> Path:
        folder = workplace / f"{stage}-whole"
        if not folder.exists():
            counter = KillAtCall(None, within=GENERATE, count_to=f"{folder}.calls")
            ended = posttrain(stage, f"{stage}.yaml", f"run={folder.name}", cwd=workplace, kill=counter)
            assert ended.code == 0, ended.err
        return folder

    return run
