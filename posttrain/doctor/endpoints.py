"""The servers that a recipe asks: its judges, and the vLLM server of its rollouts."""

import os
from collections.abc import Iterator
from typing import Any

import httpx

from posttrain.doctor.finding import Finding, fix, ok, warning
from posttrain.errors import UserError
from posttrain.plugins import build
from posttrain.recipe import AnyRecipe, EvalRecipe, RewardSpec, RLRecipe
from rewards._judge import Judge

TIMEOUT_S = 5.0


def check_endpoints(recipe: AnyRecipe) -> Iterator[Finding]:
    """A line for each; nothing for a recipe that asks none."""
    specs: list[RewardSpec] = list(getattr(recipe, "rewards", []))
    if isinstance(recipe, EvalRecipe):
        specs += [spec for benchmark in recipe.benchmarks for spec in benchmark.rewards]
    for spec in specs:
        if spec.args.get("judge"):
            try:
                judge = build(spec.use, spec.args, spec.use).judge
            except UserError as error:
                yield fix("judge", str(error), "mend it in the recipe, or set the variable that it names")
            else:
                if isinstance(judge, Judge):
                    yield check_judge(judge)
    if isinstance(recipe, RLRecipe) and recipe.engine == "vllm" and recipe.trainer.get("vllm_mode") == "server":
        yield check_rollout_server(_rollout_server(recipe.trainer))


def check_judge(judge: Judge) -> Finding:
    """Whether it answers, takes the key and has the model; asking for the list of models costs no tokens."""
    where = f"{judge.model} at {judge.url}"
    headers = {"Authorization": f"Bearer {os.environ[judge.api_key_env]}"} if judge.api_key_env else {}
    try:
        response = httpx.get(f"{judge.url.rstrip('/')}/models", headers=headers, timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        return fix("judge", f"{where}: {type(error).__name__}", "start it (vllm serve MODEL), or mend the judge's url")
    if response.status_code in (401, 403):
        why = f"it refuses the key in {judge.api_key_env}" if judge.api_key_env else "it wants a key"
        advice = "put the key into a variable, and the variable's name into judge.api_key_env"
        return fix("judge", f"{where}: {response.status_code}, {why}", advice)
    models = _models(response)
    if models is None:
        unknown = f"{where}: answers {response.status_code} and does not list its models"
        return warning("judge", unknown, "ask it one question: posttrain rewards check with the recipe's reward")
    if judge.model not in models:
        others = ", ".join(models[:5]) or "none"
        return fix("judge", f"{where}: it has no such model, but {others}", "mend judge.model, or serve that model")
    return ok("judge", f"{where}: answers, and has the model")


def check_rollout_server(url: str) -> Finding:
    """Whether TRL's vLLM server is up."""
    start = "start it before the run: CUDA_VISIBLE_DEVICES=... trl vllm-serve --model MODEL"
    try:
        response = httpx.get(f"{url}/health", timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return fix("vllm server", f"{url}: {type(error).__name__}", start)
    if response.is_success:
        return ok("vllm server", f"{url}: answers")
    if response.status_code >= 500:
        return warning("vllm server", f"{url}: answers {response.status_code}", "it may still be loading: ask again")
    return fix("vllm server", f"{url}: answers {response.status_code}, so it is none", start)


def _rollout_server(trainer: dict[str, Any]) -> str:
    """Its address, by TRL's keys and their defaults."""
    if url := trainer.get("vllm_server_base_url"):
        return str(url).rstrip("/")
    return f"http://{trainer.get('vllm_server_host', '0.0.0.0')}:{trainer.get('vllm_server_port', 8000)}"


def _models(response: httpx.Response) -> list[str] | None:
    """The names; None where the answer is no list of models."""
    try:
        return [str(model["id"]) for model in response.json()["data"]] if response.is_success else None
    except (ValueError, LookupError, TypeError):
        return None
