"""`AGAPOTrainer` on a tiny model: the gradient is the objective's, however the batch is cut."""

import inspect
import socket
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from trl import GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration

from posttrain.errors import UserError
from posttrain.objectives import agapo_advantages
from posttrain.rl import AGAPOConfig
from posttrain.rl.responses import Response
from posttrain.rl.sampled import Sampled

pytestmark = pytest.mark.slow
MakeTrainer = Callable[..., Any]


def weights(trainer: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def rollouts_of(trainer: Any) -> list[Response]:
    """One graded generation batch."""
    trainer.model.train()
    inputs = next(iter(trainer.get_train_dataloader()))
    torch.manual_seed(0)
    return trainer._roll_out(inputs)


def gradient(trainer: Any, micro_batches: list[list[Response]]) -> torch.Tensor:
    """Gradient of the loss, summed over micro-batches as the trainer's accumulation does."""
    trainer.model.zero_grad()
    for responses in micro_batches:
        batch = trainer._collate(responses)
        if trainer.beta:
            batch = replace(batch, ref_logps_BT=trainer._reference_logps(batch))
        trainer._compute_loss(trainer.model, batch).backward()
    return gathered_gradient(trainer)


def gathered_gradient(trainer: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


def log_prob(model: Any, response: Response) -> torch.Tensor:
    """Log-probability of the completion: one unpadded sequence, plain forward."""
    ids = torch.cat([response.prompt_ids, response.completion_ids])
    logits = model(ids[None]).logits[0, len(response.prompt_ids) - 1 : -1]
    return logits.log_softmax(-1).gather(1, response.completion_ids[:, None])[:, 0]


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_gradient_does_not_depend_on_how_the_batch_is_cut_or_ordered(
    make_trainer: MakeTrainer, beta: float
) -> None:
    trainer = make_trainer(beta=beta)
    responses = rollouts_of(trainer)
    assert any(response.is_live for response in responses)
    whole = gradient(trainer, [responses])
    assert whole.abs().max() > 0
    for size in (4, 1):
        cut = [responses[start : start + size] for start in range(0, 8, size)]
        torch.testing.assert_close(gradient(trainer, cut), whole, rtol=1e-4, atol=1e-7)
    shuffled = [responses[index] for index in (3, 7, 1, 0, 6, 2, 5, 4)]
    torch.testing.assert_close(gradient(trainer, [shuffled]), whole, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_gradient_of_a_training_step_does_not_depend_on_the_accumulation(
    make_trainer: MakeTrainer, steps: int
) -> None:
    trainer = make_trainer(per_device_train_batch_size=8 // steps, gradient_accumulation_steps=steps)
    responses = rollouts_of(trainer)
    trainer.model.zero_grad()
    batches = trainer._micro_batches(responses)
    assert len(batches) == steps
    assert batches[-1] is not None
    for batch in batches:
        trainer._compute_loss(trainer.model, batch).backward()
    got = gathered_gradient(trainer)
    torch.testing.assert_close(got, gradient(trainer, [responses]), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, 1),
        ({"length_treatment": "per_response_mean"}, 1),
        ({"steps_per_generation": 2, "per_device_train_batch_size": 4}, 2),  # each has half of the responses
    ],
)
def test_the_gradient_is_the_one_of_the_plain_formula(
    make_trainer: MakeTrainer, settings: dict[str, Any], steps: int
) -> None:
    trainer = make_trainer(all_wrong="literal", **settings)
    responses = rollouts_of(trainer)
    got = gradient(trainer, [responses])
    trainer.model.zero_grad()
    live = [response for response in responses if response.is_live]
    for response in live:  # -A * sum of log pi over the tokens
        length = len(response.completion_ids) if "length_treatment" in settings else trainer.max_completion_length
        loss = -response.advantage * log_prob(trainer.model, response).sum()
        (loss / (len(live) / steps) / length).backward()
    torch.testing.assert_close(got, gathered_gradient(trainer), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_each_token_weighs_as_the_capped_ratio_to_the_policy_that_sampled_it(
    make_trainer: MakeTrainer, level: str
) -> None:
    trainer = make_trainer(importance_cap=1.5, importance_level=level, max_mismatch_kl=100.0)
    responses, gaps = [], []
    for number, response in enumerate(rollouts_of(trainer)):
        own = log_prob(trainer.model, response).detach()
        gap = torch.linspace(-0.6, 0.5 if number % 2 else 1.0, len(own))  # whole responses below and above the cap
        responses.append(replace(response, sampling_logps=own - gap))
        gaps.append(gap if level == "token" else gap.sum().expand_as(gap))
    got = gradient(trainer, [responses])
    trainer.model.zero_grad()
    live = [(response, gap) for response, gap in zip(responses, gaps, strict=True) if response.is_live]
    for response, gap in live:
        loss = -response.advantage * (gap.exp().clamp(max=1.5) * log_prob(trainer.model, response)).sum()
        (loss / len(live) / trainer.max_completion_length).backward()
    torch.testing.assert_close(got, gathered_gradient(trainer), rtol=1e-3, atol=1e-6)


def test_a_dropped_group_moves_nothing(make_trainer: MakeTrainer) -> None:
    def first_group_is_right(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [1.0] * 4 + [1.0, 0.0, 0.0, 1.0]

    trainer = make_trainer(rewards=[first_group_is_right])
    responses = rollouts_of(trainer)
    assert [response.is_live for response in responses] == [False] * 4 + [True] * 4
    assert trainer._num_live_sequences == 4
    torch.testing.assert_close(gradient(trainer, [responses]), gradient(trainer, [responses[4:]]), rtol=1e-4, atol=1e-7)
    assert trainer._metrics["train"]["tokens/spared"] == [sum(len(r.completion_ids) for r in responses[:4])]


def test_micro_batches_that_are_not_needed_are_skipped(make_trainer: MakeTrainer) -> None:
    def first_group_is_right(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [1.0] * 4 + [1.0, 0.0, 0.0, 1.0]

    trainer = make_trainer(rewards=[first_group_is_right], per_device_train_batch_size=2, gradient_accumulation_steps=4)
    responses = rollouts_of(trainer)
    batches = trainer._micro_batches(responses)
    assert batches[:2] == [None, None]
    rows = [batch.input_ids.shape[0] for batch in batches[2:]]
    assert sum(rows) == 4
    trainer.model.zero_grad()
    for batch in batches:
        trainer._compute_loss(trainer.model, batch).backward()
    torch.testing.assert_close(gathered_gradient(trainer), gradient(trainer, [responses]), rtol=1e-4, atol=1e-7)


def test_a_dropped_group_gets_no_forward_pass(make_trainer: MakeTrainer) -> None:
    def first_group_is_right(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [1.0] * 4 + [1.0, 0.0, 0.0, 1.0]

    trainer = make_trainer(rewards=[first_group_is_right], beta=0.1)
    (batch,) = trainer._micro_batches(rollouts_of(trainer))
    assert batch.input_ids.shape[0] == 4
    assert batch.ref_logps_BT.shape == batch.mask_BT.shape


@pytest.mark.parametrize(("all_wrong", "advantage"), [("penalize", -0.25), ("literal", 0.0), ("drop", 0.0)])
def test_an_all_wrong_group_gets_what_is_asked(make_trainer: MakeTrainer, all_wrong: str, advantage: float) -> None:
    def first_group_is_wrong(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [0.0] * 4 + [1.0, 0.0, 0.0, 1.0]

    trainer = make_trainer(rewards=[first_group_is_wrong], all_wrong=all_wrong, all_wrong_penalty=0.25)
    responses = rollouts_of(trainer)
    assert [response.advantage for response in responses[:4]] == [advantage] * 4
    assert [response.is_live for response in responses[:4]] == [all_wrong != "drop"] * 4
    assert list(trainer._logs["advantages"]) == pytest.approx([response.advantage for response in responses])


def test_an_unscorable_sample_leaves_baseline_and_loss(make_trainer: MakeTrainer) -> None:
    def one_is_unknown(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [None, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]

    responses = rollouts_of(make_trainer(rewards=[one_is_unknown]))
    assert [response.is_live for response in responses] == [False] + [True] * 7
    rewards = torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    scorable = torch.tensor([[False, True, True, True], [True] * 4])
    expected = agapo_advantages(
        rewards, rewards > 0.5, scorable, all_wrong="penalize", all_wrong_penalty=0.1, all_correct="drop"
    )
    assert [response.advantage for response in responses] == pytest.approx(expected.advantages_NG.flatten().tolist())


def test_the_reward_is_the_weighted_sum_of_what_was_judged_less_the_kl(make_trainer: MakeTrainer) -> None:
    def solved(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [0.0] * len(completion_ids)

    def style(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [0.0] * len(completion_ids)

    def outcome(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [0.0] * len(completion_ids)

    options: dict[str, Any] = {"all_wrong": "literal", "all_correct": "keep", "all_wrong_penalty": 0.1}
    trainer = make_trainer(
        rewards=[solved, style, outcome],
        reward_weights=[1.0, 0.5, 0.0],
        outcome_reward="outcome",
        beta=0.25,
        kl_estimator="k1_in_reward",
        std_floor=2.0,  # above the standard deviation here
        **options,
    )
    rewards_and_kl = [
        ((1.0, 0.2, 1.0), 0.0, 1.1),
        ((0.0, nan, 1.0), 1.0, -0.25),
        ((nan, 0.8, 0.4), 2.0, -0.1),
        ((nan, nan, 1.0), 0.0, None),  # nothing that has a weight could judge it
        ((1.0, 1.0, nan), 0.0, None),  # nobody says whether it is right
        ((1.0, 0.4, 0.5), 0.4, 1.1),  # one half is right
        ((0.0, 0.0, 0.0), -4.0, 1.0),
        ((0.0, 1.0, 0.0), 0.0, 0.5),
        *[((1.0, style, 1.0), 0.0, 1.0 + 0.5 * style) for style in (0.0, 0.2, 0.4, 0.6)],
    ]
    rewards, kl, expected = zip(*rewards_and_kl, strict=True)
    result = trainer._advantages(Sampled([], torch.tensor(rewards), torch.tensor(kl)))
    by_hand = agapo_advantages(
        torch.tensor([value or 0.0 for value in expected]).view(3, 4),
        torch.tensor([[True, True, False, True], [False, True, False, False], [True] * 4]),
        torch.tensor([value is not None for value in expected]).view(3, 4),
        std_floor=2.0,
        **options,
    )
    assert torch.equal(result.types_N, by_hand.types_N)
    assert torch.equal(result.is_live_NG, by_hand.is_live_NG)
    torch.testing.assert_close(result.advantages_NG, by_hand.advantages_NG)


def test_group_types_come_from_the_outcome_and_not_from_a_shaped_reward(make_trainer: MakeTrainer) -> None:
    def outcome(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [0.0] * 8

    def bonus(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [0.1 * (index % 2) for index in range(8)]

    trainer = make_trainer(rewards=[outcome, bonus], outcome_reward="outcome", all_wrong="drop")
    assert not any(response.is_live for response in rollouts_of(trainer))


def test_a_truncated_response_that_upstream_masks_takes_no_part(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(mask_truncated_completions=True, num_prompts=64)
    responses = rollouts_of(trainer)
    masked = [response for response in responses if not len(response.completion_ids)]
    assert masked
    assert not any(response.is_live for response in masked)
    assert gradient(trainer, [responses]).isfinite().all()


def test_a_batch_of_dropped_groups_updates_nothing_and_does_not_fail(make_trainer: MakeTrainer) -> None:
    def all_right(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [1.0] * len(completion_ids)

    trainer = make_trainer(rewards=[all_right], weight_decay=0.0)
    before = weights(trainer)
    trainer.train()
    assert torch.equal(weights(trainer), before)
    assert trainer.state.log_history[0]["groups/all_correct"] == 1.0


def perturb(trainer: Any) -> None:
    """Move the policy away from its reference."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("estimator", ["k3", "k2"])
def test_the_kl_to_the_reference_is_summed_over_a_response(make_trainer: MakeTrainer, estimator: str) -> None:
    trainer = make_trainer(beta=0.5, kl_estimator=estimator)
    perturb(trainer)
    responses = rollouts_of(trainer)
    gradient(trainer, [responses])
    expected = []
    for response in (response for response in responses if response.is_live):
        with torch.no_grad():
            gap = log_prob(trainer.ref_model, response) - log_prob(trainer.model, response)
        expected.append((gap.exp() - gap - 1 if estimator == "k3" else gap.square() / 2).sum())
    assert torch.stack(expected).mean() > 1e-3
    assert trainer._metrics["train"]["kl"][-1] == pytest.approx(torch.stack(expected).mean().item(), rel=1e-3)
    tokens = sum(len(response.completion_ids) for response in responses if response.is_live)
    per_token = torch.stack(expected).sum().item() / tokens
    assert trainer._metrics["train"]["kl_per_token"][-1] == pytest.approx(per_token, rel=1e-3)


def test_without_kl_there_is_no_reference_model(make_trainer: MakeTrainer) -> None:
    assert make_trainer(beta=0.0).ref_model is None
    assert make_trainer(beta=0.1).ref_model is not None


def test_an_adapter_is_trained_against_the_model_below_it(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(beta=0.5, max_steps=2, peft_config=LoraConfig(r=4, target_modules="all-linear"))
    frozen = [parameter.clone() for parameter in trainer.model.parameters() if not parameter.requires_grad]
    trainer.train()
    assert trainer.ref_model is None
    first, second = (log["kl"] for log in trainer.state.log_history if "kl" in log)
    assert first == pytest.approx(0.0, abs=1e-6)  # the adapter starts as the identity
    assert second > 1e-6
    after = [parameter for parameter in trainer.model.parameters() if not parameter.requires_grad]
    assert all(torch.equal(was, now) for was, now in zip(frozen, after, strict=True))


def test_k1_in_the_reward_lowers_it_by_the_log_ratio(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(beta=0.5, kl_estimator="k1_in_reward", all_wrong="literal", all_correct="keep")
    perturb(trainer)
    responses = rollouts_of(trainer)
    with torch.no_grad():
        kl = torch.stack([(log_prob(trainer.model, r) - log_prob(trainer.ref_model, r)).sum() for r in responses]).view(
            2, 4
        )
    outcomes = trainer._rewards_of_all[:, 0].view(2, 4)
    expected = agapo_advantages(
        outcomes - 0.5 * kl,
        outcomes > 0.5,
        torch.ones(2, 4, dtype=torch.bool),
        all_wrong="literal",
        all_wrong_penalty=0.1,
        all_correct="keep",
    )
    got = torch.tensor([response.advantage for response in responses]).view(2, 4)
    torch.testing.assert_close(got, expected.advantages_NG, rtol=1e-3, atol=1e-4)
    (batch,) = trainer._micro_batches(responses)
    assert batch.ref_logps_BT is None  # the loss has no second KL


def test_too_few_groups_with_signal_are_refilled_from_other_prompts(make_trainer: MakeTrainer) -> None:
    calls = []

    def only_the_second_batch_has_signal(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        calls.append(len(completion_ids))
        return [1.0] * 8 if len(calls) == 1 else [1.0, 0.0, 0.0, 1.0] * 2

    trainer = make_trainer(rewards=[only_the_second_batch_has_signal], refill_max_extra_batches=3)
    responses = rollouts_of(trainer)
    assert calls == [8, 8]
    assert [response.is_live for response in responses] == [False] * 8 + [True] * 8
    assert trainer._num_live_sequences == 8
    assert trainer._metrics["train"]["rollout/generations"] == [2]
    assert trainer._metrics["train"]["groups/all_correct"] == [0.5]


def test_a_refilled_batch_has_no_more_groups_than_asked(make_trainer: MakeTrainer) -> None:
    calls = []

    def first_half_then_all(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        calls.append(1)
        return [1.0] * 4 + [1.0, 0.0, 0.0, 1.0] if len(calls) == 1 else [1.0, 0.0, 0.0, 1.0] * 2

    trainer = make_trainer(rewards=[first_half_then_all], refill_max_extra_batches=1, refill_below=1.0)
    responses = rollouts_of(trainer)
    assert [response.is_live for response in responses] == [False] * 4 + [True] * 8 + [False] * 4


def test_a_refill_that_finds_nothing_warns_and_goes_on(make_trainer: MakeTrainer) -> None:
    def all_right(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [1.0] * len(completion_ids)

    trainer = make_trainer(rewards=[all_right], refill_max_extra_batches=2)
    with pytest.warns(UserWarning, match=r"0% of a batch of groups carry signal after 2 extra batches"):
        responses = rollouts_of(trainer)
    assert len(responses) == 24


def test_several_optimizer_steps_per_batch_carry_the_ratio_to_the_sampling_policy(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(steps_per_generation=2, per_device_train_batch_size=4, num_iterations=2, max_steps=4)
    trainer.train()
    ratios = [log["rollout/importance_weight_max"] for log in trainer.state.log_history if "loss" in log]
    assert ratios[0] == pytest.approx(1.0, abs=1e-4)  # still the policy that sampled
    assert max(ratios[1:]) > 1.0001
    assert max(ratios) <= 2.0


@pytest.mark.fault(10, "no verdict for any response", stage="rl")
def test_a_batch_that_nobody_can_judge_ends_the_run(make_trainer: MakeTrainer) -> None:
    def unknown(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [None] * len(completion_ids)

    trainer = make_trainer(rewards=[unknown])
    with pytest.raises(UserError, match=r"none of the 8 responses of step 0 could be judged by any reward \(unknown\)"):
        trainer.train()


def test_an_alarm_reaches_the_trackers(make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    trainer = make_trainer(beta=0.1, alarm_kl=1e-9, max_steps=2, report_to=["tensorboard"])
    with pytest.warns(UserWarning, match="KL to the reference"):
        trainer.train()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [event.step for event in events.Scalars("train/alarm/kl")] == [2]


def test_a_server_that_is_not_there_is_named(make_trainer: MakeTrainer) -> None:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    with pytest.raises(UserError, match=rf"vllm_mode is 'server', but .*{port}.* start one"):
        make_trainer(use_vllm=True, vllm_mode="server", vllm_server_port=port, vllm_server_timeout=1.0)


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
        (GRPOTrainer, "_prepare_inputs", ["self", "generation_batch"]),
        (GRPOTrainer, "_get_train_sampler", ["self", "dataset"]),
        (GRPOTrainer, "training_step", ["self", "model", "inputs", "num_items_in_batch"]),
        (GRPOTrainer, "_compute_loss", ["self", "model", "inputs"]),
        (GRPOTrainer, "_save_optimizer_and_scheduler", ["self", "output_dir"]),
        (GRPOTrainer, "_load_optimizer_and_scheduler", ["self", "checkpoint"]),
        (VLLMGeneration, "_init_vllm", ["self"]),
        (VLLMGeneration, "generate", ["self", "prompts", "images", "num_generations", "profiler"]),
        (VLLMGeneration, "sync_weights", ["self"]),
        (VLLMGeneration, "_iter_named_params", ["self"]),
    ],
)
def test_the_upstream_hooks_are_still_there(owner: type, hook: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, hook)).parameters) == parameters


def test_upstream_still_hands_over_what_we_unpad(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    trainer.model.train()
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    assert {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask"} <= set(batch)


def test_the_head_sees_trained_positions_alone_and_gives_the_models_own_log_probabilities(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer()
    responses = rollouts_of(trainer)
    batch = trainer._collate(responses)
    seen: list[tuple[int, ...]] = []
    hook = trainer.model.base_model.register_forward_hook(
        lambda _module, _args, output: seen.append(tuple(output.last_hidden_state.shape))
    )
    logps, entropies = trainer._policy_scorer.score(trainer.model, batch)
    hook.remove()
    assert seen == [(1, int(batch.mask_BT.sum()), trainer.model.config.hidden_size)]
    for row, response in enumerate(responses):
        length = len(response.completion_ids)
        torch.testing.assert_close(logps[row, :length], log_prob(trainer.model, response), rtol=1e-4, atol=1e-5)
        assert not logps[row, length:].any()
    assert (entropies[batch.mask_BT] > 0).all()


def test_epochs_are_shuffled_differently_and_an_epoch_alone_gives_its_own_order(make_trainer: MakeTrainer) -> None:
    def order(epoch: int) -> list[int]:
        sampler = make_trainer()._get_train_sampler()
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0) != order(1)
    assert order(1) == order(1)
    upstream = GRPOTrainer._get_train_sampler(make_trainer())
    assert order(0) == list(upstream)


def test_a_checkpoint_waits_until_its_rollouts_are_used_up(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(
        steps_per_generation=2, per_device_train_batch_size=4, max_steps=6, save_strategy="steps", save_steps=3
    )
    trainer.train()
    saved = sorted(path.name for path in (tmp_path / "trainer").glob("checkpoint-*"))
    assert saved == ["checkpoint-4", "checkpoint-6"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"refill_below": 0.0}, "refill_below 0.0"),
        ({"refill_max_extra_batches": -1}, "refill_max_extra_batches is -1"),
        ({"steps_per_generation": 3, "gradient_accumulation_steps": 2}, "one must be a multiple of the other"),
        ({"max_mismatch_kl": 0.0}, "max_mismatch_kl is 0.0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AGAPOConfig(
            output_dir="unused", use_cpu=True, bf16=False, per_device_train_batch_size=8, num_generations=4, **settings
        )
