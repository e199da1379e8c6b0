"""Alarms for an objective without a clip: nothing else holds a policy back whose learning rate is too high."""

import math
import warnings
from collections import deque
from statistics import median
from typing import Any

from transformers import TrainerCallback

from posttrain.errors import UserError

RECENT_STEPS = 20
FIRST_STEPS = 5  # the gradient norm has no usual size before


class Alarms(TrainerCallback):
    """Watches how far the policy moves; warns, or stops the run, which can be resumed.

    What a learning rate that is too high shows, and from which figures on, is measured in docs/results.md: the KL to
    the reference and, where a batch of rollouts serves several updates, the effective sample size of the importance
    weights. The gradient norm finds what breaks, as a not finite loss. An alarm is also a metric, 1 at steps where it
    rang: `alarm/kl`, `alarm/ess`, `alarm/grad_norm`.

    Args:
        arguments: an `AGAPOConfig`.
    """

    def __init__(self, arguments: Any) -> None:
        self._max_kl: float | None = arguments.alarm_kl
        self._min_ess: float | None = arguments.alarm_ess
        self._max_ratio: float | None = arguments.alarm_grad_norm
        self._stops: bool = arguments.alarm_action == "stop"
        self._norms: deque[float] = deque(maxlen=RECENT_STEPS)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A resumed run knows the usual gradient norm from the log of its checkpoint."""
        self._norms.extend(
            log["grad_norm"] for log in state.log_history if math.isfinite(log.get("grad_norm", math.inf))
        )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Once an optimizer step, with `logging_steps: 1`."""
        if logs is None:
            return
        found = {"kl": self._kl(logs), "ess": self._ess(logs), "grad_norm": self._grad_norm(logs)}
        rung = {name: words for name, words in found.items() if words}
        if not rung:
            return
        logs |= {f"alarm/{name}": 1.0 for name in rung}
        words = f"step {state.global_step}: {'; '.join(rung.values())}. The learning rate is probably too high"
        if self._stops:
            raise UserError(f"{words}: lower trainer.learning_rate and go on from a checkpoint (alarm_action: stop)")
        warnings.warn(words, stacklevel=2)

    def _kl(self, logs: dict[str, Any]) -> str | None:
        kl = logs.get("kl_per_token")
        if self._max_kl is None or kl is None or kl <= self._max_kl:
            return None
        return f"KL to the reference is {kl:.3g} nats a token, alarm_kl is {self._max_kl:g}"

    def _ess(self, logs: dict[str, Any]) -> str | None:
        ess = logs.get("rollout/ess")
        if self._min_ess is None or ess is None or ess >= self._min_ess:
            return None
        return f"effective sample size of the importance weights is {ess:.3g}, alarm_ess is {self._min_ess:g}"

    def _grad_norm(self, logs: dict[str, Any]) -> str | None:
        norm = logs.get("grad_norm")
        if self._max_ratio is None or norm is None:
            return None
        usual = median(self._norms) if len(self._norms) >= FIRST_STEPS else math.inf
        if math.isfinite(norm):
            self._norms.append(norm)
            if norm <= self._max_ratio * usual:
                return None
        return f"the gradient norm is {norm:.3g}, usual is {usual:.3g}, alarm_grad_norm is {self._max_ratio:g} times"
