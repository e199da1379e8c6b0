"""The pairs stage: sample from the model, grade, build pairs, and say what they are made of."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.chat import count_tokens_before_answer, leaves_thinking_open, origin_of, require_template
from posttrain.data.rows import read_all, source_files
from posttrain.errors import UserError
from posttrain.grading import sample_record
from posttrain.grading.groups import GroupGradingPool
from posttrain.inference.sampling import (
    Query,
    Response,
    evenly_spread,
    find_earlier,
    make_queries,
    sample_and_grade,
)
from posttrain.models.load import load_tokenizer, model_files
from posttrain.preference.pair_files import read_pairs, write_pairs
from posttrain.preference.pair_report import PairReport, PairRow, make_report
from posttrain.preference.pair_table import make_examples, show_report
from posttrain.preference.pairs import LANGUAGE_REWARD, Pair, PairOutcome, Sample, hybrid, shortest_correct
from posttrain.recipe import PairsRecipe, PairsSection, resolved_yaml
from posttrain.runs import Resume, Run, write_json_atomically


class Inputs(NamedTuple):
    """What the stage starts from.

    Attributes:
        queries: what the model is asked.
        earlier: the files with an earlier run's samples, where the recipe names one.
        old_pairs: the pairs of stage 1, where some of them are to be reused.
    """

    queries: list[Query]
    earlier: list[Path]
    old_pairs: list[PairRow]


def run_stage(recipe: PairsRecipe, *, resume: Resume) -> None:
    """Write `samples.parquet`, `pairs.parquet` and `pair_report.json` into the run folder, and show the report.

    Samples of an interrupted run are graded again, not sampled again, and verdicts of a judge are kept by the judge.

    Raises:
        UserError: something in the recipe or the data is wrong, rewards break too often, or there is no pair at all.
    """
    tokenizer = load_tokenizer(recipe.model)
    template = require_template(tokenizer, recipe.model.path)
    with GroupGradingPool(recipe.rewards, recipe.grading) as grader:
        inputs = prepare(recipe, tokenizer, grader)
        stage1 = [Path(recipe.pairs.stage1)] if inputs.old_pairs and recipe.pairs.stage1 else []
        files = [*source_files(recipe.data.sources), *stage1, *inputs.earlier, *model_files(recipe.model)]
        with Run.start(recipe.run, "pairs", resolved_yaml(recipe), recipe.seed, files, template, resume) as run:
            grader.introduce(run)
            samples = _sample(recipe, inputs, tokenizer, grader, run)
            report = _pair(recipe, inputs, tokenizer, samples, run)
            run.finish({"pairs": asdict(report), "broken": grader.broken})


def prepare(recipe: PairsRecipe, tokenizer: Any, grader: GroupGradingPool) -> Inputs:
    """Read and check everything but weights.

    Raises:
        UserError: as in `make_queries`, `find_earlier` and `read_pairs`, or a setting cannot be met.
    """
    if recipe.pairs.builder == "hybrid" and LANGUAGE_REWARD not in grader.names:
        raise UserError(
            f"pairs.builder hybrid needs a reward named '{LANGUAGE_REWARD}' (got {', '.join(grader.names)}); "
            "add `use: rewards.language:language` to the rewards"
        )
    if recipe.pairs.reuse_stage1 == 1:
        raise UserError("pairs.reuse_stage1: got 1, which leaves no room for new pairs; need a share below 1")
    is_reused = recipe.pairs.stage1 and recipe.pairs.reuse_stage1
    old_pairs = read_pairs(Path(recipe.pairs.stage1 or ""), origin_of(tokenizer)) if is_reused else []
    queries = make_queries(recipe, read_all(recipe.data.sources), tokenizer)
    earlier = find_earlier(recipe, queries, tokenizer, Path(recipe.samples)) if recipe.samples else []
    return Inputs(queries, earlier, old_pairs)


def build_pairs(section: PairsSection, samples: Sequence[Sample], seed: str) -> PairOutcome:
    """The pairs of one query, by the recipe's builder."""
    if section.builder == "hybrid":
        return hybrid(samples, pairs_per_query=section.pairs_per_query, seed=seed)
    return shortest_correct(
        samples,
        min_correct_share=section.min_correct_share,
        min_length_ratio=section.min_length_ratio,
        pairs_per_query=section.pairs_per_query,
        rejected_order=section.rejected_order,
        rejected_draw=section.rejected_draw,
        refuse_longer_chosen=section.refuse_longer_chosen,
        seed=seed,
    )


