"""All questions of an evaluation, those of its data and those of its benchmarks, and the rewards that grade them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from posttrain.data.rows import Row, read_all, source_files
from posttrain.errors import UserError
from posttrain.evals.benchmark import Benchmark, load_benchmark
from posttrain.recipe import EvalRecipe, RewardSpec
from posttrain.runs import json_safe

DATA = "data"  # the name of the recipe's own data among the benchmarks


@dataclass(frozen=True, slots=True)
class Question:
    """One row and where it stands.

    Attributes:
        benchmark: whose it is.
        number: its index there.
        row: with the benchmark's name under `benchmark`, so that rewards can be narrowed to it.
        cell: the columns by which the benchmark's results are shown.
    """

    benchmark: str
    number: int
    row: Row
    cell: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """Tells this question from every other one, its gold included: the start of a SHA-256."""
        said = {key: value for key, value in self.row.items() if key not in ("mode", "benchmark")}
        text = json.dumps(json_safe(said), sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Suite:
    """What a model is asked and how it is graded."""

    questions: Sequence[Question]
    rewards: Sequence[RewardSpec]
    files: Sequence[Path]

    @property
    def sizes(self) -> dict[str, int]:
        """Questions by benchmark."""
        sizes: dict[str, int] = {}
        for question in self.questions:
            sizes[question.benchmark] = sizes.get(question.benchmark, 0) + 1
        return sizes


def load_suite(recipe: EvalRecipe, tokenizer: Any) -> Suite:
    """Read the recipe's data and load its benchmarks.

    Raises:
        UserError: as in `read_all` and `load_benchmark`, or two benchmarks have one name.
    """
    parts = dict(_parts(recipe, tokenizer))
    questions = [
        Question(name, number, {**row, "benchmark": name}, {column: row.get(column) for column in part.cells})
        for name, part in parts.items()
        for number, row in enumerate(part.rows)
    ]
    rewards = _merged([_only_for(name, spec) for name, part in parts.items() for spec in part.rewards])
    return Suite(questions, rewards, [file for part in parts.values() for file in part.files])


def _parts(recipe: EvalRecipe, tokenizer: Any) -> list[tuple[str, Benchmark]]:
    parts = []
    if recipe.data is not None:
        sources = recipe.data.sources
        parts.append((DATA, Benchmark(read_all(sources), recipe.rewards, source_files(sources))))
    for index, spec in enumerate(recipe.benchmarks):
        name, where = spec.name or spec.use.rpartition(":")[2], f"benchmarks.{index}"
        if any(name == other for other, _ in parts):
            raise UserError(f"{where}: two benchmarks are named {name!r}; give one of them another `name`")
        benchmark = load_benchmark(spec, where, tokenizer)
        parts.append((name, replace(benchmark, rewards=[*benchmark.rewards, *spec.rewards])))
    return parts


def _only_for(benchmark: str, spec: RewardSpec) -> RewardSpec:
    return replace(spec, name=spec.name or spec.use.rpartition(":")[2], when={**spec.when, "benchmark": [benchmark]})


def _merged(specs: Sequence[RewardSpec]) -> list[RewardSpec]:
    """The same reward of several benchmarks is one; others of the same name are told apart by their benchmark."""
    merged: list[RewardSpec] = []
    for spec in specs:
        twin = next((index for index, other in enumerate(merged) if _is_same(spec, other)), None)
        if twin is not None:
            both = [*merged[twin].when["benchmark"], *spec.when["benchmark"]]
            merged[twin] = replace(spec, when={**spec.when, "benchmark": both})
        elif any(spec.name == other.name for other in merged):
            merged.append(replace(spec, name=f"{spec.name} ({spec.when['benchmark'][0]})"))
        else:
            merged.append(spec)
    return merged


def _is_same(one: RewardSpec, other: RewardSpec) -> bool:
    """Whether they differ in nothing but the benchmarks that they are for."""
    return replace(one, when={**one.when, "benchmark": []}) == replace(other, when={**other.when, "benchmark": []})
