"""`posttrain eval` on vLLM, for real: both modes, a thinking budget, and what is measured of them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.taught import ANSWER, DIRECT_ANSWER, QUESTION, THINKING

pytestmark = pytest.mark.slow

BUDGET = 3
KNOWN, UNKNOWN = QUESTION, "3+9?"  # of the second the model knows no answer


@pytest.fixture(scope="module")
def runs(taught_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same evaluation on both engines, each by the command and in a process of its own."""
    folder = tmp_path_factory.mktemp("engines")
    rows = [
        {"messages": [{"role": "user", "content": question}], "answer": "5", "language": "en", "domain": "math"}
        for question in (KNOWN, UNKNOWN)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = {
        "stage": "eval",
        "run": "${root}",
        "label": "taught",
        "model": {"path": str(taught_folder)},
        "data": {"sources": [{"path": str(folder / "rows.jsonl")}]},
        "engine": {"max_model_len": 256, "memory_gb": 0.25},
        "decodings": [
            {"name": "reasoning", "mode": "reasoning", "temperature": 0.0, "max_new_tokens": 64, "samples": 2},
            {"name": "direct", "mode": "non_reasoning", "temperature": 0.0, "max_new_tokens": 32},
        ],
        "thinking_budgets": [BUDGET, None],
        "latency_questions": 1,
        "rewards": [{"use": "rewards.math_answer:math_answer"}],
    }
    (folder / "eval.yaml").write_text(yaml.safe_dump(content))
    for engine in ("vllm", "transformers"):
        words = [str(folder / "eval.yaml"), f"root={folder / engine}", f"engine.name={engine}"]
        subprocess.run([sys.executable, "-m", "posttrain", "eval", *words], check=True)
    return {engine: folder / engine for engine in ("vllm", "transformers")}


def records_of(run: Path, decoding: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    return [record for record in records if record["decoding"] == decoding]


def test_both_modes_are_asked_and_kept(runs: dict[str, Path]) -> None:
    thought, _, *_ = records_of(runs["vllm"], "reasoning")
    direct, _ = records_of(runs["vllm"], "direct")
    assert (thought["mode"], thought["thinking"].strip(), thought["answer"]) == ("reasoning", THINKING, ANSWER)
    assert (direct["mode"], direct["thinking"], direct["answer"]) == ("non_reasoning", None, DIRECT_ANSWER)
    assert thought["is_in_mode"]
    assert direct["is_in_mode"]
    assert not thought["budget_reached"]


def test_thinking_never_goes_past_its_budget_and_is_answered(runs: dict[str, Path]) -> None:
    records = records_of(runs["vllm"], f"reasoning, budget {BUDGET}")
    assert len(records) == 4
    for record in records:
        assert record["num_thinking_tokens"] == BUDGET
        assert record["budget_reached"]
        assert record["answer"]
    assert THINKING.startswith(records[0]["thinking"].strip())


def test_results_have_speed_latency_and_the_budget_curve(runs: dict[str, Path]) -> None:
    content = json.loads((runs["vllm"] / "eval.json").read_bytes())
    assert content["engine"] == "vllm"
    for entry in content["decodings"]:
        assert list(entry["groups"]) == ["all", "en", "domain/math"]
        assert entry["latency"]["mean"] > 0
        assert entry["tokens_per_second"] == pytest.approx(entry["tokens"] / entry["seconds"], rel=0.2)
    (curve,) = content["budget_curves"]
    limited, free = curve["points"]
    assert limited["thinking_tokens"]["mean"] == BUDGET < free["thinking_tokens"]["mean"]
    assert (limited["budget_reached"]["mean"], free["budget_reached"]["mean"]) == (1, 0)


def test_both_engines_measure_the_same(runs: dict[str, Path]) -> None:
    one, other = (json.loads((run / "eval.json").read_bytes())["decodings"] for run in runs.values())
    assert [entry["name"] for entry in one] == [entry["name"] for entry in other]
    assert [entry["groups"] for entry in one] == [entry["groups"] for entry in other]
