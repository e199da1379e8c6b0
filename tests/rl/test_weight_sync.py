"""Engine and trainer must be the same policy after every update, on this machine's real vLLM."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from posttrain.environment import prepare_environment

prepare_environment()

from posttrain.inference import vllm_weights  # noqa: E402  (after the environment)
from posttrain.rl.responses import Response  # noqa: E402

pytestmark = pytest.mark.slow


def roll_out(trainer: Any, long_prompts: bool = False) -> list[Response]:
    """Fresh responses; long prompts fill several blocks of the engine's cache, which shares whole blocks alone."""
    trainer.model.train()
    inputs = next(iter(trainer.get_train_dataloader()))
    if long_prompts:
        inputs = [{**row, "prompt": row["prompt"] * 3} for row in inputs]
    return trainer._roll_out(inputs)


def mismatch(trainer: Any, responses: list[Response]) -> float:
    """Mean absolute difference of the log-probabilities of sampled tokens, engine against trainer."""
    batch = trainer._collate(responses)
    with torch.no_grad():
        logps, _ = trainer._policy_scorer.score(trainer.model, batch)
    return (logps - batch.sampling_logps_BT)[batch.mask_BT].abs().mean().item()


def update(trainer: Any, responses: list[Response]) -> None:
    """What the trainer does with fresh responses, the gate included."""
    live = [replace(response, advantage=1.0, is_live=True) for response in responses]
    trainer._compute_loss(trainer.model, trainer._collate(live))


def perturb(trainer: Any, seed: int) -> None:
    """An update that moves every parameter, head and embedding included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_((0.3 * parameter.float().std().nan_to_num() * noise).to(parameter.dtype))
    trainer.state.global_step += 1  # what makes the trainer push its weights before it samples again


def test_training_with_the_engine_logs_rollouts_in_sync(synced_trainer: Any) -> None:
    synced_trainer.train()
    steps = [log for log in synced_trainer.state.log_history if "loss" in log]
    assert len(steps) == 3
    assert all(log["rollout/weights_in_sync"] == 1.0 for log in steps)
    assert max(log["rollout/mismatch_kl"] for log in steps) < 1e-3
    assert all(0.99 < log["rollout/ess"] <= 1.0 for log in steps)


def test_after_an_update_engine_and_trainer_agree_on_every_token(synced_trainer: Any) -> None:
    for seed in (1, 2):
        perturb(synced_trainer, seed)
        responses = roll_out(synced_trainer)
        assert mismatch(synced_trainer, responses) < 0.02
        update(synced_trainer, responses)
        assert synced_trainer.vllm_generation.weights_version == synced_trainer.state.global_step


def test_responses_follow_from_seed_step_and_place_alone(synced_trainer: Any) -> None:
    def tokens(responses: list[Response]) -> list[list[int]]:
        return [response.completion_ids.tolist() for response in responses]

    first = tokens(roll_out(synced_trainer))
    torch.manual_seed(99)
    assert tokens(roll_out(synced_trainer)) == first
    assert len({tuple(ids) for ids in first[:4]}) > 1  # of one prompt
    synced_trainer.args.seed += 1
    assert tokens(roll_out(synced_trainer)) != first
    synced_trainer.args.seed -= 1


def test_a_skipped_sync_stops_the_run_and_names_the_cause(synced_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    perturb(synced_trainer, seed=3)
    with monkeypatch.context() as patch:
        patch.setattr(synced_trainer.vllm_generation, "sync_weights", lambda: None)
        with pytest.raises(RuntimeError, match=r"rollouts of step \d+ were sampled with the weights of step \d+"):
            roll_out(synced_trainer)
    synced_trainer._last_loaded_step = -1


def test_a_stale_head_stops_the_run(synced_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    perturb(synced_trainer, seed=4)
    with monkeypatch.context() as patch:
        patch.setattr(vllm_weights, "_repack_vocabulary", lambda model: None)
        responses = roll_out(synced_trainer)
    assert mismatch(synced_trainer, responses) > 0.1
    with pytest.raises(RuntimeError, match="engine's weights are stale"):
        update(synced_trainer, responses)
    synced_trainer._last_loaded_step = -1


def test_a_prefix_cache_that_outlives_its_weights_stops_the_run(
    synced_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    roll_out(synced_trainer, long_prompts=True)
    perturb(synced_trainer, seed=5)
    with monkeypatch.context() as patch:
        patch.setattr(synced_trainer.vllm_generation.llm, "reset_prefix_cache", lambda: None)
        responses = roll_out(synced_trainer, long_prompts=True)
    with pytest.raises(RuntimeError, match="engine's weights are stale"):
        update(synced_trainer, responses)
    synced_trainer._last_loaded_step = -1
    responses = roll_out(synced_trainer, long_prompts=True)  # with the cache emptied all is well
    update(synced_trainer, responses)


def test_an_engine_that_fails_is_named_with_the_step(synced_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = synced_trainer.vllm_generation.llm.llm_engine.model_executor.driver_worker.model_runner
    monkeypatch.setattr(runner, "input_batch", None)
    with pytest.raises(RuntimeError, match=r"the rollout engine failed at step \d+ \(.*--resume") as failure:
        synced_trainer._generate_single_turn([[5, 6, 7]], None, {})
    assert failure.value.__cause__ is not None
