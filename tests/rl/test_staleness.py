"""Rollouts sampled ahead by a real engine in a process of its own, while the trainer updates."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from posttrain.environment import prepare_environment

prepare_environment()

from posttrain.errors import UserError  # noqa: E402  (after the environment)
from posttrain.inference.engine_process import EngineProcess  # noqa: E402
from posttrain.inference.weights_handover import write_weights  # noqa: E402
from posttrain.rl import lookahead  # noqa: E402
from posttrain.rl.lookahead import Lookahead  # noqa: E402
from posttrain.rl.sampled import Rollouts  # noqa: E402
from posttrain.rl.synced_vllm import SyncedVLLM  # noqa: E402
from tests.rl.conftest import a_number_of_tokens_is_even, build_trainer  # noqa: E402

pytestmark = pytest.mark.slow


def weights(trainer: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def steps_of(trainer: Any) -> list[dict[str, float]]:
    return [log for log in trainer.state.log_history if "loss" in log]


class Watched:
    """A trainer that has trained, with what was seen of every batch before its update."""

    def __init__(self, model_folder: Path, output: Path, **settings: Any) -> None:
        self.versions: list[tuple[int, int]] = []
        self.under_way: list[list[int]] = []  # batches that the engine was at while these were graded
        self.trainer = build_trainer(model_folder, output, rewards=[self.reward], num_prompts=6, **settings)
        self.trainer._on_rollouts = self.note
        self.trainer.train()

    def reward(self, completion_ids: list[list[int]], **words: Any) -> list[float | None]:
        self.under_way.append([number for number, *_ in self.trainer.vllm_generation._asked])
        return a_number_of_tokens_is_even(completion_ids, **words)

    def note(self, rollouts: Rollouts) -> None:
        self.versions.append((rollouts.step, rollouts.weights_version))


@pytest.fixture(scope="module")
def ahead(tied_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Seven batches, three an epoch, of a tied model, each sampled with the weights before the last update.

    The temperature is not 1, as which both sides score the probe.
    """
    output = tmp_path_factory.mktemp("ahead")
    watched = Watched(tied_model_folder, output, staleness=1, max_steps=7, weight_decay=0.0, temperature=0.9)
    yield watched
    watched.trainer.vllm_generation.close()


def test_every_batch_is_sampled_with_the_weights_before_the_last_update(ahead: Watched) -> None:
    assert ahead.versions == [(0, 0), *((step, step - 1) for step in range(1, 7))]
    assert [log["rollout/staleness"] for log in steps_of(ahead.trainer)] == [0.0] + [1.0] * 6


def test_the_engine_is_at_the_next_batch_while_this_one_is_graded_and_trained(ahead: Watched) -> None:
    assert ahead.under_way == [[1], [2], [3], [4], [5], [6], []]


def test_the_engine_is_the_trainers_policy_at_every_version_and_the_lag_is_told_apart(ahead: Watched) -> None:
    steps = steps_of(ahead.trainer)
    probed = [log for log in steps if "rollout/mismatch_kl" in log]
    assert [log["step"] for log in probed] == [1, 3, 4, 5, 6, 7]  # batch 1 has the weights of batch 0
    assert all(log["rollout/weights_in_sync"] == 1.0 for log in probed)
    assert max(log["rollout/mismatch_kl"] for log in probed) < 1e-9
    assert max(log.get("rollout/lag_kl", 0.0) for log in steps) > 1e-4  # the probe is of the same weights, this is not


def test_what_an_older_policy_sampled_is_weighted_by_the_truncated_ratio(ahead: Watched) -> None:
    lagging = [log for log in steps_of(ahead.trainer) if "rollout/lag_kl" in log]
    assert lagging
    assert all(1.0 < log["rollout/importance_weight_max"] <= 2.0 for log in lagging)
    assert all(log["rollout/ess"] < 1.0 for log in lagging)


@pytest.mark.fault(16, "kill -9 of the engine that samples ahead", stage="rl")
def test_a_killed_engine_is_named_with_the_step(ahead: Watched) -> None:
    trainer = ahead.trainer
    os.kill(trainer.vllm_generation.process.pid, signal.SIGKILL)
    trainer.args.max_steps = 9
    with pytest.raises(RuntimeError, match=r"failed at step 0 \(.*its process has ended by SIGKILL.*--resume"):
        trainer.train()


def test_two_batches_ahead_with_two_updates_each(tied_model_folder: Path, tmp_path: Path) -> None:
    settings = {"per_device_train_batch_size": 4, "steps_per_generation": 2, "max_steps": 9}
    watched = Watched(tied_model_folder, tmp_path, staleness=2, **settings)
    watched.trainer.vllm_generation.close()
    assert watched.versions == [(0, 0), (2, 0), (4, 0), (6, 2), (8, 4)]
    assert watched.under_way == [[1, 2], [2, 3], [3, 4], [4], []]


def test_an_engine_with_other_weights_than_the_trainers_stops_the_run(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_others(named_weights: Any, version: int) -> Any:
        factor = 1.5 if version == 1 else 1.0
        return write_weights(((name, factor * weight) for name, weight in named_weights), version)

    monkeypatch.setattr(lookahead, "write_weights", write_others)
    trainer = build_trainer(model_folder, tmp_path, staleness=1, max_steps=4)
    with pytest.raises(RuntimeError, match=r"disagree at step 2: .* engine's weights are stale"):
        trainer.train()
    trainer.vllm_generation.close()
    assert trainer.state.global_step == 2


def test_a_sampler_without_log_probabilities_is_refused(model_folder: Path, tmp_path: Path) -> None:
    trainer = build_trainer(model_folder, tmp_path, staleness=1, top_p=0.9)
    engine: EngineProcess = trainer.vllm_generation.process
    with pytest.raises(UserError, match="no log-probabilities under top_p; take engine: vllm"):
        trainer.train()
    engine._connection.close()  # as the end of our process does
    assert engine._process.wait(timeout=120) == 0


def test_under_weights_that_stand_still_vllm_gives_the_rollouts_of_a_synchronous_run(
    model_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("vllm")
    seen: dict[int, list[list[list[int]]]] = {0: [], 1: []}
    for staleness, batches in seen.items():

        def reward(completion_ids: list[list[int]], kept: list[Any] = batches, **words: Any) -> list[float | None]:
            kept.append(completion_ids)
            return a_number_of_tokens_is_even(completion_ids, **words)

        settings = {"use_vllm": True, "learning_rate": 0.0, "weight_decay": 0.0, "max_steps": 3, "num_prompts": 4}
        trainer = build_trainer(model_folder, tmp_path, rewards=[reward], staleness=staleness, **settings)
        trainer.train()
        assert isinstance(trainer.vllm_generation, Lookahead if staleness else SyncedVLLM)
    trainer.vllm_generation.close()
    assert len(seen[0]) == 3
    assert seen[0] == seen[1]
    assert steps_of(trainer)[2]["rollout/mismatch_kl"] < 1e-9  # vLLM's prompt scores against the trainer's
