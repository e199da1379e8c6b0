"""`AGAPOTrainer` on a tiny model: the gradient is the objective's, however the batch is cut."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from trl import GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration

from posttrain.errors import UserError
from posttrain.objectives import agapo_advantages
from posttrain.rl import AGAPOConfig

pytestmark = pytest.mark.slow
MakeTrainer = Callable[..., Any]


def weights(trainer: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def batch_of(trainer: Any) -> dict[str, Any]:
    """One graded generation batch."""
    trainer.model.train()
    inputs = next(iter(trainer.get_train_dataloader()))
    torch.manual_seed(0)
    return trainer._generate_and_score_completions(inputs)


def gradient(trainer: Any, batch: dict[str, Any], cuts: list[slice]) -> torch.Tensor:
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = len(cuts)
    for cut in cuts:
        part = {key: value[cut] if value.dim() else value for key, value in batch.items()}
        trainer._compute_loss(trainer.model, part).backward()
    grads = [parameter.grad for parameter in trainer.model.parameters() if parameter.grad is not None]
    return torch.cat([grad.flatten() for grad in grads])


def test_the_gradient_does_not_depend_on_how_the_batch_is_cut_or_ordered(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    batch = batch_of(trainer)
    assert batch["is_live"].any()
    whole = gradient(trainer, batch, [slice(0, 8)])
    assert whole.abs().max() > 0
    for cuts in ([slice(0, 4), slice(4, 8)], [slice(index, index + 1) for index in range(8)]):
        torch.testing.assert_close(gradient(trainer, batch, cuts), whole, rtol=1e-4, atol=1e-7)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    shuffled = {key: value[order] if value.dim() else value for key, value in batch.items()}
    torch.testing.assert_close(gradient(trainer, shuffled, [slice(0, 8)]), whole, rtol=1e-4, atol=1e-7)


def test_the_gradient_is_the_one_of_the_plain_formula(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(all_wrong="literal")
    batch = batch_of(trainer)
    got = gradient(trainer, batch, [slice(0, 8)])
    trainer.model.zero_grad()
    live = batch["is_live"].nonzero().flatten().tolist()
    for row in live:  # -A * sum of log pi over the tokens, one unpadded sequence at a time
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        completion = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        logits = trainer.model(torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1 : -1]
        log_prob = logits.log_softmax(-1).gather(1, completion[:, None]).sum()
        (-batch["advantages"][row] * log_prob / len(live) / trainer.max_completion_length).backward()
    expected = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)


def test_a_dropped_group_moves_nothing(make_trainer: MakeTrainer) -> None:
    def first_group_is_right(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [1.0] * 4 + [1.0, 0.0, 0.0, 1.0]

    trainer = make_trainer(rewards=[first_group_is_right])
    batch = batch_of(trainer)
    assert batch["is_live"].tolist() == [False] * 4 + [True] * 4
    assert batch["num_live_sequences"].item() == 4
    alone = {key: value[4:] if value.dim() else value for key, value in batch.items()}
    torch.testing.assert_close(
        gradient(trainer, batch, [slice(0, 8)]), gradient(trainer, alone, [slice(0, 4)]), rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize(("all_wrong", "advantage"), [("penalize", -0.25), ("literal", 0.0), ("drop", 0.0)])
def test_an_all_wrong_group_gets_what_is_asked(make_trainer: MakeTrainer, all_wrong: str, advantage: float) -> None:
    def first_group_is_wrong(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [0.0] * 4 + [1.0, 0.0, 0.0, 1.0]

    trainer = make_trainer(rewards=[first_group_is_wrong], all_wrong=all_wrong, all_wrong_penalty=0.25)
    batch = batch_of(trainer)
    assert batch["advantages"][:4].tolist() == [advantage] * 4
    assert batch["is_live"][:4].tolist() == [all_wrong != "drop"] * 4
    assert list(trainer._logs["advantages"]) == pytest.approx(batch["advantages"].tolist())


def test_an_unscorable_sample_leaves_baseline_and_loss(make_trainer: MakeTrainer) -> None:
    def one_is_unknown(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [None, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]

    trainer = make_trainer(rewards=[one_is_unknown])
    batch = batch_of(trainer)
    assert batch["is_live"].tolist() == [False] + [True] * 7
    rewards = torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    scorable = torch.tensor([[False, True, True, True], [True] * 4])
    expected = agapo_advantages(
        rewards, rewards > 0.5, scorable, all_wrong="penalize", all_wrong_penalty=0.1, all_correct="drop"
    )
    torch.testing.assert_close(batch["advantages"], expected.advantages_NG.flatten())


def test_group_types_come_from_the_outcome_and_not_from_a_shaped_reward(make_trainer: MakeTrainer) -> None:
    def outcome(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [0.0] * 8

    def bonus(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [0.1 * (index % 2) for index in range(8)]

    trainer = make_trainer(rewards=[outcome, bonus], outcome_reward="outcome", all_wrong="drop")
    assert not batch_of(trainer)["is_live"].any()


def test_a_batch_of_dropped_groups_updates_nothing_and_does_not_fail(make_trainer: MakeTrainer) -> None:
    def all_right(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [1.0] * len(completion_ids)

    trainer = make_trainer(rewards=[all_right], weight_decay=0.0)
    before = weights(trainer)
    trainer.train()
    assert torch.equal(weights(trainer), before)
    assert trainer.state.log_history[0]["groups/all_correct"] == 1.0


def test_the_kl_to_the_reference_is_summed_over_a_response(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(beta=0.5)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    batch = batch_of(trainer)
    gradient(trainer, batch, [slice(0, 8)])
    live = batch["is_live"]
    logps, _, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model,
        torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
        torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
        batch["completion_ids"].shape[1],
    )
    gap = (batch["ref_per_token_logps"] - logps) * batch["completion_mask"]
    expected = ((gap.exp() - gap - 1) * batch["completion_mask"]).sum(dim=1)[live].mean().item()
    assert expected > 1e-3
    assert trainer._metrics["train"]["kl"][-1] == pytest.approx(expected, rel=1e-3)


def test_several_optimizer_steps_per_batch_carry_the_ratio_to_the_sampling_policy(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(steps_per_generation=2, per_device_train_batch_size=4, num_iterations=2, max_steps=4)
    trainer.train()
    ratios = [log["rollout/importance_weight_max"] for log in trainer.state.log_history if "loss" in log]
    assert ratios[0] == pytest.approx(1.0, abs=1e-4)  # still the policy that sampled
    assert max(ratios[1:]) > 1.0001
    assert max(ratios) <= 2.0


def test_an_unknown_outcome_reward_is_refused_by_name(make_trainer: MakeTrainer) -> None:
    with pytest.raises(UserError, match=r"outcome_reward is 'accuracy'.*a_number_of_tokens_is_even"):
        make_trainer(outcome_reward="accuracy")


def test_a_second_correction_of_the_same_mismatch_is_refused() -> None:
    with pytest.raises(ValueError, match="correct twice"):
        AGAPOConfig(output_dir="unused", use_cpu=True, bf16=False, vllm_importance_sampling_correction=True)


@pytest.mark.parametrize(
    ("owner", "hook", "parameters"),
    [
        (GRPOTrainer, "_tokenize_prompts", ["self", "prompts"]),
        (GRPOTrainer, "_calculate_rewards", ["self", "inputs", "prompts", "completions", "completion_ids_list"]),
        (GRPOTrainer, "_generate_and_score_completions", ["self", "inputs"]),
        (GRPOTrainer, "_compute_loss", ["self", "model", "inputs"]),
        (VLLMGeneration, "_init_vllm", ["self"]),
        (VLLMGeneration, "sync_weights", ["self"]),
        (VLLMGeneration, "_iter_named_params", ["self"]),
    ],
)
def test_the_upstream_hooks_are_still_there(owner: type, hook: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, hook)).parameters) == parameters


def test_the_upstream_batch_still_has_the_keys_we_read(make_trainer: MakeTrainer) -> None:
    keys = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "is_live"}
    assert keys <= set(batch_of(make_trainer()))
