"""Engine and trainer must be the same policy after every update, on this machine's real vLLM."""

from typing import Any

import pytest
import torch

from posttrain.environment import prepare_environment

prepare_environment()
pytestmark = pytest.mark.slow


def mismatch(trainer: Any) -> float:
    """Mean absolute difference of the log-probabilities of freshly sampled tokens, engine against trainer."""
    trainer.model.train()
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    with torch.no_grad():
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
            batch["completion_ids"].shape[1],
        )
    mask = batch["completion_mask"].bool()
    return (logps - batch["sampling_per_token_logps"])[mask].abs().mean().item()


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


def test_after_an_update_engine_and_trainer_agree_on_every_token(synced_trainer: Any) -> None:
    perturb(synced_trainer, seed=1)
    assert mismatch(synced_trainer) < 0.02
    perturb(synced_trainer, seed=2)
    assert mismatch(synced_trainer) < 0.02


def test_a_skipped_sync_stops_the_run_and_names_the_cause(synced_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    perturb(synced_trainer, seed=3)
    monkeypatch.setattr(synced_trainer.vllm_generation, "sync_weights", lambda: None)
    assert mismatch(synced_trainer) > 0.1
    batch = synced_trainer._generate_and_score_completions(next(iter(synced_trainer.get_train_dataloader())))
    with pytest.raises(RuntimeError, match="engine's weights are stale"):
        synced_trainer._compute_loss(synced_trainer.model, batch)
    synced_trainer._last_loaded_step = -1
