"""Sample responses to many prompts and grade them, for the stages that build data from what a model says.

`samples.parquet` is a folder with one file for each chunk of prompts; readers of Parquet take it for one table. A file
appears, whole, as soon as its chunk is sampled: an interrupted run goes on with the chunks that have none.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from posttrain.chat import Mode, encode_prompt, render_prompt
from posttrain.data.rows import Row, split_prompt
from posttrain.errors import UserError
from posttrain.grading import Graded, GradingPool, read_attempt
from posttrain.inference.engine import Completion, check_lengths, context_length, open_engine
from posttrain.models.load import read_config
from posttrain.recipe import SamplingRecipe
from posttrain.runs import written_aside
from posttrain.terminal import progress_line
from rewards.contract import Attempt

SAMPLES = "samples.parquet"
SHOWN_QUERIES = 32  # whose samples go into samples.jsonl

# The columns from `mode` on are null until the samples are graded; `prompt` and `verdicts` are JSON. `closed_at`, where
# it is not null: the number of tokens after which the thinking budget closed the thinking.
SCHEMA = pa.schema(
    {
        "query": pa.int64(),
        "token_ids": pa.list_(pa.int32()),
        "is_truncated": pa.bool_(),
        "closed_at": pa.int32(),
        "mode": pa.string(),
        "language": pa.string(),
        "prompt": pa.string(),
        "answer": pa.string(),
        "thinking": pa.string(),
        "reward": pa.float64(),
        "outcome": pa.bool_(),
        "verdicts": pa.string(),
    }
)


class Query(NamedTuple):
    """One row of the data, ready to be sampled; `row["messages"]` ends with the question."""

    row: Row
    mode: Mode
    prompt_ids: list[int]


class Response(NamedTuple):
    """The ids as they were sampled, what they say, and what the rewards say of it."""

    token_ids: tuple[int, ...]
    attempt: Attempt
    graded: Graded


def make_queries(recipe: SamplingRecipe, rows: Sequence[Row], tokenizer: Any) -> list[Query]:
    """Every row as a query, in the decoding's mode or else in its own; a last assistant turn is not shown to the model.

    Raises:
        UserError: the template refuses a conversation, or a prompt is too long for the engine.
    """
    queries = []
    for number, row in enumerate(rows):
        messages, mode = split_prompt(row), recipe.decoding.mode or cast("Mode", row["mode"])
        try:
            prompt = render_prompt(tokenizer, messages, mode, row.get("tools"))
        except UserError as error:
            raise UserError(f"row {number} of the data: {error}") from error
        queries.append(Query({**row, "messages": messages}, mode, encode_prompt(tokenizer, prompt)))
    max_model_len = recipe.engine.max_model_len or context_length(read_config(recipe.model))
    check_lengths([query.prompt_ids for query in queries], recipe.decoding, max_model_len)
    return queries


def sample_and_grade(
    recipe: SamplingRecipe, queries: Sequence[Query], tokenizer: Any, grader: GradingPool, run_folder: Path
) -> Iterator[list[Response]]:
    """The graded responses to each query in turn; all are in `samples.parquet` in the end.

    Sampling ends before this returns, and chunks that are there already are not sampled again. Grading is done anew and
    as the result is read, one chunk in memory at a time.

    Raises:
        UserError: as in `open_engine`, and as the result is read, as in `GradingPool.grade_all`.
    """
    starts = range(0, len(queries), recipe.chunk_size)
    files = {start: run_folder / SAMPLES / f"part-{number:05d}.parquet" for number, start in enumerate(starts)}
    _sample(recipe, queries, tokenizer, files)
    return _graded(queries, tokenizer, grader, files.values())


def evenly_spread(num_queries: int) -> range:
    """The indices of at most `SHOWN_QUERIES` queries."""
    return range(0, num_queries, max(1, num_queries // SHOWN_QUERIES))[:SHOWN_QUERIES]


def _sample(recipe: SamplingRecipe, queries: Sequence[Query], tokenizer: Any, files: Mapping[int, Path]) -> None:
    missing = {start: file for start, file in files.items() if not file.is_file()}
    if not missing:
        return
    with closing(open_engine(recipe.engine, recipe.model, tokenizer)) as engine:
        began = time.monotonic()
        for num_done, (start, file) in enumerate(missing.items(), start=1):
            chunk = [query.prompt_ids for query in queries[start : start + recipe.chunk_size]]
            completions = engine.generate(chunk, recipe.decoding, seed=recipe.seed, first_index=start)
            samples = [
                {"query": index, **one._asdict()} for index, some in enumerate(completions, start=start) for one in some
            ]
            _write(file, samples)
            seconds_left = (time.monotonic() - began) / num_done * (len(missing) - num_done)
            figures = {"tokens/response": fmean(len(one.token_ids) for some in completions for one in some)}
            progress_line(Path(recipe.run).name, start + len(chunk), len(queries), seconds_left, figures)


def _graded(
    queries: Sequence[Query], tokenizer: Any, grader: GradingPool, files: Iterable[Path]
) -> Iterator[list[Response]]:
    for file in files:
        samples = pq.read_table(file, columns=["query", *Completion._fields]).to_pylist()
        attempts = [_attempt(tokenizer, queries[sample["query"]], sample) for sample in samples]
        responses: dict[int, list[Response]] = {}
        rows = []
        for sample, attempt, graded in zip(samples, attempts, grader.grade_all(attempts), strict=True):
            response = Response(tuple(sample["token_ids"]), attempt, graded)
            responses.setdefault(sample["query"], []).append(response)
            rows.append({**sample, **_graded_columns(attempt, graded)})
        _write(file, rows)
        yield from responses.values()


def _attempt(tokenizer: Any, query: Query, sample: Mapping[str, Any]) -> Attempt:
    ids, is_truncated, closed_at = (sample[field] for field in Completion._fields)
    return read_attempt(tokenizer, query.row, ids, mode=query.mode, is_truncated=is_truncated, closed_at=closed_at)


def _graded_columns(attempt: Attempt, graded: Graded) -> dict[str, Any]:
    return {
        "mode": attempt.mode,
        "language": attempt.row.get("language"),
        "prompt": json.dumps(attempt.prompt, ensure_ascii=False),
        "answer": attempt.answer,
        "thinking": attempt.thinking,
        "reward": graded.reward,
        "outcome": graded.outcome,
        "verdicts": json.dumps(
            {name: asdict(verdict) for name, verdict in graded.verdicts.items()}, ensure_ascii=False
        ),
    }


def _write(file: Path, samples: Sequence[Mapping[str, Any]]) -> None:
    """Columns that a sample does not have are null."""
    file.parent.mkdir(exist_ok=True)
    with written_aside(file) as aside:
        pq.write_table(pa.Table.from_pylist([dict(sample) for sample in samples], SCHEMA), aside, compression="zstd")
