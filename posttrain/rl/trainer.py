"""`AGAPOTrainer`: TRL's GRPO trainer with AGAPO's advantages, objective and update."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer
from trl.trainer import grpo_trainer
from trl.trainer.utils import use_adapter

from posttrain.errors import UserError
from posttrain.guards import GuardedTrainer
from posttrain.models.reference import placed_reference
from posttrain.objectives import (
    AgapoAdvantages,
    GroupType,
    agapo_advantages,
    agapo_loss,
    kl_k1,
    sequence_kl,
    truncated_importance_weights,
)
from posttrain.placement import PlacedTrainer
from posttrain.rl.alarms import PolicyAlarms
from posttrain.rl.backend import generation_backend
from posttrain.rl.checkpoints import SaveBetweenRollouts
from posttrain.rl.config import AGAPOConfig
from posttrain.rl.metrics import UpdateFigures, UpdateSums, group_figures, token_figures
from posttrain.rl.prompt_order import EpochOrder, extra_prompts
from posttrain.rl.proven_rollouts import ProvenRollouts
from posttrain.rl.responses import MicroBatch, Response, collate, parts_needed, split_by_length, unpadded
from posttrain.rl.sampled import Rollouts, Sampled, has_signal, without_surplus
from posttrain.rl.scoring import CompletionScorer
from posttrain.saving import WholeCheckpoints


class AGAPOTrainer(PlacedTrainer, GuardedTrainer, WholeCheckpoints, ProvenRollouts, GRPOTrainer):
    """Asymmetric sampling and global advantage policy optimisation (paper section 2.4.2).

    Takes what `GRPOTrainer` takes, with an `AGAPOConfig`; prompts are rendered text. The objective has no clip; dropped
    groups and unscorable samples take no part in any term or denominator and get no forward pass. The update sees
    responses without padding, sorted by length; the head sees the trained tokens alone.

    Overridden upstream hooks: `_get_train_sampler` and `_run_epoch` (an order of its own for every epoch),
    `_tokenize_prompts` (rendered prompts already hold every special token), `_calculate_rewards` (keeps the rewards of
    all processes), `_prepare_inputs` (refill, advantages, micro-batches), `_compute_loss` (the objective),
    `training_step` (its time), those of `PlacedTrainer`, `GuardedTrainer`, `WholeCheckpoints` and `ProvenRollouts`, the
    class of the vLLM backend, and how the reference model is placed.

    Attributes:
        order: of the prompts, as the trainer reads them; None: they come as a stream.
    """

    _name = "AGAPO"
    args: AGAPOConfig
    beta: float
    order: EpochOrder | None = None
    _buffered_inputs: Any

    def __init__(self, *args: Any, on_rollouts: Callable[[Rollouts], None] | None = None, **kwargs: Any) -> None:
        with generation_backend(kwargs["args"]), placed_reference(grpo_trainer):
            super().__init__(*args, **kwargs)
        self._on_rollouts = on_rollouts
        self._outcome_index = self._find_outcome(self.args.outcome_reward)
        self._policy_scorer = CompletionScorer(self.accelerator.unwrap_model(self.model))
        self._reference_scorer = self._policy_scorer
        if self.ref_model is not None:
            self._reference_scorer = CompletionScorer(self.accelerator.unwrap_model(self.ref_model))
        self._rewards_of_all = torch.empty(0)
        self._num_live_sequences = 0.0  # of the current rollouts, over all processes
        self._rollout_seconds = 0.0  # within the current micro-batch
        self._update_seconds = 0.0  # of the current optimizer step
        self._sums = UpdateSums()
        self.add_callback(SaveBetweenRollouts(self.args))
        self.callback_handler.callbacks.insert(0, PolicyAlarms(self.args))  # before the trackers: it adds metrics

    def _find_outcome(self, name: str | None) -> int:
        if name is None:
            return 0
        if name not in self.reward_func_names:
            raise UserError(f"outcome_reward is '{name}'; the reward functions are {', '.join(self.reward_func_names)}")
        return int(self.reward_func_names.index(name))

    # --- rollouts ---

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        self.order = EpochOrder.like(super()._get_train_sampler(dataset))
        return self.order

    def _run_epoch(self, **settings: Any) -> None:
        # Upstream does not reach it where several processes go on in the middle of an epoch (transformers 5.19,
        # accelerate 1.15): they would get the first epoch's prompts again.
        if self.order is not None:
            self.order.set_epoch(settings["epoch"])
        super()._run_epoch(**settings)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return self.processing_class(text=prompts, add_special_tokens=False)["input_ids"], None, {}

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        began = time.perf_counter()
        self._rewards_of_all = super()._calculate_rewards(*args, **kwargs)
        self._record("seconds/grade", time.perf_counter() - began)
        return self._rewards_of_all

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        if self._step % (self.args.steps_per_generation * self.num_iterations) == 0 or self._buffered_inputs is None:
            began = time.perf_counter()
            self._buffered_inputs = self._micro_batches(self._roll_out(generation_batch))
            self._rollout_seconds = time.perf_counter() - began
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _roll_out(self, inputs: list[dict[str, Any]]) -> list[Response]:
        """Sample, grade and refill: the responses of this process with their advantages."""
        num_processes = self.accelerator.num_processes
        num_groups = len(inputs) * num_processes // self.num_generations
        sampled = self._sample_and_refill(inputs, num_groups)
        result = self._advantages(sampled)
        self._record_all(group_figures(result, sampled.rewards_RF[:, self._outcome_index]))
        self._record_refill(result, num_groups, generations=len(sampled.responses) // len(inputs))
        result = self._advantages(without_surplus(sampled, result, num_groups))

        # Every generation holds the slices of all processes, one after the other.
        is_here_R = torch.arange(result.types_N.numel() * self.num_generations) // len(inputs) % num_processes
        is_here_R = (is_here_R == self.accelerator.process_index).to(result.types_N.device)
        advantages, is_live = result.advantages_NG.flatten(), result.is_live_NG.flatten()
        here = zip(sampled.responses, advantages[is_here_R].tolist(), is_live[is_here_R].tolist(), strict=True)
        responses = [replace(response, advantage=advantage, is_live=live) for response, advantage, live in here]
        self._num_live_sequences = float(is_live.sum())
        self._rollout_step = self.state.global_step
        self._mend_logged_advantages(advantages.tolist())
        self._record_all(token_figures(responses, self._sum_over_ranks))
        if self._on_rollouts is not None:
            types_R = result.types_N.repeat_interleave(self.num_generations)[is_here_R]
            self._on_rollouts(
                Rollouts(
                    step=self.state.global_step,
                    weights_version=self.weights_version,
                    advantages=[response.advantage for response in responses],
                    group_types=[GroupType(value).name.lower() for value in types_R.tolist()],
                )
            )
        return responses

    def _sample_and_refill(self, inputs: list[dict[str, Any]], num_groups: int) -> Sampled:
        """The batch, and as many further ones as `refill` allows and the groups without signal need.

        Raises:
            UserError: nobody could judge any response.
        """
        sampled = self._sample(inputs, generation=0)
        first = self.accelerator.process_index * len(inputs)
        for extra in range(1, self.args.refill_max_extra_batches + 1):
            if has_signal(self._advantages(sampled)).sum() >= self.args.refill_below * num_groups:
                break
            seed = (self.args.seed, self.state.global_step, extra)
            drawn = extra_prompts(self.train_dataset, num_groups, copies=self.num_generations, seed=seed)
            sampled = sampled.and_more(self._sample(drawn[first : first + len(inputs)], generation=extra))
        if sampled.rewards_RF.isnan().all():
            raise UserError(
                f"none of the {len(sampled.rewards_RF)} responses of step {self.state.global_step} could be judged by "
                f"any reward ({', '.join(self.reward_func_names)}): the rows need what the rewards read, as a gold "
                "`answer`"
            )
        return sampled

    def _sample(self, inputs: list[dict[str, Any]], *, generation: int) -> Sampled:
        self._generation = generation
        beta, self.beta = self.beta, 0.0  # upstream would score every response with the reference model, padding too
        try:
            responses = unpadded(self._generate_and_score_completions(inputs))
        finally:
            self.beta = beta
        # What has no token to train (truncated and masked) would still count in baseline and denominator.
        is_empty = torch.tensor([not response.trained.any() for response in responses], device=self.accelerator.device)
        rewards_RF = self._rewards_of_all.masked_fill(self.accelerator.gather(is_empty)[:, None], torch.nan)
        kl_R = rewards_RF.new_zeros(len(rewards_RF))
        if self.args.kl_estimator == "k1_in_reward" and self.beta != 0.0:
            kl_R = self._kl_of_all(responses)
        return Sampled(responses, rewards_RF, kl_R)

    def _advantages(self, sampled: Sampled) -> AgapoAdvantages:
        """Advantages of the whole batch, the same in every process."""
        outcomes = sampled.rewards_RF[:, self._outcome_index]
        weights = self.reward_weights.to(outcomes.device)
        weighted = sampled.rewards_RF[:, weights != 0]
        rewards = (weighted * weights[weights != 0]).nansum(dim=1) - self.beta * sampled.kl_R
        scorable = ~outcomes.isnan() & ~weighted.isnan().all(dim=1)
        shape = (-1, self.num_generations)
        return agapo_advantages(
            rewards.view(shape),
            (outcomes >= 0.5).view(shape),
            scorable.view(shape),
            all_wrong=self.args.all_wrong,
            all_wrong_penalty=self.args.all_wrong_penalty,
            all_correct=self.args.all_correct,
            std_floor=self.args.std_floor,
        )

    # --- update ---

    def _micro_batches(self, responses: list[Response]) -> list[MicroBatch | None]:
        """`steps_per_generation` micro-batches of the live responses, None where fewer suffice.

        Those of one optimizer step have like sizes, and none is larger than `per_device_train_batch_size` of its
        longest responses. Every rank has to run as many forward passes as the others, so ranks cut into equally many
        parts; one without a live response of its own holds the shortest response there is, which moves nothing.
        """
        num_steps = max(1, self.args.steps_per_generation // self.args.gradient_accumulation_steps)
        slots = self.args.steps_per_generation // num_steps
        live = [response for response in responses if response.is_live]
        order = torch.randperm(len(live)).tolist() if num_steps > 1 else list(range(len(live)))
        filler = replace(min(responses, key=lambda response: response.length), is_live=False, advantage=0.0)
        batches: list[MicroBatch | None] = []
        for step in range(num_steps):
            chosen = [live[index] for index in order[step::num_steps]]
            lengths = [response.length for response in chosen]
            parts = min(slots, self._max_over_ranks(parts_needed(lengths, self.args.per_device_train_batch_size)))
            batches += [None] * (slots - parts)  # first: gradients are exchanged in the last one
            for indices in split_by_length(lengths, parts):
                batches.append(self._collate([chosen[index] for index in indices] or [filler]))
        if self.beta != 0.0 and self.args.kl_estimator != "k1_in_reward":
            began = time.perf_counter()
            batches = [batch and replace(batch, ref_logps_BT=self._reference_logps(batch)) for batch in batches]
            self._record("seconds/reference", time.perf_counter() - began)
        return batches

    def _max_over_ranks(self, value: int) -> int:
        return int(self.accelerator.gather(torch.tensor([value], device=self.accelerator.device)).max())

    def _sum_over_ranks(self, value: int) -> int:
        return int(self.accelerator.gather(torch.tensor([value], device=self.accelerator.device)).sum())

    def _collate(self, responses: Sequence[Response]) -> MicroBatch:
        return collate(responses, pad_id=self._tokenizer.pad_token_id, device=self.accelerator.device)

    @torch.no_grad()
    def _reference_logps(self, batch: MicroBatch) -> Tensor:
        if self.ref_model is not None:
            return self._score(self._reference_scorer, self.ref_model, batch)[0]
        model = self.accelerator.unwrap_model(self.model)
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            return self._score(self._policy_scorer, self.model, batch)[0]

    @torch.no_grad()
    def _kl_of_all(self, responses: Sequence[Response]) -> Tensor:
        """Log-ratio of policy to reference [R], summed over each response, of all processes."""
        kl = torch.zeros(len(responses), device=self.accelerator.device)
        for indices in split_by_length([response.length for response in responses], self.args.steps_per_generation):
            batch = self._collate([responses[index] for index in indices] or [responses[0]])
            logps = batch.sampling_logps_BT
            if logps is None:
                logps, _ = self._score(self._policy_scorer, self.model, batch)
            ref_logps = self._reference_logps(batch)
            known = batch.mask_BT & ~logps.isnan()
            if indices:
                kl[indices] = sequence_kl(kl_k1(logps, ref_logps), known)
        everyone: Tensor = self.accelerator.gather(kl)
        return everyone

    def _score(self, scorer: CompletionScorer, model: Any, batch: MicroBatch) -> tuple[Tensor, Any]:
        with self.accelerator.autocast():
            return scorer.score(model, batch)

    def _score_tokens(self, prompt_ids: list[int], token_ids: list[int]) -> list[float]:
        with self.accelerator.autocast():
            return self._policy_scorer.score_tokens(self.model, prompt_ids, token_ids)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Upstream's; its time without the rollouts is logged."""
        began, self._rollout_seconds = time.perf_counter(), 0.0
        loss: Tensor = super().training_step(*args, **kwargs)
        self._update_seconds += time.perf_counter() - began - self._rollout_seconds
        if self.accelerator.sync_gradients:
            self._record("seconds/update", self._update_seconds)
            self._update_seconds = 0.0
        return loss

    def guarded_batch(self, inputs: Any) -> MicroBatch | None:
        """The micro-batch that upstream's step has just counted."""
        batch: MicroBatch | None = self._buffered_inputs[(self._step - 1) % self.args.steps_per_generation]
        return batch

    def describe_batch(self, batch: MicroBatch | None) -> Iterator[dict[str, Any]]:
        """Prompts with their completions, and the advantages."""
        if batch is None:
            return
        for ids, predicts, advantage in zip(batch.input_ids, batch.predicts_BL, batch.advantages_B, strict=True):
            end = int(predicts.nonzero().max()) + 2 if predicts.any() else len(ids)
            yield {"text": self._tokenizer.decode(ids[:end].tolist()), "advantage": advantage.item()}

    def _compute_loss(self, model: Any, inputs: MicroBatch | None) -> Tensor:
        if inputs is None:
            return torch.zeros((), device=self.accelerator.device, requires_grad=True)
        logps, entropies = self._score(self._policy_scorer, model, inputs)
        weights = None
        if inputs.sampling_logps_BT is not None:
            weights = truncated_importance_weights(
                logps,
                inputs.sampling_logps_BT,
                inputs.mask_BT,
                cap=self.args.importance_cap,
                level=self.args.importance_level,
            )
        # Upstream's accumulation and DDP both expect a mean: of micro-batches it is already a sum here (the loss counts
        # as scaled), of ranks it is undone by the count. A generation batch may serve several optimizer steps.
        steps_per_batch = self.args.steps_per_generation / self.args.gradient_accumulation_steps
        kl_estimator = self.args.kl_estimator
        loss = agapo_loss(
            logps,
            inputs.mask_BT,
            inputs.advantages_B,
            inputs.is_live_B,
            num_live_sequences=self._num_live_sequences / self.accelerator.num_processes / steps_per_batch,
            length_divisor=float(self.max_completion_length),
            weights_BT=weights,
            ref_logps_BT=inputs.ref_logps_BT,
            beta=self.beta if inputs.ref_logps_BT is not None else 0.0,
            kl_estimator="k3" if kl_estimator == "k1_in_reward" else kl_estimator,  # then there is no KL here
            length_treatment=self.args.length_treatment,
        )
        self._sums.add(inputs, logps.detach(), entropies, loss.kl_B, weights)
        if self.accelerator.sync_gradients:
            self._finish_step(self._sums.pop(self.accelerator.gather))
        return loss.loss

    def _finish_step(self, figures: UpdateFigures) -> None:
        """Log the means of an optimizer step that is about to be made, and make sure that it may be.

        Raises:
            RuntimeError: while the policy is still the one that sampled, engine and trainer disagree by more than
                `max_mismatch_kl`.
        """
        if figures.tokens == 0:
            return
        self._record("entropy", figures.entropy)
        if self.beta != 0.0 and self.args.kl_estimator != "k1_in_reward":
            self._record("kl", figures.kl)
            self._record("kl_per_token", figures.kl * figures.responses / figures.tokens)
        if figures.scored_tokens == 0:
            return
        self._record("rollout/importance_weight_mean", figures.weight_mean)
        self._record("rollout/importance_weight_max", figures.weight_max)
        self._record("rollout/ess", figures.ess)
        self.prove_policy(figures.mismatch_kl)

    # --- metrics ---

    def _record_all(self, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._record(name, value)

    def _record_refill(self, result: AgapoAdvantages, num_groups: int, generations: int) -> None:
        """Warns when the extra batches did not suffice."""
        share = has_signal(result).sum().item() / num_groups
        self._record("groups/with_signal", share)
        self._record("rollout/generations", generations)
        if self.args.refill_max_extra_batches and share < self.args.refill_below:
            warnings.warn(
                f"step {self.state.global_step}: {share:.0%} of a batch of groups carry signal after "
                f"{generations - 1} extra batches, refill asks for {self.args.refill_below:.0%}; going on with these. "
                "Prompts too easy or too hard for the model: filter them (posttrain filter)",
                stacklevel=2,
            )

    def _mend_logged_advantages(self, advantages: Sequence[float]) -> None:
        """Upstream has just logged its own advantages of this batch; ours take their place."""
        logged = self._logs["advantages"]
        for _ in range(min(len(advantages), len(logged))):
            logged.pop()
        logged.extend(advantages)
