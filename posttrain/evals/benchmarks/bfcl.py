"""Berkeley Function Calling Leaderboard, version 3: questions to be answered with one round of calls, from the hub.

The data set is a folder of files, one for the questions of a category and one for the allowed answers, and no table
that `datasets` could load. Scores are those of `rewards.allowed_calls`, which follows the leaderboard's rules for
Python functions but is not its code: compare models with it, not a model with the leaderboard's page.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posttrain.data.rows import Row
from posttrain.errors import UserError, did_you_mean
from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import pinned
from posttrain.recipe import RewardSpec, parse_hub_path

DATA_SET = "gorilla-llm/Berkeley-Function-Calling-Leaderboard"
REVISION = "61fc0608cfd831fcfbbaa676ebdfef0ed963eeda"  # as in nine public repositories
WITH_CALLS = ("simple", "multiple", "parallel", "parallel_multiple")
CATEGORIES = (*WITH_CALLS, "irrelevance", *(f"live_{name}" for name in WITH_CALLS), "live_irrelevance")
TYPES = {"dict": "object", "float": "number", "tuple": "array"}  # the data set writes Python's names


def bfcl(*, category: str = "simple", revision: str = REVISION, limit: int | None = None) -> Benchmark:
    """The questions of one category.

    Args:
        category: simple, multiple, parallel, parallel_multiple, irrelevance (no call is right), or live_ and those.
        revision: another commit, 40 hexadecimal digits.
        limit: only so many rows.
    """
    if category not in CATEGORIES:
        near = did_you_mean(category, CATEGORIES)
        raise UserError(f"got the category {category!r}{near}; need one of {', '.join(CATEGORIES)}")
    hub = parse_hub_path(pinned(DATA_SET, revision, None, "train").path)
    assert hub is not None
    name = f"BFCL_v3_{category}.json"
    files = [_download(hub.revision, name)]
    answers: dict[str, Any] = {}
    if "irrelevance" not in category:
        files.append(_download(hub.revision, f"possible_answer/{name}"))
        answers = {one["id"]: one["ground_truth"] for one in _lines(files[1])}
    rows = [_row(question, answers.get(question["id"], [])) for question in _lines(files[0])[:limit]]
    return Benchmark(rows, [RewardSpec(use="rewards.allowed_calls:allowed_calls")], files)


def _row(question: Mapping[str, Any], ground_truth: Any) -> Row:
    """A question of the leaderboard and its `ground_truth`, a list of {function: {argument: [allowed values]}}."""
    calls = [{"name": name, "arguments": arguments} for call in ground_truth for name, arguments in call.items()]
    (turn,) = question["question"]  # several are for the categories of several turns
    return {
        "messages": [dict(message) for message in turn],
        "tools": [{"type": "function", "function": _schema(function)} for function in question["function"]],
        "allowed_calls": json.dumps(calls),
        "id": question["id"],
    }


def _schema(value: Any) -> Any:
    """JSON schema with its own names of types."""
    if isinstance(value, list):
        return [_schema(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _schema(each) for key, each in value.items()}
    kind = plain.get("type")
    if kind == "any":
        del plain["type"]
    elif isinstance(kind, str):
        plain["type"] = TYPES.get(kind, kind)
    return plain


def _download(revision: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(DATA_SET, name, repo_type="dataset", revision=revision))
    except (OSError, ValueError, HfHubHTTPError) as error:
        problem = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"{name} of the hub data set '{DATA_SET}' at {revision} cannot be loaded ({problem}); check the commit and "
            "the network"
        ) from error


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
