"""The eval stage: check, generate and grade under every decoding, write `eval.json`, show a table."""

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from itertools import islice, zip_longest
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from posttrain.chat import encode_prompt, require_template
from posttrain.data.rows import Row, read_all, source_files
from posttrain.errors import UserError
from posttrain.evals.evaluate import ask, evaluate, render_question
from posttrain.grading import Graded, GradingPool, empty_attempt
from posttrain.inference.engine import check_lengths, context_length, open_engine
from posttrain.models.load import load_tokenizer, model_files, read_config
from posttrain.recipe import Decoding, EvalRecipe, resolved_yaml
from posttrain.runs import Run, write_json_atomically
from posttrain.terminal import console, say

SHOWN_SAMPLES = 60  # records of each decoding in samples.jsonl
COLUMNS = {  # key in eval.json -> head in the table
    "accuracy": "accuracy %",
    "thinking_tokens": "think",
    "answer_tokens": "answer",
    "mode_adherence": "mode %",
    "language_consistency": "lang %",
    "truncated": "cut %",
}


def run_stage(recipe: EvalRecipe, *, resume: bool) -> None:
    """Write `eval.json` and a spread of answers in `samples.jsonl` into the run folder.

    `eval.json` is written after every decoding, and a resumed run goes on with the first one that is not in it.

    Raises:
        UserError: something in the recipe, the data or the model folder is wrong; found before weights are loaded.
    """
    files = [*source_files(recipe.data.sources), *model_files(recipe.model)]
    tokenizer = load_tokenizer(recipe.model)
    template = require_template(tokenizer, recipe.model.path)
    rows = read_all(recipe.data.sources)
    with GradingPool(recipe.rewards, recipe.grading) as grader:
        _check_prompts(recipe, rows, tokenizer)
        num_without_gold = _report_missing_gold(rows, recipe.decodings, grader)
        with Run.start(recipe.run, "eval", resolved_yaml(recipe), recipe.seed, files, template, resume) as run:
            grader.introduce(run)
            results = _evaluate_rest(recipe, run, rows, tokenizer, grader)
            num_tokens = sum(entry["tokens"] for entry in results)
            run.finish({"rows_without_gold": num_without_gold, "tokens": num_tokens, "broken": grader.broken})
    console.print(results_table(recipe.label, results))


def _evaluate_rest(
    recipe: EvalRecipe, run: Run, rows: Sequence[Row], tokenizer: Any, grader: GradingPool
) -> list[dict[str, Any]]:
    """The entries of all decodings; those that an interrupted attempt finished are taken from its `eval.json`."""
    path = run.folder / "eval.json"
    results: list[dict[str, Any]] = json.loads(path.read_bytes())["decodings"] if path.is_file() else []
    run.truncate_metrics(after_step=len(results) - 1)  # a sample's step is the number of its decoding
    with closing(open_engine(recipe.engine, recipe.model, tokenizer)) as engine:
        for step in range(len(results), len(recipe.decodings)):
            decoding = recipe.decodings[step]
            result = evaluate(engine, tokenizer, rows, decoding, grader, seed=recipe.seed, step=step)
            run.append_samples(spread(result.records, SHOWN_SAMPLES))
            results.append(result.entry())
            content = {
                "model": recipe.model.path,
                "label": recipe.label,
                "questions": len(rows),
                "engine": recipe.engine.name,
                "decodings": results,
            }
            write_json_atomically(path, content)
            speed = f"{result.num_tokens:,} tokens in {result.seconds:.1f} s"
            say(f"  {escape(decoding.name)}: {len(result.records):,} answers, {speed}")
    return results


def spread(records: Sequence[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """At most `limit` records in their order, evenly over languages and right, wrong or not judged."""
    cells: dict[tuple[Any, Any], list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        cells[record["language"], record["outcome"]].append(index)
    in_turn = (index for turn in zip_longest(*cells.values()) for index in turn if index is not None)
    return [records[index] for index in sorted(islice(in_turn, limit))]


def results_table(label: str, results: Sequence[dict[str, Any]]) -> Table:
    """One line per decoding, over all languages; fits a terminal of 80 columns."""
    caption = Text("accuracy with its 95 % interval; think, answer: mean tokens", style="dim")
    table = Table(
        title=Text(label), title_justify="left", caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, padding=0
    )
    table.add_column("")
    for head in COLUMNS.values():
        table.add_column(head, justify="right", no_wrap=True)
    for entry in results:
        metrics = entry["groups"]["all"]
        table.add_row(Text(entry["name"]), *(Text(_cell(key, metrics[key])) for key in COLUMNS))
    return table


def _cell(key: str, interval: dict[str, float] | None) -> str:
    if interval is None:
        return "-"
    if key.endswith("_tokens"):
        return f"{interval['mean']:.1f}"
    mean, low, high = (f"{100 * interval[bound]:.1f}" for bound in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]" if key == "accuracy" else mean


def _check_prompts(recipe: EvalRecipe, rows: Sequence[Row], tokenizer: Any) -> None:
    """Render and measure every prompt.

    Raises:
        UserError: the template refuses a conversation, or a prompt is too long.
    """
    max_model_len = recipe.engine.max_model_len or context_length(read_config(recipe.model))
    for decoding in recipe.decodings:
        prompts_ids = []
        for number, row in enumerate(rows):
            try:
                prompts_ids.append(encode_prompt(tokenizer, render_question(tokenizer, ask(row, decoding))))
            except UserError as error:
                raise UserError(f"row {number} of the data: {error}") from error
        check_lengths(prompts_ids, decoding, max_model_len)


def _report_missing_gold(rows: Sequence[Row], decodings: Sequence[Decoding], grader: GradingPool) -> int:
    """Count the rows that no reward can call right or wrong under some decoding, and say so.

    An empty answer is wrong wherever the row says what is right.

    Raises:
        UserError: no reward applies to any row, or as in `GradingPool.grade_all`.
    """
    missing: dict[int, Graded] = {}
    has_verdicts = False
    for decoding in decodings:
        questions = [ask(row, decoding) for row in rows]
        attempts = [empty_attempt(question, mode=question["mode"]) for question in questions]
        for number, graded in enumerate(grader.grade_all(attempts)):
            has_verdicts = has_verdicts or bool(graded.verdicts)
            if graded.outcome is None:
                missing.setdefault(number, graded)
    if not has_verdicts:
        raise UserError("no reward applies to any row; check `when` in the recipe's rewards")
    if missing:
        number, graded = next(iter(missing.items()))
        reasons = [f"{name}: {verdict.reason}" for name, verdict in graded.verdicts.items() if verdict.score is None]
        why = escape("; ".join(reasons) or "no reward says right or wrong")
        say(f"  {len(missing):,} of {len(rows):,} rows cannot be called right or wrong, as row {number}: {why}")
    return len(missing)
