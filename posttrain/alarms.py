"""The alarm that every stage that trains has: a gradient far above its usual size, or not finite."""

import math
import warnings
from collections import deque
from statistics import median
from typing import Any

from transformers import TrainerCallback

from posttrain.errors import UserError

RECENT_STEPS = 20
FIRST_STEPS = 5  # the gradient norm has no usual size before
USUAL_TIMES = 10.0


class Alarms(TrainerCallback):
    """Watches what is logged of the gradient; warns, or stops the run, which can be resumed.

    An alarm is also a metric, 1 at steps where it rang: `alarm/grad_norm`. A stage with more to watch overrides
    `found`.

    Args:
        max_ratio: how many times its usual size (median of the last 20 that were logged) the norm may have; None: any.
        stops: end the run instead of a warning.
    """

    def __init__(self, max_ratio: float | None = USUAL_TIMES, *, stops: bool = False) -> None:
        self._max_ratio = max_ratio
        self._stops = stops
        self._norms: deque[float] = deque(maxlen=RECENT_STEPS)

    def found(self, logs: dict[str, Any]) -> dict[str, str | None]:
        """What is wrong with the figures of a step, in words, by the alarm's name; None: nothing."""
        return {"grad_norm": self._grad_norm(logs)}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A resumed run knows the usual gradient norm from the log of its checkpoint."""
        self._norms.extend(
            log["grad_norm"] for log in state.log_history if math.isfinite(log.get("grad_norm", math.inf))
        )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Every `logging_steps` optimizer steps."""
        if logs is None:
            return
        rung = {name: words for name, words in self.found(logs).items() if words}
        if not rung:
            return
        logs |= {f"alarm/{name}": 1.0 for name in rung}
        words = f"step {state.global_step}: {'; '.join(rung.values())}. The learning rate is probably too high"
        if self._stops:
            raise UserError(f"{words}: lower trainer.learning_rate and go on from a checkpoint (alarm_action: stop)")
        warnings.warn(words, stacklevel=2)

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