def draw_reused(old_pairs: Sequence[PairRow], num_new: int, share: float, seed: int) -> list[PairRow]:
    """Pairs of stage 1, so many that they make up `share` of the final set, or all where there are fewer."""
    wanted = round(num_new * share / (1 - share))
    drawn = random.Random(f"{seed}/reuse").sample(old_pairs, min(wanted, len(old_pairs)))
    return [{**row, "reused": True} for row in drawn]


def _sample(
    recipe: PairsRecipe, inputs: Inputs, tokenizer: Any, grader: GroupGradingPool, run: Run
) -> list[list[Sample]]:
    """The graded responses to each query."""
    graded = sample_and_grade(recipe, inputs.queries, tokenizer, grader, run, inputs.earlier)
    try:
        return [
            [_as_sample(recipe.pairs, tokenizer, query, response) for response in responses]
            for query, responses in zip(inputs.queries, graded, strict=True)
        ]
    except UserError as error:
        raise UserError(
            f"{error}; all samples are kept, and so are a judge's verdicts: go on with --resume when it is mended"
        ) from error


def _as_sample(section: PairsSection, tokenizer: Any, query: Query, response: Response) -> Sample:
    if section.train_thinking:
        return Sample(*response)
    is_open = leaves_thinking_open(tokenizer.decode(query.prompt_ids))
    num_untrained = count_tokens_before_answer(tokenizer, response.token_ids, is_open=is_open)
    return Sample(*response, num_untrained=num_untrained)


def _pair(
    recipe: PairsRecipe, inputs: Inputs, tokenizer: Any, samples: Sequence[Sequence[Sample]], run: Run
) -> PairReport:
    """Build the pairs, and write them with their report."""
    outcomes = [build_pairs(recipe.pairs, some, f"{recipe.seed}/{index}") for index, some in enumerate(samples)]
    new_pairs = [
        _pair_row(tokenizer, index, inputs.queries[index], samples[index], pair)
        for index, outcome in enumerate(outcomes)
        for pair in outcome.pairs
    ]
    run.truncate_metrics(after_step=-1)  # what an interrupted attempt already showed
    run.append_samples(_shown(samples, outcomes))
    reused = draw_reused(inputs.old_pairs, len(new_pairs), recipe.pairs.reuse_stage1, recipe.seed)
    pairs = [*new_pairs, *reused]
    report = make_report(
        pairs, outcomes, is_open=lambda pair: leaves_thinking_open(tokenizer.decode(pair["prompt_ids"]))
    )
    examples = make_examples(pairs)
    write_json_atomically(run.folder / "pair_report.json", asdict(report) | {"examples": examples})
    if not new_pairs:
        raise _no_pairs(report)
    write_pairs(run.folder / "pairs.parquet", pairs, origin_of(tokenizer))
    show_report(report, examples)
    return report


def _pair_row(tokenizer: Any, index: int, query: Query, samples: Sequence[Sample], pair: Pair) -> PairRow:
    chosen, rejected = samples[pair.chosen], samples[pair.rejected]
    return PairRow(
        query=index,
        prompt=json.dumps(query.row["messages"], ensure_ascii=False),
        prompt_ids=query.prompt_ids,
        chosen_ids=list(chosen.token_ids),
        rejected_ids=list(rejected.token_ids),
        chosen_untrained=chosen.num_untrained,
        rejected_untrained=rejected.num_untrained,
        chosen_text=tokenizer.decode(list(chosen.token_ids), skip_special_tokens=False),
        rejected_text=tokenizer.decode(list(rejected.token_ids), skip_special_tokens=False),
        chosen_outcome=chosen.graded.outcome,
        rejected_outcome=rejected.graded.outcome,
        chosen_in_language=chosen.is_in_language,
        rejected_in_language=rejected.is_in_language,
        mode=query.mode,
        language=query.row.get("language"),
        domain=query.row.get("domain"),
        reason=pair.reason,
        reused=False,
    )


def _shown(samples: Sequence[Sequence[Sample]], outcomes: Sequence[PairOutcome]) -> list[dict[str, Any]]:
    """All samples of some queries, each with the side it was given."""
    records = []
    for index in evenly_spread(len(samples)):
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
