"""The eval stage: check, generate and grade under every decoding, write `eval.json`, show tables."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.markup import escape

from posttrain.chat import encode_prompt, require_template
from posttrain.data.rows import place_of, source_files
from posttrain.errors import UserError
from posttrain.evals.answers import cut, keep_whole_chunks, without_texts
from posttrain.evals.budgets import all_decodings, budget_curves
from posttrain.evals.evaluate import ask, evaluate, render_question, time_alone
from posttrain.evals.results import Entry, entry, findings
from posttrain.evals.suite import DATA, Suite, load_suite
from posttrain.evals.tables import benchmarks_table, results_table
from posttrain.grading import Graded, GradingPool, empty_attempt
from posttrain.grading.gold import require_gold
from posttrain.inference import Engine
from posttrain.inference.engine import check_lengths, context_length, open_engine
from posttrain.models.load import load_tokenizer, model_files, read_config
from posttrain.recipe import Decoding, EvalRecipe, resolved_yaml
from posttrain.runs import Resume, Run, write_json_atomically
from posttrain.terminal import console, progress_line, say


class Plan(NamedTuple):
    """What is asked, once all of it has been checked.

    Attributes:
        suite: questions and rewards.
        decodings: how they are asked, one after the other.
        tokenizer: the model's.
        longest_prompt: in tokens, over all decodings.
        gold: what was found about the gold answers, in a line.
    """

    suite: Suite
    decodings: Sequence[Decoding]
    tokenizer: Any
    longest_prompt: int
    gold: str


def run_stage(recipe: EvalRecipe, *, resume: Resume) -> None:
    """Write every answer with its verdicts into `samples.jsonl`, and what they amount to into `eval.json`.

    Answers are written chunk by chunk, `eval.json` after every decoding; a resumed run goes on with the first chunk
    that is missing.

    Raises:
        UserError: something in the recipe, the data or the model folder is wrong; found before weights are loaded.
    """
    plan = prepare(recipe)
    suite = plan.suite
    template = require_template(plan.tokenizer, recipe.model.path)
    say(f"  gold answers: {escape(plan.gold)}")
    with GradingPool(suite.rewards, recipe.grading) as grader:
        num_without_gold = _report_missing_gold(recipe, suite, plan.decodings, grader)
        files = [*suite.files, *model_files(recipe.model)]
        with Run.start(recipe.run, "eval", resolved_yaml(recipe), recipe.seed, files, template, resume) as run:
            grader.introduce(run)
            with _Evaluation(recipe, plan, grader, run) as evaluation:
                results = evaluation.results()
            num_tokens = sum(result["tokens"] for result in results)
            notes = {"benchmarks": suite.sizes, "rows_without_gold": num_without_gold, "tokens": num_tokens}
            run.finish({**notes, "broken": grader.broken})
    console.print(results_table(recipe.label, results))
    if (table := benchmarks_table(results)) is not None:
        say("")
        console.print(table)
    for result in results:
        for finding in findings(result):
            say(f"  {escape(result['name'])}: {escape(finding)}")


def prepare(recipe: EvalRecipe) -> Plan:
    """Load the questions, render and measure every prompt, and check the gold answers.

    Raises:
        UserError: as in `load_suite` and `require_gold`, or the template refuses a conversation, or a prompt is too
            long.
    """
    if recipe.data is not None:
        source_files(recipe.data.sources)  # a file that is not there is the cheapest to find
    tokenizer = load_tokenizer(recipe.model)
    suite, decodings = load_suite(recipe, tokenizer), all_decodings(recipe)
    longest = _check_prompts(recipe, suite, decodings, tokenizer)
    gold = _check_gold(recipe, suite, decodings) if recipe.check_gold else "not checked"
    return Plan(suite, decodings, tokenizer, longest, gold)


class _Evaluation:
    """All decodings in turn; the engine is opened when the first answer is missing."""

    def __init__(self, recipe: EvalRecipe, plan: Plan, grader: GradingPool, run: Run) -> None:
        self._recipe, self._grader, self._run = recipe, grader, run
        self._questions, self._decodings, self._tokenizer = plan.suite.questions, plan.decodings, plan.tokenizer
        self._engine: Engine | None = None
        self._stack = ExitStack()
        self._num_answered = 0

    def __enter__(self) -> "_Evaluation":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def results(self) -> list[Entry]:
        """The entries of `eval.json`, which is written after each of them."""
        path, num_questions = self._run.folder / "eval.json", len(self._questions)
        timed = {result["name"]: result["latency"] for result in _read_results(path)}
        kept = keep_whole_chunks(
            self._run.folder,
            [self._recipe.chunk_size * decoding.samples for decoding in self._decodings],
            [num_questions * decoding.samples for decoding in self._decodings],
        )
        self._num_answered = sum(map(len, kept))
        results: list[Entry] = []
        for step, decoding in enumerate(self._decodings):
            records = self._answer(step, decoding, kept[step])
            result = entry(decoding, records, [] if decoding.name in timed else self._time_alone(decoding))
            results.append({**result, "latency": timed.get(decoding.name, result["latency"])})
            content = {
                "model": self._recipe.model.path,
                "label": self._recipe.label,
                "questions": num_questions,
                "engine": self._recipe.engine.name,
                "decodings": results,
                "budget_curves": budget_curves(results, self._recipe),
            }
            write_json_atomically(path, content)
            say(f"  {escape(decoding.name)}: {_speed(results[-1])}")
        return results

    def _answer(self, step: int, decoding: Decoding, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The records of all questions, those of the interrupted attempt first; without their texts."""
        questions, size = self._questions, self._recipe.chunk_size
        for start in range(len(records) // decoding.samples, len(questions), size):
            chunk = questions[start : start + size]
            arguments = (self._open(), self._tokenizer, chunk, decoding, self._grader)
            new = evaluate(*arguments, seed=self._recipe.seed, step=step, first_index=start)
            self._run.append_samples(cut(record, self._recipe.longest_text) for record in new)
            self._num_answered += len(new)
            self._run.beat(self._num_answered)
            records += map(without_texts, new)
            if start + len(chunk) < len(questions):
                seconds = sum(record["seconds"] for record in records)
                left = seconds / (start + len(chunk)) * (len(questions) - start - len(chunk))
                speed = {"tokens/s": sum(record["num_tokens"] for record in records) / max(seconds, 1e-9)}
                progress_line(decoding.name, start + len(chunk), len(questions), left, speed)
        return records

    def _time_alone(self, decoding: Decoding) -> list[float]:
        wanted = self._recipe.latency_questions
        if not wanted:
            return []
        spread = self._questions[:: max(1, len(self._questions) // wanted)][:wanted]
        return time_alone(self._open(), self._tokenizer, spread, decoding, seed=self._recipe.seed)

    def _open(self) -> Engine:
        if self._engine is None:
            self._engine = open_engine(self._recipe.engine, self._recipe.model, self._tokenizer)
            self._stack.callback(self._engine.close)
        return self._engine


def _read_results(path: Path) -> list[Entry]:
    results: list[Entry] = json.loads(path.read_bytes())["decodings"] if path.is_file() else []
    return results


def _speed(result: Entry) -> str:
    said = f"{result['groups']['all']['n']:,} answers, {result['tokens']:,} tokens in {result['seconds']:.1f} s"
    if result["tokens_per_second"] is not None:
        said += f", {result['tokens_per_second']:,.0f} tokens/s"
    return said if result["latency"] is None else f"{said}; alone {result['latency']['mean']:.2f} s an answer"


def _check_gold(recipe: EvalRecipe, suite: Suite, decodings: Sequence[Decoding]) -> str:
    """Once, or for each mode where a reward is for one of them; what was found, in a line."""
    by_mode = {decoding.mode: decoding for decoding in decodings}
    checked = by_mode.values() if any("mode" in spec.when for spec in suite.rewards) else decodings[:1]
    reports = [
        require_gold(
            [ask(question.row, decoding) for question in suite.questions],
            suite.rewards,
            recipe.grading,
            partial(_place_of, recipe, suite),
        )
        for decoding in checked
    ]
    return " / ".join(map(str, reports))


def _place_of(recipe: EvalRecipe, suite: Suite, number: int) -> str:
    """Where question `number` of the suite stands."""
    question = suite.questions[number]
    if recipe.data is not None and question.benchmark == DATA:
        return place_of(recipe.data.sources, question.number)
    return f"row {question.number} of {question.benchmark}"


def _check_prompts(recipe: EvalRecipe, suite: Suite, decodings: Sequence[Decoding], tokenizer: Any) -> int:
    """Render and measure every prompt; the tokens of the longest one.

    Raises:
        UserError: the template refuses a conversation, or a prompt is too long.
    """
    max_model_len = recipe.engine.max_model_len or context_length(read_config(recipe.model))
    longest = 0
    for decoding in decodings:
        prompts_ids = []
        for question in suite.questions:
            try:
                prompts_ids.append(encode_prompt(tokenizer, render_question(tokenizer, ask(question.row, decoding))))
            except UserError as error:
                raise UserError(f"{_place_of(recipe, suite, len(prompts_ids))}: {error}") from error
        check_lengths(prompts_ids, decoding, max_model_len, partial(_place_of, recipe, suite))
        longest = max(longest, *map(len, prompts_ids))
    return longest


def _report_missing_gold(recipe: EvalRecipe, suite: Suite, decodings: Sequence[Decoding], grader: GradingPool) -> int:
    """Count the rows that no reward can call right or wrong under some decoding, and say so.

    An empty answer is wrong wherever the row says what is right.

    Raises:
        UserError: no reward applies to any row, or as in `GradingPool.grade_all`.
    """
    missing: dict[int, Graded] = {}
    has_verdicts = False
    for decoding in decodings:
        asked = [ask(question.row, decoding) for question in suite.questions]
        attempts = [empty_attempt(row, mode=row["mode"]) for row in asked]
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
        rows = f"{len(missing):,} of {len(suite.questions):,} rows"
        say(f"  {rows} cannot be called right or wrong, as {escape(_place_of(recipe, suite, number))}: {why}")
    return len(missing)
