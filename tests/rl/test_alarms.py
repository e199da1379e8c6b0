from types import SimpleNamespace
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.rl.alarms import PolicyAlarms


def alarms(
    kl: float | None = 0.1, ess: float | None = 0.95, grad_norm: float | None = 5.0, action: str = "warn"
) -> PolicyAlarms:
    limits = {"alarm_kl": kl, "alarm_lag_kl": 0.02, "alarm_ess": ess, "alarm_grad_norm": grad_norm}
    return PolicyAlarms(SimpleNamespace(**limits, alarm_action=action))


def log(callback: PolicyAlarms, step: int, **figures: Any) -> dict[str, Any]:
    names = {"ess": "rollout/ess", "lag_kl": "rollout/lag_kl"}
    logs = {names.get(name, name): value for name, value in figures.items()}
    callback.on_log(None, SimpleNamespace(global_step=step), None, logs)
    return logs


@pytest.mark.filterwarnings("error")
def test_usual_figures_are_quiet() -> None:
    callback = alarms()
    for step in range(30):
        assert not any(
            key.startswith("alarm")
            for key in log(callback, step, kl_per_token=0.1, lag_kl=0.02, ess=0.95, grad_norm=1.0 + step % 3)
        )


def test_a_kl_beyond_its_limit_rings_and_is_logged() -> None:
    with pytest.warns(UserWarning, match=r"step 7: KL to the reference is 0\.2 nats a token, alarm_kl is 0\.1"):
        assert log(alarms(), 7, kl_per_token=0.2)["alarm/kl"] == 1.0


def test_a_policy_that_runs_away_from_the_one_that_samples_rings_and_is_logged() -> None:
    with pytest.warns(UserWarning, match=r"step 7: KL of the policy that sampled .* is 0\.03 .* alarm_lag_kl is 0\.02"):
        assert log(alarms(), 7, lag_kl=0.03)["alarm/lag_kl"] == 1.0


def test_a_small_effective_sample_size_rings_and_is_logged() -> None:
    with pytest.warns(UserWarning, match=r"effective sample size .* is 0\.9, alarm_ess is 0\.95"):
        assert log(alarms(), 7, ess=0.9)["alarm/ess"] == 1.0


@pytest.mark.parametrize("norm", [6.0, float("nan"), float("inf")])
def test_a_gradient_norm_far_above_the_usual_rings(norm: float) -> None:
    callback = alarms()
    for step in range(5):
        log(callback, step, grad_norm=1.0)
    with pytest.warns(UserWarning, match="gradient norm"):
        assert log(callback, 5, grad_norm=norm)["alarm/grad_norm"] == 1.0


def test_a_large_norm_at_the_start_is_not_unusual() -> None:
    callback = alarms()
    for step in range(4):
        log(callback, step, grad_norm=1.0)
    assert "alarm/grad_norm" not in log(callback, 4, grad_norm=100.0)


def test_the_usual_norm_is_the_median_of_the_last_20() -> None:
    callback = alarms()
    for step, norm in enumerate([1.0] * 100 + [3.0] * 9 + [4.0] * 2 + [7.0] * 9):
        log(callback, step, grad_norm=norm)
    with pytest.warns(UserWarning, match="usual is 4,"):
        log(callback, 120, grad_norm=21.0)


def test_an_alarm_can_stop_the_run() -> None:
    with pytest.raises(UserError, match=r"step 3: KL .* lower trainer\.learning_rate"):
        log(alarms(action="stop"), 3, kl_per_token=1.0)


@pytest.mark.filterwarnings("error")
def test_no_limit_is_no_alarm() -> None:
    logs = log(alarms(kl=None, ess=None, grad_norm=None), 1, kl_per_token=1e9, ess=0.0, grad_norm=float("nan"))
    assert not any(key.startswith("alarm") for key in logs)


def test_a_resumed_run_knows_what_is_usual() -> None:
    callback = alarms()
    history = [{"grad_norm": norm, "step": step} for step, norm in enumerate([1.0] * 5 + [float("inf")] * 6)]
    callback.on_train_begin(None, SimpleNamespace(log_history=[*history, {"train_runtime": 1.0}]), None)
    with pytest.warns(UserWarning, match="usual is 1,"):
        log(callback, 7, grad_norm=6.0)
