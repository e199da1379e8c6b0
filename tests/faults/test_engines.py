"""Fault 16: a real vLLM engine that hangs, fails or is killed in the middle of a run, under the supervisor."""

import json
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.cases import manifest, metrics
from tests.faults.mortal import posttrain, wrap
from tests.faults.test_supervisor import attempts, start
from tests.vllm_server import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# The reward runs in the trainer's process, as the engine does. First attempt: the engine hangs when it is asked for the
# rollouts of step 5. Second one, which begins there: it fails at those of step 6.
BREAKS_TWICE = """\
import time
from pathlib import Path

from vllm.v1.engine.llm_engine import LLMEngine

from tests.faults.wrong_rewards import even

calls = 0


def hang(self):
    time.sleep(3600)


def fail(self):
    raise RuntimeError("the engine is broken")


def breaking(attempt):
    global calls
    calls += 1
    if calls == 5 * 8 and not Path("hung").exists():
        Path("hung").touch()
        LLMEngine.step = hang
    elif calls == 8 and Path("hung").exists() and not Path("failed").exists():
        Path("failed").touch()
        LLMEngine.step = fail
    return even(attempt)
"""
VLLM = "engine: {name: vllm, max_model_len: 256, memory_gb: 0.1}"
DECODING = "{mode: non_reasoning, temperature: 1.0, max_new_tokens: 12, samples: 3}"
GRADED = "data: {sources: [{path: rl.jsonl}]}\ngrading: {workers: 0}\nrewards: [{use: 'even:even'}]\nchunk_size: 3\n"
RECIPES = {
    "pairs": f"decoding: {DECODING}\npairs: {{builder: shortest_correct, min_correct_share: 0, min_length_ratio: 1}}\n",
    "filter": f"decoding: {DECODING}\nkeep: {{pass_rate_below: null}}\n",
    "eval": f"label: base\ndecodings: [{DECODING[:-1]}, name: warm}}]\n",
}


@pytest.fixture(scope="module")
def engine_model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, tiny_shape: Any) -> Path:
    """A model as small as the others', with heads that vLLM's kernels take on a CPU."""
    free_port()  # skips without vLLM
    from posttrain.models.build import build_model
    from posttrain.models.load import save_model

    folder = tmp_path_factory.mktemp("models") / "wide"
    save_model(build_model(replace(tiny_shape, head_dim=32), tokenizer, seed=0), tokenizer, folder)
    return folder


@pytest.mark.fault(16, "the colocated engine hangs, then fails", stage="rl")
def test_rollouts_that_hang_or_fail_end_the_attempt_and_the_next_begins_with_the_weights_of_its_step(
    workplace: Path, engine_model: Path, run_folder: Path
) -> None:
    (workplace / "breaking.py").write_text(BREAKS_TWICE)
    words = ("engine=vllm", "grading.workers=0", "rewards=[{use: 'breaking:breaking', name: even}]")
    trainer = "rollout_timeout_s: 60, vllm_max_model_length: 256, steps_per_generation: 1, save_steps: 1, max_steps: 7"
    words = (*words, f"run={run_folder.name}", f"model.path={engine_model}", f"trainer={{{trainer}}}")
    process = start(workplace, "rl.yaml", *words)
    _, said = process.communicate(timeout=1700)
    assert process.returncode == 0, said
    assert "error: the rollout engine's work for step 5 has not ended after 70 s" in said
    assert "in hang" in said  # the stacks
    assert "the rollout engine failed at step 6 (RuntimeError: the engine is broken)" in said
    assert [(each["ended"], each["step"]) for each in attempts(run_folder)] == [
        ("ended with exit code 1", 5),
        ("ended with exit code 1", 6),
        ("ended with exit code 0", 7),
    ]
    # Step 5 is where the second attempt begins: its engine came with the model folder's weights.
    records = [json.loads(line) for line in (run_folder / "samples.jsonl").read_text().splitlines()]
    assert {(record["step"], record["weights_version"]) for record in records} == {(0, 0), (5, 5)}
    lines = [line for line in metrics(run_folder) if "rollout/weights_in_sync" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert all(line["rollout/weights_in_sync"] == 1.0 for line in lines)
    assert manifest(run_folder)["status"] == "finished"


@pytest.mark.parametrize(
    "stage", [pytest.param(stage, marks=pytest.mark.fault(16, "kill -9 of vLLM", stage=stage)) for stage in RECIPES]
)
def test_an_engine_killed_in_the_second_chunk_costs_that_chunk(
    stage: str, workplace: Path, engine_model: Path, run_folder: Path
) -> None:
    mark = workplace / f"{run_folder.name}.killed"
    recipe = f"stage: {stage}\nrun: run\nmodel: {{path: {engine_model}}}\n{GRADED}{VLLM}\n{RECIPES[stage]}"
    (workplace / f"{stage}-vllm.yaml").write_text(recipe)
    words = (stage, f"{stage}-vllm.yaml", f"run={run_folder.name}")
    ended = posttrain(*words, cwd=workplace, before=partial(kill_engine_once, mark))
    assert ended.code == 1
    assert mark.read_text() == "1"
    assert "vLLM's engine process has died" in ended.err
    ended = posttrain(*words, "--resume", cwd=workplace, before=partial(kill_engine_once, mark))
    assert ended.code == 0, ended.err
    assert manifest(run_folder)["status"] == "finished"


def kill_engine_once(mark: Path) -> None:
    """Let the engine, in a process of its own, be killed when it is asked for the second chunk."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
    calls = 0

    def killed(original: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2 and not mark.exists():
            children = psutil.Process().children(recursive=True)
            engines = [each for each in children if "EngineCore" in " ".join([each.name(), *each.cmdline()])]
            mark.write_text(str(len(engines)))
            for each in engines:
                each.send_signal(signal.SIGKILL)
        return original(*args, **kwargs)

    wrap("posttrain.inference.vllm_engine:VLLMEngine.generate", killed)
