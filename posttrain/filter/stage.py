"""The filter stage: sample from the model at every prompt, grade, and keep the prompts that RL can learn from."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from posttrain.chat import require_template
from posttrain.data.rows import Row, place_of, read_all, source_files
from posttrain.errors import UserError
from posttrain.filter.pass_rates import PassRates, is_kept, pass_rate, sum_up
from posttrain.grading import GradingPool, empty_attempt, sample_record
from posttrain.grading.gold import require_gold
from posttrain.inference.sampling import Query, evenly_spread, make_queries, sample_and_grade
from posttrain.models.load import load_tokenizer, model_files
from posttrain.recipe import FilterRecipe, resolved_yaml
from posttrain.runs import Resume, Run, append_json_lines, json_safe, write_json_atomically, written_aside
from posttrain.terminal import console

LONGEST_BAR = 30  # characters


def run_stage(recipe: FilterRecipe, *, resume: Resume) -> None:
    """Write `prompts.jsonl` (kept), `dropped.jsonl`, `summary.json` and `samples.parquet` into the run folder.

    The rows are written as they were read, what their source fills in included, with their `pass_rate`: null where no
    response could be judged. Samples of an interrupted run are graded again, not sampled again.

    Raises:
        UserError: something in the recipe or the data is wrong, or no prompt is kept.
    """
    files = [*source_files(recipe.data.sources), *model_files(recipe.model)]
    tokenizer = load_tokenizer(recipe.model)
    template = require_template(tokenizer, recipe.model.path)
    rows = read_all(recipe.data.sources)
    with GradingPool(recipe.rewards, recipe.grading) as grader:
        queries = prepare(recipe, rows, tokenizer, grader)
        with Run.start(recipe.run, "filter", resolved_yaml(recipe), recipe.seed, files, template, resume) as run:
            grader.introduce(run)
            total = _split(recipe, run, rows, _measure(recipe, run, queries, tokenizer, grader))
            if not total.kept:
                raise _none_kept(total)
            run.finish({"filter": asdict(total), "broken": grader.broken})
    console.print(histogram_table(total))


def prepare(recipe: FilterRecipe, rows: Sequence[Row], tokenizer: Any, grader: GradingPool) -> list[Query]:
    """The rows as queries, checked before any weights are loaded.

    Raises:
        UserError: as in `make_queries`, `require_gold` and `GradingPool.grade_all`, or a row cannot be written as
            JSON, or none can be judged.
    """
    for number, row in enumerate(rows):
        try:
            json.dumps(json_safe(row))
        except TypeError as error:
            raise UserError(
                f"{place_of(recipe.data.sources, number)} cannot be written to prompts.jsonl ({error}); "
                "make that column text or a number, or leave it out"
            ) from error
    queries = make_queries(recipe, rows, tokenizer)
    if recipe.check_gold:
        asked = [{**query.row, "mode": query.mode} for query in queries]
        require_gold(asked, recipe.rewards, recipe.grading, partial(place_of, recipe.data.sources))
    attempts = [empty_attempt(query.row, mode=query.mode) for query in queries]
    if all(graded.outcome is None for graded in grader.grade_all(attempts)):
        raise UserError(
            f"got {len(rows)} prompts that no reward ({', '.join(grader.names)}) can call right or wrong; need a "
            "reward with an outcome, as rewards.math_answer:math_answer, and in the rows its gold, as `answer`"
        )
    return queries


def histogram_table(total: PassRates) -> Table:
    """Prompts by pass rate, a bar each; fits a terminal of 80 columns."""
    mean = "-" if total.mean_pass_rate is None else f"{total.mean_pass_rate:.1%}"
    table = Table(
        title=f"{total.prompts:,} prompts, {total.kept:,} kept ({total.share_kept:.1%}); mean pass rate {mean}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    for head in ("right", "prompts", "kept"):
        table.add_column(head, justify="right")
    table.add_column("")
    most = max(1, *total.histogram.values())
    for right, count in total.histogram.items():
        table.add_row(right, f"{count:,}", f"{total.histogram_kept[right]:,}", "█" * round(LONGEST_BAR * count / most))
    if total.unscorable:
        table.add_row("unscorable", f"{total.unscorable:,}", f"{total.unscorable:,}", "no response could be judged")
    return table


def _measure(
    recipe: FilterRecipe, run: Run, queries: Sequence[Query], tokenizer: Any, grader: GradingPool
) -> list[float | None]:
    """The pass rate of every query; the samples of some go to `samples.jsonl`."""
    shown, records, rates = evenly_spread(len(queries)), [], []
    for index, responses in enumerate(sample_and_grade(recipe, queries, tokenizer, grader, run)):
        rate = pass_rate([response.graded.outcome for response in responses])
        rates.append(rate)
        if index in shown:
            extra = {"query": index, "pass_rate": rate, "kept": is_kept(rate, recipe.keep)}
            records += [sample_record(one.attempt, one.graded, stage="filter", step=0, **extra) for one in responses]
    run.truncate_metrics(after_step=-1)  # what an interrupted attempt already showed
    run.append_samples(records)
    return rates


def _split(recipe: FilterRecipe, run: Run, rows: Sequence[Row], rates: Sequence[float | None]) -> PassRates:
    """Write the rows with their pass rates, and what they sum up to."""
    total = sum_up(rates, recipe.keep, recipe.decoding.samples)
    measured = [({**row, "pass_rate": rate}, is_kept(rate, recipe.keep)) for row, rate in zip(rows, rates, strict=True)]
    _write_rows(run.folder / "prompts.jsonl", (row for row, kept in measured if kept))
    _write_rows(run.folder / "dropped.jsonl", (row for row, kept in measured if not kept))
    groups = {f"by_{column}": _by(column, recipe, rows, rates) for column in ("domain", "language")}
    write_json_atomically(run.folder / "summary.json", asdict(total) | groups)
    return total


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with written_aside(path) as aside:
        append_json_lines(aside, rows)


def _by(
    column: str, recipe: FilterRecipe, rows: Sequence[Row], rates: Sequence[float | None]
) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[float | None]] = defaultdict(list)
    for row, rate in zip(rows, rates, strict=True):
        groups[str(row.get(column) or "unknown")].append(rate)
    return {name: asdict(sum_up(group, recipe.keep, recipe.decoding.samples)) for name, group in sorted(groups.items())}


def _none_kept(total: PassRates) -> UserError:
    counts = ", ".join(f"{count} with {right}" for right, count in total.histogram.items() if count)
    return UserError(
        f"got {total.prompts} prompts and keep none ({counts} right); need prompts whose pass rate lies between "
        "keep.pass_rate_above and keep.pass_rate_below: take other prompts, or choose from the rates in dropped.jsonl"
    )
