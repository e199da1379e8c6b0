"""The hub, judges, the vLLM server and trackers, on real servers of this machine."""

import socket
from pathlib import Path
from typing import Any

import pytest

from posttrain.doctor import network
from posttrain.doctor.endpoints import check_endpoints, check_judge, check_rollout_server
from posttrain.doctor.network import check_hub, check_network
from posttrain.doctor.trackers import check_tracker, check_trackers
from posttrain.recipe import load_recipe
from rewards._judge import Judge

PROJECT = Path(__file__).parents[2]
MODELS = {"/v1/models": (200, {"data": [{"id": "judge-7b"}, {"id": "other"}]})}


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in network.OFFLINE:
        monkeypatch.delenv(name, raising=False)


def judge(url: str, folder: Path, **settings: Any) -> Judge:
    return Judge(url=f"{url}/v1", model="judge-7b", folder=str(folder), **settings)


def test_hub_that_answers_is_ok(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    with serve({"/": (200, {})}) as url:
        monkeypatch.setenv("HF_ENDPOINT", f"{url}/")
        (finding,) = check_network()
    assert finding.state == "ok"
    assert finding.found.startswith(f"{url} answers in 0.")
    assert finding.found.endswith("with your token")


def test_hub_that_is_ill_or_away_is_a_warning(serve: Any, nobody: str) -> None:
    with serve({"/": (503, {})}) as url:
        assert check_hub(url)[:3] == ("warning", "hub", f"{url} answers 503")
    away = check_hub(nobody)
    assert away.state == "warning"
    assert "cannot be reached (ConnectError)" in away.found
    assert "HF_HUB_OFFLINE=1" in away.advice


def test_hub_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        finding = check_hub(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert finding.state == "warning"
    assert "ReadTimeout" in finding.found


def test_hub_is_not_asked_offline(monkeypatch: pytest.MonkeyPatch, nobody: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", nobody)
    monkeypatch.setenv("HF_HUB_OFFLINE", "true")
    (finding,) = check_network()
    assert (finding.state, finding.found) == (
        "ok",
        "not asked: HF_HUB_OFFLINE is set, models and data come from the disk",
    )


def test_endpoint_that_is_no_address_is_to_be_fixed_and_a_password_in_one_is_not_shown() -> None:
    assert check_hub("huggingface.co").state == "fix"
    assert "secret" not in " ".join(check_hub("http://user:secret@127.0.0.1:9"))


def test_judge_that_has_the_model_is_ok(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "open sesame")
    with serve(MODELS, key="open sesame") as url:
        finding = check_judge(judge(url, tmp_path, api_key_env="JUDGE_KEY"))
        without = check_judge(judge(url, tmp_path))
        monkeypatch.setenv("JUDGE_KEY", "not this one")
        wrong = check_judge(judge(url, tmp_path, api_key_env="JUDGE_KEY"))
    assert finding == ("ok", "judge", f"judge-7b at {url}/v1: answers, and has the model", "")
    assert without.state == wrong.state == "fix"
    assert "401, it wants a key" in without.found
    assert "401, it refuses the key in JUDGE_KEY" in wrong.found
    assert "not this one" not in " ".join(wrong)


def test_judge_without_the_model_is_to_be_fixed(serve: Any, tmp_path: Path) -> None:
    with serve({"/v1/models": (200, {"data": [{"id": "other"}]})}) as url:
        finding = check_judge(judge(url, tmp_path))
    assert finding.state == "fix"
    assert "it has no such model, but other" in finding.found


@pytest.mark.parametrize("answer", [(404, {}), (200, {"models": []}), (200, [1])])
def test_judge_that_does_not_list_models_is_a_warning(answer: Any, serve: Any, tmp_path: Path) -> None:
    with serve({"/v1/models": answer}) as url:
        assert check_judge(judge(url, tmp_path)).state == "warning"


def test_judge_that_is_away_is_to_be_started(nobody: str, tmp_path: Path) -> None:
    finding = check_judge(judge(nobody, tmp_path))
    assert finding.state == "fix"
    assert "ConnectError" in finding.found


def test_a_recipes_judges_are_looked_at_where_rewards_have_one(serve: Any, tmp_path: Path) -> None:
    path = PROJECT / "recipes/qwen3-0.6b/pairs-stage2.yaml"
    with serve({"/v1/models": (200, {"data": [{"id": "Qwen/Qwen3-32B"}]})}) as url:
        recipe = load_recipe(path, [f"root={tmp_path}"])
        spec = next(spec for spec in recipe.rewards if "judge" in spec.args)
        spec.args["judge"]["url"] = f"{url}/v1"
        (finding,) = check_endpoints(recipe)
        assert finding.state == "ok"
        spec.args["judge"]["api_key_env"] = "NO_SUCH_VARIABLE"
        (finding,) = check_endpoints(recipe)
    assert finding.state == "fix"
    assert "NO_SUCH_VARIABLE" in finding.found
    assert list(check_endpoints(load_recipe(PROJECT / "recipes/demo/sft.yaml"))) == []


def test_vllm_server_of_a_recipe(serve: Any, nobody: str) -> None:
    with serve({"/health": (200, {})}) as url:
        assert check_rollout_server(url) == ("ok", "vllm server", f"{url}: answers", "")
        recipe = load_recipe(
            PROJECT / "recipes/exaone-4.0-32b/rl.yaml", [f"trainer.vllm_server_base_url={url}/", "rewards.0.args={}"]
        )
        assert [finding.state for finding in check_endpoints(recipe) if finding.what == "vllm server"] == ["ok"]
    with serve({"/health": (503, {})}) as url:
        assert check_rollout_server(url).state == "warning"
    with serve({}) as url:
        assert "404, so it is none" in check_rollout_server(url).found
    assert check_rollout_server(nobody).state == "fix"
    assert "trl vllm-serve" in check_rollout_server(nobody).advice


def test_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "wandb.py").write_text("")
    assert check_tracker("tensorboard").state == "ok"
    assert check_tracker("mlflow").state == "warning"
    assert check_tracker("wandb").found == "wandb has no key"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password 0123\n")
    assert check_tracker("wandb").state == "ok"
    (tmp_path / "netrc").unlink()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert check_tracker("wandb").state == "ok"


def test_a_tracker_that_is_not_installed_is_to_be_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    from posttrain.doctor import trackers

    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    finding = check_tracker("trackio")
    assert (finding.state, finding.found) == ("fix", "trackio is not installed")
    assert "posttrain[trackio]" in finding.advice


def test_trackers_are_those_that_the_recipe_names() -> None:
    path = PROJECT / "recipes/demo/sft.yaml"
    asked = {
        words: [finding.found for finding in check_trackers(load_recipe(path, [f"trainer.report_to={words}"]))]
        for words in ("none", "tensorboard", "[tensorboard, mlflow]")
    }
    assert asked == {"none": [], "tensorboard": ["tensorboard"], "[tensorboard, mlflow]": ["tensorboard", "mlflow"]}
