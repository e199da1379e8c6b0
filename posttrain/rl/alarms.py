"""Alarms for an objective without a clip: nothing else holds a policy back whose learning rate is too high."""

from typing import Any

from posttrain.alarms import Alarms


class PolicyAlarms(Alarms):
    """Watches how far the policy moves, beside the gradient.

    What a learning rate that is too high shows, and from which figures on, is measured in docs/results.md: the KL to
    the reference (`alarm/kl`) and, where a batch of rollouts serves several updates, the effective sample size of the
    importance weights (`alarm/ess`). The gradient norm finds what breaks, as a not finite loss.

    Args:
        arguments: an `AGAPOConfig`.
    """

    def __init__(self, arguments: Any) -> None:
        super().__init__(arguments.alarm_grad_norm, stops=arguments.alarm_action == "stop")
        self._max_kl: float | None = arguments.alarm_kl
        self._max_lag_kl: float | None = arguments.alarm_lag_kl
        self._min_ess: float | None = arguments.alarm_ess

    def found(self, logs: dict[str, Any]) -> dict[str, str | None]:
        """Those of the policy first."""
        return {"kl": self._kl(logs), "lag_kl": self._lag_kl(logs), "ess": self._ess(logs), **super().found(logs)}

    def _kl(self, logs: dict[str, Any]) -> str | None:
        kl = logs.get("kl_per_token")
        if self._max_kl is None or kl is None or kl <= self._max_kl:
            return None
        return f"KL to the reference is {kl:.3g} nats a token, alarm_kl is {self._max_kl:g}"

    def _lag_kl(self, logs: dict[str, Any]) -> str | None:
        kl = logs.get("rollout/lag_kl")
        if self._max_lag_kl is None or kl is None or kl <= self._max_lag_kl:
            return None
        return (
            f"KL of the policy that sampled to this one is {kl:.3g} nats a token, alarm_lag_kl is {self._max_lag_kl:g}"
        )

    def _ess(self, logs: dict[str, Any]) -> str | None:
        ess = logs.get("rollout/ess")
        if self._min_ess is None or ess is None or ess >= self._min_ess:
            return None
        return f"effective sample size of the importance weights is {ess:.3g}, alarm_ess is {self._min_ess:g}"
