"""`AGAPOTrainer`: TRL's GRPO trainer with AGAPO's advantages and objective."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from trl import GRPOTrainer
from trl.trainer import grpo_trainer

from posttrain.errors import UserError
from posttrain.objectives import (
    AgapoAdvantages,
    GroupType,
    agapo_advantages,
    agapo_loss,
    kl_k3,
    truncated_importance_weights,
)
from posttrain.rl.config import AGAPOConfig
from posttrain.rl.synced_vllm import SyncedVLLM, replaced


class Rollouts(NamedTuple):
    """What one generation gave in this process, one entry a response."""

    step: int
    advantages: list[float]
    group_types: list[str]


class AGAPOTrainer(GRPOTrainer):
    """Asymmetric sampling and global advantage policy optimisation (paper section 2.4.2).

    Takes what `GRPOTrainer` takes, with an `AGAPOConfig`; prompts are rendered text. The objective has no clip; dropped
    groups and unscorable samples take no part in any term or denominator and get no forward pass.

    Overridden upstream hooks: `_tokenize_prompts` (rendered prompts already hold every special token),
    `_calculate_rewards` (keeps the rewards of all processes), `_generate_and_score_completions` (swaps the advantages),
    `_compute_loss` (the objective), and the class of the vLLM backend.
    """

    _name = "AGAPO"
    args: AGAPOConfig

    def __init__(self, *args: Any, on_rollouts: Callable[[Rollouts], None] | None = None, **kwargs: Any) -> None:
        with replaced(grpo_trainer, "VLLMGeneration", SyncedVLLM):
            super().__init__(*args, **kwargs)
        self._on_rollouts = on_rollouts
        self._outcome_index = self._find_outcome(self.args.outcome_reward)
        self._rewards_of_all = torch.empty(0)
        self._rollout_step = -1  # optimizer step at which the current rollouts were sampled

    def _find_outcome(self, name: str | None) -> int:
        if name is None:
            return 0
        if name not in self.reward_func_names:
            raise UserError(f"outcome_reward is '{name}'; the reward functions are {', '.join(self.reward_func_names)}")
        return int(self.reward_func_names.index(name))

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return self.processing_class(text=prompts, add_special_tokens=False)["input_ids"], None, {}

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        began = time.perf_counter()
        self._rewards_of_all = super()._calculate_rewards(*args, **kwargs)
        self._record("seconds/grade", time.perf_counter() - began)
        return self._rewards_of_all

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        began = time.perf_counter()
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        result = self._advantages()
        local = slice(self.accelerator.process_index * len(inputs), (self.accelerator.process_index + 1) * len(inputs))
        advantages, is_live = result.advantages_NG.flatten(), result.is_live_NG.flatten()
        output["advantages"] = advantages[local]
        output["is_live"] = is_live[local]
        output["num_live_sequences"] = is_live.sum().float()
        self._rollout_step = self.state.global_step
        self._mend_logged_advantages(advantages.tolist())
        self._record_groups(result)
        self._record("seconds/rollout", time.perf_counter() - began)
        if self._on_rollouts is not None:
            types = [
                GroupType(value).name.lower() for value in result.types_N.tolist() for _ in range(self.num_generations)
            ]
            self._on_rollouts(Rollouts(self.state.global_step, advantages[local].tolist(), types[local]))
        return output

    def _advantages(self) -> AgapoAdvantages:
        """Advantages of the whole batch, the same in every process."""
        outcomes = self._rewards_of_all[:, self._outcome_index]
        weights = self.reward_weights.to(outcomes.device)
        weighted = self._rewards_of_all[:, weights != 0]
        rewards = (weighted * weights[weights != 0]).nansum(dim=1)
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

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        batch = _without_dead_rows_and_padding(inputs)
        mask = batch["completion_mask"].bool()
        logps, entropies, _ = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
            mask.shape[1],
            compute_entropy=True,
        )
        sampling_logps = batch.get("sampling_per_token_logps", batch.get("old_per_token_logps"))
        weights = None
        if sampling_logps is not None:
            self._check_in_sync(logps.detach(), sampling_logps, mask)
            weights = truncated_importance_weights(
                logps, sampling_logps, mask, cap=self.args.importance_cap, level=self.args.importance_level
            )
        # Upstream's accumulation and DDP both expect a mean: of micro-batches it is already a sum here (the loss counts
        # as scaled), of ranks it is undone by the count. A generation batch may serve several optimizer steps.
        steps_per_batch = self.args.steps_per_generation / self.args.gradient_accumulation_steps
        loss = agapo_loss(
            logps,
            mask,
            batch["advantages"],
            batch["is_live"],
            num_live_sequences=inputs["num_live_sequences"] / self.accelerator.num_processes / steps_per_batch,
            length_divisor=float(self.max_completion_length),
            weights_BT=weights,
            ref_logps_BT=batch.get("ref_per_token_logps"),
            beta=self.beta,
            kl_estimator=self.args.kl_estimator,
            length_treatment=self.args.length_treatment,
        )
        self._record_update(batch, mask, loss.kl_B, entropies, weights)
        return loss.loss

    def _check_in_sync(self, logps: torch.Tensor, sampling_logps: torch.Tensor, mask: torch.Tensor) -> None:
        """While the policy is still the one that sampled, engine and trainer must agree on every token.

        Raises:
            RuntimeError: they disagree by more than `max_mismatch_kl`.
        """
        if self._rollout_step != self.state.global_step:
            return
        known = mask & ~sampling_logps.isnan()
        total = torch.stack([kl_k3(sampling_logps, logps)[known].sum().float(), known.sum().float()])
        kl_sum, tokens = self.accelerator.reduce(total, reduction="sum").tolist()
        mismatch = kl_sum / max(tokens, 1.0)
        self._record("rollout/mismatch_kl", mismatch)
        self._record("rollout/weights_in_sync", float(mismatch <= self.args.max_mismatch_kl))
        if mismatch > self.args.max_mismatch_kl:
            raise RuntimeError(
                f"rollout engine and trainer disagree at step {self.state.global_step}: mean KL {mismatch:.3g} nats "
                f"a token, max_mismatch_kl is {self.args.max_mismatch_kl:g}. The engine's weights are stale or its "
                "precision differs; no update was made with these rollouts."
            )

    def _record(self, name: str, value: float) -> None:
        mode = "train" if self.model.training else "eval"
        self._metrics[mode][name].append(value)

    def _record_groups(self, result: AgapoAdvantages) -> None:
        types = result.types_N
        for group_type in GroupType:
            self._record(f"groups/{group_type.name.lower()}", (types == group_type).float().mean().item())
            chosen = result.advantages_NG[types == group_type]
            if chosen.numel():
                self._record(f"advantage/{group_type.name.lower()}_mean", chosen.mean().item())
        self._record("advantage/std", result.std.item())
        outcomes = self._rewards_of_all[:, self._outcome_index]
        self._record("outcome", outcomes.nanmean().item())
        self._record("samples/live", result.is_live_NG.float().mean().item())
        self._record("samples/unscorable", outcomes.isnan().float().mean().item())

    @torch.no_grad()
    def _record_update(
        self,
        batch: dict[str, Any],
        mask: torch.Tensor,
        kl_B: torch.Tensor,
        entropies: torch.Tensor,
        weights: torch.Tensor | None,
    ) -> None:
        """Means over the live tokens and responses of every process."""
        live_B = batch["is_live"]
        live_BT = mask & live_B[:, None]
        ratios = torch.ones_like(entropies) if weights is None else weights
        sums = [live_BT.sum(), live_B.sum(), entropies[live_BT].sum(), kl_B[live_B].sum(), ratios[live_BT].sum()]
        here = torch.stack([*sums, ratios.masked_fill(~live_BT, 0.0).max()]).float()
        everywhere = self.accelerator.gather(here[None])
        tokens, responses, entropy, kl, ratio = everywhere[:, :-1].sum(dim=0).tolist()
        if tokens == 0:
            return
        self._record("entropy", entropy / tokens)
        if self.beta != 0.0:
            self._record("kl", kl / responses)
        if weights is not None:
            self._record("rollout/importance_weight_mean", ratio / tokens)
            self._record("rollout/importance_weight_max", everywhere[:, -1].max().item())

    def _mend_logged_advantages(self, advantages: Sequence[float]) -> None:
        """Upstream has just logged its own advantages of this batch; ours take their place."""
        logged = self._logs["advantages"]
        for _ in range(min(len(advantages), len(logged))):
            logged.pop()
        logged.extend(advantages)


_PER_SAMPLE = (
    "prompt_ids",
    "prompt_mask",
    "completion_ids",
    "completion_mask",
    "advantages",
    "is_live",
    "sampling_per_token_logps",
    "old_per_token_logps",
    "ref_per_token_logps",
)
_PROMPT = ("prompt_ids", "prompt_mask")
_COMPLETION = tuple(key for key in _PER_SAMPLE if key not in (*_PROMPT, "advantages", "is_live"))


def _without_dead_rows_and_padding(inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The rows that carry gradient, cut to the longest prompt and completion among them.

    One row is always kept: every rank has to run a forward pass.
    """
    kept = inputs["is_live"].nonzero().flatten()
    if kept.numel() == 0:
        kept = torch.zeros(1, dtype=torch.long, device=inputs["is_live"].device)
    batch = {key: inputs[key][kept] for key in _PER_SAMPLE if inputs.get(key) is not None}
    prompt_length = int(batch["prompt_mask"].sum(dim=1).max())
    completion_length = max(1, int(batch["completion_mask"].sum(dim=1).max()))
    for key in _PROMPT:
        batch[key] = batch[key][:, batch[key].shape[1] - prompt_length :]
    for key in _COMPLETION:
        if key in batch:
            batch[key] = batch[key][:, :completion_length]
    return batch
