"""The parts of sampling ahead that need no engine: which prompts come when, weights and rollouts on their way."""

import math
import os
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from posttrain.environment import prepare_environment

prepare_environment()

from posttrain.errors import UserError  # noqa: E402  (after the environment)
from posttrain.inference.engine_process import Answer, Job  # noqa: E402
from posttrain.inference.policies import SampledTokens  # noqa: E402
from posttrain.inference.weights_handover import Stamp, read_weights, write_weights  # noqa: E402
from posttrain.rl import AGAPOConfig  # noqa: E402
from posttrain.rl.lookahead import Lookahead, Schedule  # noqa: E402
from posttrain.rl.pending import Batch, read_pending, write_pending  # noqa: E402
from posttrain.rl.probe import Probe  # noqa: E402
from posttrain.rl.prompt_order import EpochOrder, prompts_of_batch  # noqa: E402
from posttrain.rl.rollout_checks import engine_at_work, require_age  # noqa: E402


def test_the_prompts_of_every_batch_are_known_before_the_trainer_reads_them() -> None:
    order = EpochOrder(range(11), mini_repeat_count=3, batch_size=2, repeat_count=4, seed=7)
    read = []
    for epoch in range(3):
        order.set_epoch(epoch)
        rows = list(order)
        read += [rows[start : start + 6] for start in range(0, len(rows), 6 * 4)]
    assert len(read) == 15
    assert [[row for row in prompts_of_batch(order, number) for _ in range(3)] for number in range(15)] == read


def test_weights_arrive_as_they_were_when_they_were_written() -> None:
    weights = {"half": torch.randn(3, 2).bfloat16(), "whole": torch.randn(5)}
    before = {name: weight.clone() for name, weight in weights.items()}
    descriptor, stamp = write_weights(weights.items(), version=4)
    weights["whole"].add_(1.0)  # the update that goes on meanwhile
    assert stamp.version == 4
    arrived = read_weights(descriptor, stamp)
    os.close(descriptor)
    assert arrived.keys() == before.keys()
    assert all(torch.equal(arrived[name], before[name]) for name in before)


