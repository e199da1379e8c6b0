"""The pairs stage: sample from the model, grade, build pairs, and say what they are made of."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from posttrain.chat import require_template
from posttrain.data.rows import read_all, source_files
from posttrain.errors import UserError
from posttrain.grading import GradingPool, sample_record
from posttrain.inference.sampling import Query, evenly_spread, make_queries, sample_and_grade
from posttrain.models.load import load_tokenizer, model_files
from posttrain.preference.pair_files import origin_of, read_pairs, write_pairs
from posttrain.preference.pair_report import PairReport, PairRow, make_report
from posttrain.preference.pairs import LANGUAGE_REWARD, Pair, PairOutcome, Sample, hybrid, shortest_correct
from posttrain.recipe import PairsRecipe, PairsSection, resolved_yaml
from posttrain.runs import Run
from posttrain.terminal import console


def run_stage(recipe: PairsRecipe, *, resume: bool) -> None:
    """Write `samples.parquet` and `pairs.parquet` into the run folder; the report goes to the manifest and the screen.

    Samples of an interrupted run are graded again, not sampled again.

    Raises:
        UserError: something in the recipe or the data is wrong, or there is no pair at all.
    """
    tokenizer = load_tokenizer(recipe.model)
    origin = origin_of(tokenizer)
    grader = GradingPool(recipe.rewards, recipe.grading)
    _check(recipe, grader)
    stage1 = [Path(recipe.pairs.stage1)] if recipe.pairs.stage1 and recipe.pairs.reuse_stage1 else []
    old_pairs = [row for path in stage1 for row in read_pairs(path, origin)]
    queries = make_queries(recipe, read_all(recipe.data.sources), tokenizer)
    files = [*source_files(recipe.data.sources), *stage1, *model_files(recipe.model)]
    template = require_template(tokenizer, recipe.model.path)
    with grader, Run.start(recipe.run, "pairs", resolved_yaml(recipe), recipe.seed, files, template, resume) as run:
        grader.introduce(run)
        sampled = sample_and_grade(recipe, queries, tokenizer, grader, run.folder)
        samples = [[Sample(*response) for response in responses] for responses in sampled]
        outcomes = [build_pairs(recipe.pairs, some, f"{recipe.seed}/{index}") for index, some in enumerate(samples)]
        new_pairs = [
            _pair_row(tokenizer, index, queries[index], samples[index], pair)
            for index, outcome in enumerate(outcomes)
            for pair in outcome.pairs
        ]
        run.truncate_metrics(after_step=-1)  # what an interrupted attempt already showed
        run.append_samples(_shown(queries, samples, outcomes))
        if not new_pairs:
            raise _no_pairs(make_report(new_pairs, outcomes))
        pairs = [*new_pairs, *draw_reused(old_pairs, len(new_pairs), recipe.pairs.reuse_stage1, recipe.seed)]
        write_pairs(run.folder / "pairs.parquet", pairs, origin)
        report = make_report(pairs, outcomes)
        run.finish({"pairs": asdict(report), "broken": grader.broken})
    console.print(_table(report))


def build_pairs(section: PairsSection, samples: Sequence[Sample], seed: str) -> PairOutcome:
    """The pairs of one query, by the recipe's builder."""
    if section.builder == "hybrid":
        return hybrid(samples, pairs_per_query=section.pairs_per_query, seed=seed)
    return shortest_correct(
        samples,
        min_correct_share=section.min_correct_share,
        min_length_ratio=section.min_length_ratio,
        pairs_per_query=section.pairs_per_query,
        seed=seed,
    )


def draw_reused(old_pairs: Sequence[PairRow], num_new: int, share: float, seed: int) -> list[PairRow]:
    """Pairs of stage 1, so many that they make up `share` of the final set, or all where there are fewer."""
    wanted = round(num_new * share / (1 - share))
    drawn = random.Random(f"{seed}/reuse").sample(old_pairs, min(wanted, len(old_pairs)))
    return [{**row, "reused": True} for row in drawn]


def _check(recipe: PairsRecipe, grader: GradingPool) -> None:
    if recipe.pairs.builder == "hybrid" and LANGUAGE_REWARD not in grader.names:
        raise UserError(
            f"pairs.builder hybrid needs a reward named '{LANGUAGE_REWARD}' (got {', '.join(grader.names)}); "
            "add `use: rewards.language:language` to the rewards"
        )
    if recipe.pairs.reuse_stage1 == 1:
        raise UserError("pairs.reuse_stage1: got 1, which leaves no room for new pairs; need a share below 1")


def _pair_row(tokenizer: Any, index: int, query: Query, samples: Sequence[Sample], pair: Pair) -> PairRow:
    chosen, rejected = samples[pair.chosen], samples[pair.rejected]
    return PairRow(
        query=index,
        prompt=json.dumps(query.row["messages"], ensure_ascii=False),
        prompt_ids=query.prompt_ids,
        chosen_ids=list(chosen.token_ids),
        rejected_ids=list(rejected.token_ids),
        chosen_text=tokenizer.decode(list(chosen.token_ids), skip_special_tokens=False),
        rejected_text=tokenizer.decode(list(rejected.token_ids), skip_special_tokens=False),
        chosen_outcome=chosen.graded.outcome,
        rejected_outcome=rejected.graded.outcome,
        mode=query.mode,
        language=query.row.get("language"),
        reason=pair.reason,
        reused=False,
    )


def _shown(
    queries: Sequence[Query], samples: Sequence[Sequence[Sample]], outcomes: Sequence[PairOutcome]
) -> list[dict[str, Any]]:
    """All samples of some queries, each with the side it was given."""
    records = []
    for index in evenly_spread(len(queries)):
        sides = {pair.rejected: pair.reason for pair in outcomes[index].pairs}
        chosen = {pair.chosen for pair in outcomes[index].pairs}
        for number, sample in enumerate(samples[index]):
            side = "chosen" if number in chosen else f"rejected: {sides[number]}" if number in sides else None
            records.append(sample_record(sample.attempt, sample.graded, stage="pairs", step=0, query=index, side=side))
    return records


def _no_pairs(report: PairReport) -> UserError:
    counts = ", ".join(f"{count} {reason}" for reason, count in report.skipped.items())
    return UserError(
        f"got {report.queries} queries and no pair ({counts}); need queries whose responses differ in what the rewards "
        "judge: check the rewards, raise decoding.samples or decoding.temperature, or take other queries"
    )


def _table(report: PairReport) -> Table:
    table = Table("pairs", str(report.pairs), title=f"{report.queries} queries")
    for reason, count in report.reasons.items():
        table.add_row(f"rejected: {reason}", str(count))
    table.add_row("reused from stage 1", str(report.reused))
    for reason, count in report.skipped.items():
        table.add_row(f"queries skipped: {reason}", str(count))
    table.add_row("both sides correct", f"{report.both_correct:.0%}")
    lengths = f"{report.chosen_length:.1f} / {report.rejected_length:.1f} ({report.length_gap:+.1f})"
    table.add_row("tokens, chosen / rejected", lengths)
    for name, shares in (("modes", report.modes), ("languages", report.languages)):
        table.add_row(name, ", ".join(f"{key} {share:.0%}" for key, share in shares.items()))
    return table
