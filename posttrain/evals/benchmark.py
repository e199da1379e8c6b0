"""A benchmark: questions, and the rewards that grade the answers to them.

A recipe names one of those in the box (`use: demo`, a file of `posttrain.evals.benchmarks`) or a plugin
(`use: my_package.mine:my_benchmark`). Either is a function whose arguments are the recipe's `args` and that returns a
`Benchmark`. One whose questions have to be measured in tokens asks for the model's with an argument `tokenizer`.
"""

import inspect
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.data.rows import Row
from posttrain.errors import UserError, did_you_mean
from posttrain.plugins import call, check_arguments, load_object
from posttrain.recipe import BenchmarkSpec, RewardSpec, parse_hub_path

PACKAGE = "posttrain.evals.benchmarks"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Questions and graders.

    Attributes:
        rows: each with `messages` (what is asked; a last assistant turn is not shown to the model) and the columns that
            its graders need; of no mode, as the decoding has it. `language` and `tools` mean what they do elsewhere.
        rewards: the same objects as in training.
        files: where the rows come from, for their hashes; none where they are made from the recipe alone.
        cells: columns by whose values results are shown too, such as length and depth.
    """

    rows: Sequence[Row]
    rewards: Sequence[RewardSpec]
    files: Sequence[Path] = ()
    cells: Sequence[str] = ()


def load_benchmark(spec: BenchmarkSpec, where: str, tokenizer: Any) -> Benchmark:
    """The benchmark that `spec` names.

    Args:
        spec: of the recipe.
        where: its place there, for errors: "benchmarks.0".
        tokenizer: the model's.

    Raises:
        UserError: there is no such benchmark, it does not take these arguments, a package or a data set that it needs
            is missing, or what it returns are no questions.
    """
    function, use = _function(spec, where)
    given = {"tokenizer": tokenizer} if _asks_for_tokenizer(function) else {}
    try:
        benchmark = call(function, use, {**spec.args, **given}, f"{where}.args")
    except ModuleNotFoundError as error:
        raise UserError(f"{where}.use: {use} needs a module that is not installed: {error}") from error
    if not isinstance(benchmark, Benchmark):
        raise UserError(f"{where}.use: {use} returned a {type(benchmark).__name__}, need a Benchmark")
    if not benchmark.rows:
        raise UserError(f"{where}: {use} with {spec.args} has no questions; need at least one")
    for number, row in enumerate(benchmark.rows):
        if not row.get("messages"):
            raise UserError(f"{where}: row {number} of {use} has no `messages` (found columns {sorted(row)})")
    return benchmark


def check_benchmark(spec: BenchmarkSpec, where: str) -> None:
    """What can be said against a benchmark before its questions and the model's tokenizer are there.

    Raises:
        UserError: there is no such benchmark, it does not take these arguments, or a data set of the hub is not pinned.
    """
    function, use = _function(spec, where)
    given = {"tokenizer": None} if _asks_for_tokenizer(function) else {}
    check_arguments(function, use, {**spec.args, **given}, f"{where}.args")
    try:
        if spec.use in benchmarks_in_the_box() and "revision" in (known := inspect.signature(function).parameters):
            parse_hub_path(f"hub:owner/{spec.use}@{spec.args.get('revision', known['revision'].default)}")
        if isinstance(path := spec.args.get("path"), str):
            parse_hub_path(path)
    except UserError as error:
        raise UserError(f"{where}.args: {error}") from None


def benchmarks_in_the_box() -> list[str]:
    """The names that `use` takes without a colon."""
    folder = str(Path(__file__).parent / "benchmarks")
    return sorted(module.name for module in pkgutil.iter_modules([folder]) if not module.name.startswith("_"))


def _function(spec: BenchmarkSpec, where: str) -> tuple[Callable[..., Any], str]:
    """What makes the benchmark, and its name as `package.module:object`."""
    use = spec.use if ":" in spec.use else _in_the_box(spec.use, f"{where}.use")
    function = load_object(use, f"{where}.use")
    if not callable(function):
        raise UserError(f"{where}.use: {use} is a {type(function).__name__}, need a function that returns a Benchmark")
    if "tokenizer" in spec.args:
        raise UserError(f"{where}.args: got a tokenizer, which is the model's; leave it out")
    return function, use


def _asks_for_tokenizer(function: Callable[..., Any]) -> bool:
    return "tokenizer" in inspect.signature(function).parameters


def _in_the_box(name: str, where: str) -> str:
    known = benchmarks_in_the_box()
    if name not in known:
        near = did_you_mean(name, known)
        raise UserError(f"{where}: got {name!r}{near}; need package.module:object or one of {', '.join(known)}")
    return f"{PACKAGE}.{name}:{name}"
