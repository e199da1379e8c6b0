"""Settings of the RL stage: TRL's `GRPOConfig` and what AGAPO adds."""

from dataclasses import dataclass, field
from typing import Any, Literal

from trl import GRPOConfig

from posttrain.objectives import AllCorrect, AllWrong, ImportanceLevel, KlEstimator, LengthTreatment

# What a recipe's `preset` gives `trainer` as defaults. `k-exaone` as its report is told at second hand (2026): no KL,
# zero-variance groups left out, truncated importance sampling.
PRESETS: dict[str, dict[str, Any]] = {
    "exaone-4.0": {"beta": 0.01, "kl_estimator": "k3", "all_wrong": "penalize", "all_correct": "drop"},
    "k-exaone": {"beta": 0.0, "all_wrong": "drop", "all_correct": "drop", "importance_cap": 2.0},
}


BESIDES_ROLLOUTS_S = 1800  # that processes may wait for each other


@dataclass
class AGAPOConfig(GRPOConfig):
    """AGAPO (paper section 2.4.2). Every field of `GRPOConfig` that does not shape its loss keeps its meaning.

    Attributes:
        all_wrong: what a group without a correct response gets: `penalize` (a stated small negative advantage, the
            paper's intent), `literal` (the printed equations: exactly zero) or `drop` (nothing at all).
        all_wrong_penalty: the size of that advantage.
        all_correct: `drop` (the paper) or `keep` groups without a wrong response.
        std_floor: lower bound of the batch standard deviation that advantages are divided by.
        kl_estimator: per-token estimator whose sum over a response is its KL: `k3` or `k2`, terms of the loss; or
            `k1_in_reward`, which subtracts `beta` times the log-ratio of policy to reference from the reward instead.
        length_treatment: `constant` sums log-probabilities and divides by `max_completion_length`, which only rescales
            the step; `per_response_mean` divides by each response's own length, which changes the objective.
        importance_cap: upper bound of the ratio to the sampling policy (truncated importance sampling).
        importance_level: one ratio per `token` or one per `sequence`.
        max_mismatch_kl: engine and trainer may disagree by this much (mean k3 over tokens, nats) on the same tokens
            and weights; beyond it the run stops. None: 1e-5 in float32, 5e-3 in 16 bits.
        outcome_reward: name of the reward function that says whether a response is correct (0.5 or more); None: the
            first one. Group types come from it alone, never from shaped rewards.
        refill_max_extra_batches: how many further batches of prompts a step may sample when too few groups carry
            signal (an advantage that is not zero); 0: none. Groups beyond a full batch are left out.
        refill_below: the share of a batch's groups below which it is refilled.
        rollout_timeout_s: seconds that one generation may take, new weights for the engine included; beyond it the
            process ends, as the engine hangs. None: no limit.
        staleness: how many batches the rollouts are sampled ahead of the updates, by an engine in a process of its own;
            0: each batch with the weights that it updates.
        alarm_kl: KL to the reference (nats a token) above which an alarm rings; None: never.
        alarm_lag_kl: KL of the policy that sampled to the one that is updated (nats a token) above which an alarm
            rings, with a staleness above 0; None: never.
        alarm_ess: effective sample size of the importance weights (1: all equal) below which one rings; None: never.
        alarm_grad_norm: how many times its usual size (median of 20 steps) the gradient norm may have; None: any.
        alarm_action: what an alarm does: `warn`, or `stop` the run.
        beta: what the KL to the reference is multiplied by; 0 loads no reference.
        num_generations: responses in a group, G in the paper.
        ddp_timeout: seconds that processes wait for each other; at least `rollout_timeout_s` and half an hour.
        vllm_mode: where vLLM samples: `colocate`, in the trainer's process, or `server`.
        vllm_importance_sampling_correction: TRL's own correction; refused, as `importance_cap` is in its place.
    """

    all_wrong: AllWrong = field(default="penalize")
    all_wrong_penalty: float = field(default=0.1)
    all_correct: AllCorrect = field(default="drop")
    std_floor: float = field(default=1e-4)
    kl_estimator: KlEstimator | Literal["k1_in_reward"] = field(default="k3")
    length_treatment: LengthTreatment = field(default="constant")
    importance_cap: float = field(default=2.0)
    importance_level: ImportanceLevel = field(default="token")
    max_mismatch_kl: float | None = field(default=None)
    outcome_reward: str | None = field(default=None)
    refill_max_extra_batches: int = field(default=0)
    refill_below: float = field(default=0.5)
    rollout_timeout_s: float | None = field(default=3600.0)
    staleness: int = field(default=0)
    alarm_kl: float | None = field(default=0.2)
    alarm_lag_kl: float | None = field(default=0.02)
    alarm_ess: float | None = field(default=0.95)
    alarm_grad_norm: float | None = field(default=10.0)
    alarm_action: Literal["warn", "stop"] = field(default="warn")

    beta: float = field(default=0.01)
    num_generations: int = field(default=8)
    ddp_timeout: int = field(default=1800)
    vllm_mode: str = field(default="colocate")
    # AGAPO carries the ratio to the sampling policy itself, from the forward pass that it needs anyway.
    vllm_importance_sampling_correction: bool = field(default=False)

    def __post_init__(self) -> None:
        if self.rollout_timeout_s:  # the others wait within a collective, whose patience must not end first
            self.ddp_timeout = max(self.ddp_timeout, int(self.rollout_timeout_s) + BESIDES_ROLLOUTS_S)
        super().__post_init__()
        for name in (
            "all_wrong_penalty",
            "max_mismatch_kl",
            "std_floor",
            "rollout_timeout_s",
            "alarm_kl",
            "alarm_lag_kl",
            "alarm_ess",
            "alarm_grad_norm",
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; it must be above 0")
        if self.importance_cap < 1:
            raise ValueError(
                f"importance_cap is {self.importance_cap}; it must be 1 or more, the weight of what the policy itself "
                "sampled"
            )
        if self.refill_max_extra_batches < 0 or not 0 < self.refill_below <= 1:
            raise ValueError(
                f"refill_max_extra_batches is {self.refill_max_extra_batches} and refill_below {self.refill_below}; "
                "give 0 or more batches, and a share above 0 and up to 1"
            )
        if self.vllm_importance_sampling_correction:
            raise ValueError(
                "vllm_importance_sampling_correction would correct twice; AGAPO does it by importance_cap and "
                "importance_level"
            )
        longer, shorter = sorted([self.steps_per_generation, self.gradient_accumulation_steps], reverse=True)
        if longer % shorter:
            raise ValueError(
                f"steps_per_generation is {self.steps_per_generation}, gradient_accumulation_steps is "
                f"{self.gradient_accumulation_steps}; one must be a multiple of the other"
            )
        self._check_staleness()

    @property
    def steps_per_batch(self) -> int:
        """Optimizer steps that a batch of rollouts serves; 1 where a step takes several batches."""
        return int(max(1, self.steps_per_generation * self.num_iterations // self.gradient_accumulation_steps))

    def _check_staleness(self) -> None:
        if self.staleness < 0:
            raise ValueError(f"staleness is {self.staleness}; it must be 0 or more")
        if not self.staleness:
            return
        obstacles = {
            "refill: what a batch lacks is known too late to be sampled ahead": self.refill_max_extra_batches > 0,
            "vllm_mode: server, whose weights change while it samples": self.use_vllm and self.vllm_mode == "server",
            "vllm_tensor_parallel_size above 1: the engine has one process": self.vllm_tensor_parallel_size > 1,
            "vllm_enable_sleep_mode: the engine never rests": self.vllm_enable_sleep_mode,
            "vllm_structured_outputs_regex": self.vllm_structured_outputs_regex is not None,
            "an eval_strategy: an evaluation would have to wait for the rollouts": self.eval_strategy != "no",
            "several batches of rollouts in one optimizer step: give one of as many responses": (
                self.steps_per_generation * self.num_iterations < self.gradient_accumulation_steps
            ),
        }
        found = [words for words, is_there in obstacles.items() if is_there]
        if found:
            raise ValueError(f"staleness is {self.staleness}, which does not go with {'; nor with '.join(found)}")
