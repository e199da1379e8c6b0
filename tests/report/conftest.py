"""Run folders as the stages leave them, in the shape of a demo run: SFT, AGAPO, SimPER 1 and 2, each evaluated."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posttrain.report.load import StageRun, load_stage

STAGES = ("SFT", "AGAPO", "SimPER stage 1", "SimPER stage 2")
KINDS = {"SFT": "sft", "AGAPO": "rl", "SimPER stage 1": "pref", "SimPER stage 2": "pref"}
FOLDERS = {"SFT": "sft", "AGAPO": "rl", "SimPER stage 1": "pref-stage1", "SimPER stage 2": "pref-stage2"}
DECODINGS = (
    ("reasoning, greedy", "reasoning", 0.0),
    ("reasoning, T=0.6", "reasoning", 0.6),
    ("non-reasoning, greedy", "non_reasoning", 0.0),
)
ACCURACY = {"SFT": 0.465, "AGAPO": 0.749, "SimPER stage 1": 0.742, "SimPER stage 2": 0.751}
QUESTIONS = {
    "en": "What is the last digit of 4 + 7 * 3 - 5?",
    "ko": "4 + 7 * 3 - 5를 왼쪽부터 계산하면 마지막 자리 숫자는 무엇인가요?",
    "es": "¿Cuál es la última cifra de 4 + 7 * 3 - 5?",
}
ANSWERS = {"en": "The answer is {}.", "ko": "정답은 {}입니다.", "es": "La respuesta es {}."}
HOSTILE = '</script><script>alert("model")</script><img src=x onerror=alert(1)>'
RECIPE = """stage: {kind}
root: runs/demo
run: runs/demo/{folder}
seed: 0
model: {{path: runs/demo/base, dtype: float32}}
mixer:
  use: data_mixers.by_tokens:ByTokens
  args:
    shares: {{reasoning: 1.5, non_reasoning: 1.0}}
trainer:
  learning_rate: 3.0e-4
  max_steps: 45
"""
EVALUATION_RECIPE = "stage: eval\nrun: runs/demo/{folder}\nmodel: {{path: runs/demo/{of}/model}}\n"


def write_run(folder: Path, name: str, *, num_samples: int = 160, seed: int = 0) -> Path:
    """A run folder of the stage `name`, with metrics and samples of its kind."""
    folder.mkdir(parents=True)
    rng = random.Random(f"{name}{seed}")
    kind = KINDS[name]
    (folder / "recipe.yaml").write_text(RECIPE.format(kind=kind, folder=folder.name), encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(manifest(kind)), encoding="utf-8")
    rows = {"sft": sft_metrics, "rl": rl_metrics, "pref": pref_metrics}[kind](rng)
    write_lines(folder / "metrics.jsonl", rows)
    write_lines(folder / "samples.jsonl", [sample(rng, name, step=index // 8) for index in range(num_samples)])
    return folder


def write_evaluation(
    folder: Path, name: str, *, of: str = "", content: dict[str, Any] | None = None, num_samples: int = 90
) -> Path:
    """An evaluation's run folder of the stage `name`, whose run folder has the name `of`."""
    folder.mkdir(parents=True)
    rng = random.Random(f"evaluation {name}")
    content = content or evaluation(name)
    (folder / "recipe.yaml").write_text(EVALUATION_RECIPE.format(folder=folder.name, of=of or name), encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(manifest("eval")), encoding="utf-8")
    (folder / "eval.json").write_text(json.dumps(content), encoding="utf-8")
    names = [decoding["name"] for decoding in content["decodings"]]
    rows = [sample(rng, name, step=0) | {"decoding": names[index % len(names)]} for index in range(num_samples)]
    write_lines(folder / "samples.jsonl", rows)
    return folder


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def manifest(kind: str) -> dict[str, Any]:
    return {
        "stage": kind,
        "status": "finished",
        "started": "2026-03-01T10:22:05+00:00",
        "finished": "2026-03-01T10:28:15+00:00",
        "seconds": 370.0,
        "git_revision": "4f2a9c1be03d5c8877aa10f3d2b6e9471c50de88",
        "versions": {"torch": "2.13.0", "transformers": "5.19.0", "trl": "1.16.0", "vllm": "0.32.0"},
        "data": {"runs/demo/data/train.jsonl": "9b74c9897bac770ffc029102a200c5de11d2a4ac7ad4fa2bfae0d4c3f4c5b6a7"},
        "template_sha256": "c0ffee254729296a45a3885639ac7e10f9d54979aa3f1b2c3d4e5f60718293a4",
        "seed": 0,
        "notes": {"parameters": 919_000},
    }


