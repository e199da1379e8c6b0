"""Rollouts come from an engine that had the weights it should: which, how old, and whether it is the policy."""

import math
import time
from typing import Any

from posttrain.placement import arithmetic_of
from posttrain.rl.lookahead import schedule_of
from posttrain.rl.rollout_checks import MAX_MISMATCH_KL, engine_at_work, require_age, require_agreement


class ProvenRollouts:
    """A mixin, to be named before TRL's trainer: no update is made with rollouts that fail a proof.

    Overridden upstream hooks: `_generate_single_turn` (seeds of the step, proofs), `_save_optimizer_and_scheduler` and
    `_load_optimizer_and_scheduler` (rollouts that were sampled ahead go with a checkpoint).
    """

    accelerator: Any
    args: Any
    model: Any
    state: Any
    use_vllm: bool
    vllm_generation: Any
    _metrics: Any
    _score_tokens: Any
    _generation = 0  # of the current step: 0, then one for each refill
    _rollout_step = -1  # optimizer step at which the current rollouts were asked for

    @property
    def weights_version(self) -> int:
        """The step whose weights sampled the current rollouts."""
        return int(self.vllm_generation.weights_version if self.use_vllm else self.state.global_step)

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        began, step = time.perf_counter(), self.state.global_step
        if self.use_vllm:
            self.vllm_generation.begin(step, seed=(self.args.seed, step, self._generation))
        if self.args.staleness:
            self.vllm_generation.schedule, self.vllm_generation.score = schedule_of(self), self._score_tokens
        with engine_at_work(step, self.args.rollout_timeout_s):
            output = super()._generate_single_turn(prompt_ids, *args, **kwargs)  # type: ignore[misc]
        require_age(step, self.weights_version, most=self.args.staleness * self.args.steps_per_batch)
        if self.args.staleness:
            batch = self.vllm_generation.taken
            self._record("rollout/staleness", step - batch.weights_version)
            self._record("seconds/sample", batch.ended - batch.began)
            if not math.isnan(batch.mismatch_kl):
                self._prove_sync(batch.mismatch_kl)
        self._record("seconds/generate", time.perf_counter() - began)
        return output

    def prove_policy(self, kl: float) -> None:
        """Record, before an update, how far the policy that sampled is from this one.

        Args:
            kl: nats a token, over all tokens of the update.

        Raises:
            RuntimeError: both have the same weights and differ by more than `max_mismatch_kl`.
        """
        if self._rollout_step != self.state.global_step:
            return  # a later update with the same rollouts
        if self.weights_version == self._rollout_step:
            self._prove_sync(kl)
        else:
            self._record("rollout/lag_kl", kl)

    def _prove_sync(self, mismatch_kl: float) -> None:
        limit = self.args.max_mismatch_kl or MAX_MISMATCH_KL[arithmetic_of(self)]
        self._record("rollout/mismatch_kl", mismatch_kl)
        self._record("rollout/weights_in_sync", float(mismatch_kl <= limit))
        require_agreement(self.state.global_step, mismatch_kl, limit)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]
        if self.args.staleness:
            with engine_at_work(self.state.global_step, self.args.rollout_timeout_s):
                self.vllm_generation.save(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if self.args.staleness and checkpoint is not None:
            self.vllm_generation.restore(checkpoint)

    def _record(self, name: str, value: float) -> None:
        mode = "train" if self.model.training else "eval"
        self._metrics[mode][name].append(value)