def test_weights_that_are_not_those_of_their_stamp_are_refused() -> None:
    descriptor, stamp = write_weights({"a": torch.zeros(2)}.items(), version=4)
    with pytest.raises(RuntimeError, match="the weights of step 4 came with the fingerprint"):
        read_weights(descriptor, Stamp(4, "0" * 64))
    os.pwrite(descriptor, b"x", os.fstat(descriptor).st_size // 2)
    with pytest.raises(RuntimeError, match=f"they were sent with {stamp.fingerprint[:12]}"):
        read_weights(descriptor, stamp)
    os.close(descriptor)


def test_rollouts_come_back_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    logps = [-(2.0**-20), math.nan, -3.5]
    batches = [
        Batch(7, 5, [[1, 2], [3]], [SampledTokens([4, 5], logps[:2]), SampledTokens([6], logps[2:])], 1e-9, 1.5, 2.25),
        Batch(8, 6, [[9]], [SampledTokens([10], [-0.1])], math.nan, 3.0, 4.0),
    ]
    write_pending(tmp_path, batches)
    assert repr(read_pending(tmp_path)) == repr(batches)  # NaN is not equal to itself


def test_a_checkpoint_without_rollouts_has_none(tmp_path: Path) -> None:
    assert read_pending(tmp_path) == []


def test_the_probe_compares_the_completions_alone() -> None:
    probe = Probe(sequences=[[1, 2, 3, 4], [5, 6, 7]], logps=[[-1.0, -2.0], [-3.0]])
    assert probe.mismatch_kl([[-9.0, -1.0, -2.0], [-9.0, -3.0]]) == 0.0
    gap = 0.25  # of one token in three
    expected = (math.exp(gap) - gap - 1) / 3
    assert probe.mismatch_kl([[-9.0, -1.0 - gap, -2.0], [-9.0, -3.0]]) == pytest.approx(expected, rel=1e-5)


class Answers:
    """Stands where the engine's process would, and has one answer."""

    def __init__(self, stamp: Stamp) -> None:
        self.stamp = stamp

    def take(self) -> Answer:
        return Answer(self.stamp, [SampledTokens([5], [-1.0])] * 2, [], 0.0, 1.0)


def lookahead(engine: Answers, stamp: Stamp) -> Lookahead:
    """That has asked for batch 0: the prompt 7, twice."""
    made: Lookahead = object.__new__(Lookahead)
    made.accelerator, made.process = Accelerator(cpu=True), engine  # type: ignore[assignment]
    made._asked, made._ready = deque([(0, Job(stamp, [[7]], 2, (0,), []), None)]), deque()
    made._step, made._next = 0, 1
    made.schedule = Schedule(staleness=1, steps_per_batch=1, last_batch=0, prompts_of=lambda _: [[7]], seed=0)
    return made


def test_rollouts_with_other_weights_than_were_asked_for_are_refused() -> None:
    asked, other = Stamp(4, "a" * 64), Stamp(4, "b" * 64)
    assert lookahead(Answers(asked), asked)._receive().weights_version == 4
    with pytest.raises(RuntimeError, match=r"batch 0 was sampled with .*bbb.*, asked was for .*aaa"):
        lookahead(Answers(other), asked)._receive()


def test_rollouts_of_other_prompts_than_the_trainer_has_are_refused() -> None:
    stamp = Stamp(0, "a" * 64)
    with pytest.raises(RuntimeError, match="batch 0 has other prompts than those that were sampled ahead"):
        lookahead(Answers(stamp), stamp).generate([[7], [8]], None, 2)


def test_a_refusal_by_the_engine_stays_one_and_a_failure_names_the_step() -> None:
    with pytest.raises(UserError, match=r"^mend it$"), engine_at_work(3, None):
        raise UserError("mend it")
    with pytest.raises(RuntimeError, match=r"failed at step 3 \(OSError: gone\); no update"), engine_at_work(3, None):
        raise OSError("gone")


def test_rollouts_of_weights_that_are_older_than_allowed_are_refused() -> None:
    require_age(6, 4, most=2)
    with pytest.raises(RuntimeError, match=r"step 6 .* weights of step 3, 2 steps older at most were allowed"):
        require_age(6, 3, most=2)
    with pytest.raises(RuntimeError, match="weights of step 7"):  # of another run
        require_age(6, 7, most=2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"staleness": -1}, "staleness is -1"),
        ({"refill_max_extra_batches": 1}, "refill: what a batch lacks"),
        ({"use_vllm": True, "vllm_mode": "server"}, "vllm_mode: server"),
        ({"vllm_tensor_parallel_size": 2}, "vllm_tensor_parallel_size above 1"),
        ({"vllm_enable_sleep_mode": True}, "vllm_enable_sleep_mode"),
        ({"vllm_structured_outputs_regex": "[0-9]+"}, "vllm_structured_outputs_regex"),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 1}, "several batches of rollouts in one"),
        ({"eval_strategy": "steps", "eval_steps": 1}, "an eval_strategy"),
    ],
)
def test_what_cannot_be_sampled_ahead_is_refused_with_the_reason(settings: dict[str, Any], words: str) -> None:
    usual = {"staleness": 1, "per_device_train_batch_size": 8, "num_generations": 4}
    with pytest.raises(ValueError, match=words):
        AGAPOConfig(output_dir="unused", use_cpu=True, bf16=False, **{**usual, **settings})


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, 1),
        ({"steps_per_generation": 4, "gradient_accumulation_steps": 2}, 2),
        ({"steps_per_generation": 2, "num_iterations": 3}, 6),
        ({"steps_per_generation": 1, "gradient_accumulation_steps": 2}, 1),
    ],
)
def test_a_batch_of_rollouts_serves_as_many_steps_as_it_has_micro_batches_for(
    settings: dict[str, Any], steps: int
) -> None:
    usual = {"per_device_train_batch_size": 8, "num_generations": 4}
    assert AGAPOConfig(output_dir="unused", use_cpu=True, bf16=False, **usual, **settings).steps_per_batch == steps