def sft_metrics(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for step in range(1, 401):
        loss = 0.4 + 3.4 * math.exp(-step / 60) + rng.gauss(0, 0.05)
        rows.append(
            {
                "step": step,
                "time": step * 0.2,
                "loss": loss,
                "loss/reasoning": loss * 0.9 + rng.gauss(0, 0.03),
                "loss/non_reasoning": loss * 1.15 + rng.gauss(0, 0.05),
                "tokens/reasoning": 614 * step,
                "tokens/non_reasoning": 409 * step,
                "tokens/ratio": 1.5 + rng.gauss(0, 0.4) / math.sqrt(step),
                "grad_norm": 0.6 + 2 * math.exp(-step / 20) + abs(rng.gauss(0, 0.1)) + (5.0 if step == 212 else 0),
                "learning_rate": 4e-3 * min(1, step / 50) * (1 - step / 450),
            }
        )
    return rows


def rl_metrics(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for step in range(1, 46):
        right = 0.35 + 0.38 * (1 - math.exp(-step / 15)) + rng.gauss(0, 0.015)
        correct, wrong = max(0.0, right - 0.4), max(0.02, 0.3 - right * 0.38)
        rows.append(
            {
                "step": step,
                "time": step * 8.4,
                "loss": rng.gauss(0, 0.02),
                "reward": right + 0.02,
                "outcome": right,
                "groups/all_correct": correct,
                "groups/mixed": 1 - correct - wrong,
                "groups/all_wrong": wrong,
                "completions/mean_length": 52 + 8 * right + rng.gauss(0, 0.8),
                "length/thinking": 43 + 8 * right + rng.gauss(0, 0.8),
                "length/answer": 7.0 + rng.gauss(0, 0.1),
                **{f"outcome/language/{code}": right + rng.gauss(0, 0.03) for code in QUESTIONS},
                **{f"outcome/domain/{domain}": right + rng.gauss(0, 0.03) for domain in ("code", "math")},
                "kl": 0.004 * step,
                "entropy": 0.55 - 0.25 * step / 45 + rng.gauss(0, 0.01),
                "rollout/mismatch_kl": 2e-7 + abs(rng.gauss(0, 4e-8)),
                "rollout/weights_in_sync": 1,
                "advantage/all_wrong_mean": -0.1,
                "grad_norm": 0.4 + abs(rng.gauss(0, 0.05)),
                "seconds/generate": 4.2 + rng.gauss(0, 0.2),
                "seconds/update": 4.0 + rng.gauss(0, 0.2),
            }
        )
    return rows


def pref_metrics(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for step in range(1, 25):
        chosen, rejected = 0.71 + 0.004 * step + rng.gauss(0, 0.008), 0.66 - 0.006 * step + rng.gauss(0, 0.008)
        rows.append(
            {
                "step": step,
                "time": step * 1.2,
                "loss": rejected - chosen,
                "prob/chosen": chosen,
                "prob/rejected": rejected,
                "margin": chosen - rejected,
                "ordering_accuracy": min(1.0, 0.7 + 0.01 * step + rng.gauss(0, 0.02)),
                "length/chosen": 38.0,
                "length/rejected": 55.0,
                "grad_norm": 0.8 + abs(rng.gauss(0, 0.1)),
            }
        )
    return rows


def sample(rng: random.Random, stage: str, *, step: int) -> dict[str, Any]:
    language, mode = rng.choice(list(QUESTIONS)), rng.choice(("reasoning", "reasoning", "non_reasoning"))
    is_right = rng.random() < ACCURACY[stage]
    digit = 8 if is_right else rng.randrange(8)
    answer = ANSWERS[language].format(digit) if rng.random() > 0.05 else HOSTILE
    thinking = "4+7=1\nThen 1*3=3\nNext, 3-5=8\nLet me check the sum again: 4+7=1." if mode == "reasoning" else None
    reason = "equals the reference" if is_right else f"read {digit}, the reference is 8"
    row = {
        "step": step,
        "stage": KINDS[stage],
        "mode": mode,
        "language": language,
        "prompt": [{"role": "user", "content": QUESTIONS[language]}],
        "thinking": thinking,
        "answer": answer,
        "is_truncated": False,
        "num_tokens": 52 if thinking else 7,
        "num_thinking_tokens": 45 if thinking else 0,
        "reward": float(is_right),
        "outcome": is_right,
        "verdicts": {
            "last_digit": {"score": float(is_right), "outcome": is_right, "extracted": str(digit), "reason": reason},
            "language": {"score": 1.0, "outcome": None, "extracted": language, "reason": "the question's language"},
        },
    }
    if KINDS[stage] == "rl":
        row |= {"group_type": rng.choice(("all_correct", "mixed", "all_wrong")), "advantage": rng.gauss(0, 1)}
    return row


def evaluation(name: str) -> dict[str, Any]:
    stage = STAGES.index(name)
    decodings = []
    for decoding, mode, temperature in DECODINGS:
        groups = {}
        for shift, group in enumerate(("all", *QUESTIONS)):
            size = 600 if group == "all" else 200
            accuracy = ACCURACY[name] * (1 if mode == "reasoning" else 0.4) - 0.02 * (shift - 1) * (group != "all")
            thinking = 0.0 if mode == "non_reasoning" else (46.2, 48.9, 39.4, 39.1)[stage] + temperature
            groups[group] = metrics(size, accuracy, thinking, 0.85 + 0.04 * stage - (0.1 if temperature else 0))
        decodings.append(entry(decoding, mode, temperature, groups))
    return {"model": f"runs/demo/{name}/model", "label": name, "questions": 600, "decodings": decodings}


def metrics(size: int, accuracy: float, thinking: float, in_language: float = 1.0) -> dict[str, Any]:
    return {
        "n": size,
        "questions": size,
        "unscorable": 0,
        "accuracy": share(accuracy, size),
        "thinking_tokens": {"mean": thinking, "low": thinking * 0.98, "high": thinking * 1.02},
        "answer_tokens": {"mean": 6.7, "low": 6.6, "high": 6.8},
        "mode_adherence": share(0.998, size),
        "thinks": share(1.0 if thinking else 0.0, size),
        "language_consistency": share(in_language, size),
        "truncated": share(0.01, size),
        "looping": share(0.005, size),
        "budget_reached": share(0.0, size),
    }


def entry(name: str, mode: str, temperature: float, groups: dict[str, Any], **more: Any) -> dict[str, Any]:
    content = {"name": name, "mode": mode, "temperature": temperature, "top_p": 0.95, "max_new_tokens": 192}
    content |= {"thinking_budget": None, "samples": 1, "tokens_per_second": 2710.0}
    return content | {"latency": {"mean": 0.41, "low": 0.38, "high": 0.44}, "groups": groups} | more


def profile() -> dict[str, Any]:
    """An evaluation of two benchmarks in both modes, several samples a question, with a sweep over budgets."""
    decodings, points = [], []
    for budget, accuracy in ((8, 0.31), (16, 0.42), (32, 0.66), (None, 0.75)):
        name = "reasoning" if budget is None else f"reasoning, budget {budget}"
        measured = metrics(600, accuracy, min(budget or 99, 39.1))
        measured |= {"pass_at": {"1": share(accuracy, 600), "4": share(accuracy + 0.15, 600)}}
        measured |= {"majority": share(accuracy + 0.05, 600)}
        benchmarks = {"demo": {"groups": {"all": measured}, "cells": []}, "needle": {"groups": {"all": measured}}}
        benchmarks["needle"]["cells"] = [
            {"length": length, "depth": depth, **metrics(12, max(0.0, 1 - length / 5000 - depth / 4), 20.0)}
            for length in (1024, 2048, 4096)
            for depth in (0.0, 0.5, 1.0)
        ]
        groups = {"all": measured, **dict.fromkeys(QUESTIONS, measured)}
        decodings.append(
            entry(name, "reasoning", 0.6, groups, benchmarks=benchmarks, thinking_budget=budget, samples=4)
        )
        points.append({"decoding": name, "thinking_budget": budget, **measured})
    direct = metrics(600, 0.28, 0.0)
    benchmarks = {name: {"groups": {"all": direct}, "cells": []} for name in ("demo", "needle")}
    decodings.append(entry("non-reasoning", "non_reasoning", 0.6, {"all": direct}, benchmarks=benchmarks))
    curves = [{"decoding": "reasoning", "points": points}]
    return {"label": "profile", "questions": 600, "decodings": decodings, "budget_curves": curves}


def share(mean: float, size: int) -> dict[str, float]:
    half = 1.96 * math.sqrt(mean * (1 - mean) / size)
    return {"mean": mean, "low": max(0.0, mean - half), "high": min(1.0, mean + half)}


def write_pipeline(root: Path, *, seed: int = 0) -> Path:
    """Run folders of all stages below `root`, each with its evaluation, and the profile of the last model."""
    for number, name in enumerate(STAGES):
        run = write_run(root / FOLDERS[name], name, seed=seed)
        of_run = write_evaluation(root / f"eval-{run.name}", name, of=run.name)
        start(run, 2 * number)
        start(of_run, 2 * number + 1)
    start(write_evaluation(root / "profile", STAGES[-1], of=FOLDERS[STAGES[-1]], content=profile()), 9)
    return root


def start(run: Path, minute: int) -> None:
    """Let the run say that it was started at that minute."""
    content = json.loads((run / "manifest.json").read_text())
    content["started"] = f"2026-03-01T10:{minute:02d}:00+00:00"
    (run / "manifest.json").write_text(json.dumps(content))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """`make_run("SFT")` writes a run folder and names it."""
    return lambda name, **options: write_run(tmp_path / "runs" / name, name, **options)


@pytest.fixture
def make_evaluation(tmp_path: Path) -> Callable[..., Path]:
    """`make_evaluation("SFT")` writes an evaluation's run folder and names it."""
    return lambda name, **options: write_evaluation(tmp_path / "runs" / f"eval {name}", name, **options)


@pytest.fixture
def stages(make_run: Callable[..., Path], make_evaluation: Callable[..., Path]) -> list[StageRun]:
    """All four stages, each with its evaluation."""
    return [load_stage(name, make_run(name), make_evaluation(name)) for name in STAGES]
