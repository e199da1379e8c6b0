"""Sample responses to many prompts and grade them, for the stages that build data from what a model says."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, cast

import numpy as np

from posttrain.chat import Mode, encode_prompt, origin_of, render_prompt
from posttrain.data.rows import Row, place_of, split_prompt
from posttrain.errors import UserError
from posttrain.grading import Graded, GradingPool, read_attempt
from posttrain.inference.engine import Completion, check_lengths, context_length, open_engine
from posttrain.inference.sample_files import (
    SAMPLES,
    Sampler,
    earlier_files,
    read_samples,
    take_over,
    write_samples,
)
from posttrain.models.load import read_config
from posttrain.recipe import SamplingRecipe
from posttrain.run_folder.manifest import sha256_of
from posttrain.runs import Run
from posttrain.terminal import progress_line
from rewards.contract import Attempt

SHOWN_QUERIES = 32  # whose samples go into samples.jsonl


class Query(NamedTuple):
    """One row of the data, ready to be sampled; `row["messages"]` ends with the question."""

    row: Row
    mode: Mode
    prompt_ids: list[int]

    @property
    def prompt_sha256(self) -> str:
        """Tells it from any other prompt."""
        return hashlib.sha256(np.asarray(self.prompt_ids, dtype="<i8").tobytes()).hexdigest()


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
            raise UserError(f"{place_of(recipe.data.sources, number)}: {error}") from error
        queries.append(Query({**row, "messages": messages}, mode, encode_prompt(tokenizer, prompt)))
    max_model_len = recipe.engine.max_model_len or context_length(read_config(recipe.model))
    place = partial(place_of, recipe.data.sources)
    check_lengths([query.prompt_ids for query in queries], recipe.decoding, max_model_len, place)
    return queries


def find_earlier(recipe: SamplingRecipe, queries: Sequence[Query], tokenizer: Any, earlier: Path) -> list[Path]:
    """The files with the samples of an earlier run, which this recipe takes instead of its own.

    Raises:
        UserError: as in `earlier_files`.
    """
    folder = Path(recipe.model.path)
    sampler = Sampler.of(recipe.model.path, sha256_of(folder) if folder.is_dir() else None, origin_of(tokenizer))
    return earlier_files(earlier, sampler, [query.prompt_sha256 for query in queries], recipe.decoding)


def sample_and_grade(
    recipe: SamplingRecipe,
    queries: Sequence[Query],
    tokenizer: Any,
    grader: GradingPool,
    run: Run,
    earlier: Sequence[Path] = (),
) -> Iterator[list[Response]]:
    """The graded responses to each query in turn; all are in `samples.parquet` in the end.

    Sampling ends before this returns, and chunks that are there already are not sampled again. Grading is done anew and
    as the result is read, one chunk in memory at a time.

    Args:
        recipe: the stage's.
        queries: what is asked.
        tokenizer: the model's.
        grader: gives the verdicts, of all responses to a query together.
        run: whose folder has the samples.
        earlier: files of an earlier run to take instead, see `find_earlier`.

    Raises:
        UserError: as in `open_engine`, and as the result is read, as in `GradingPool.grade_groups`.
    """
    if earlier:
        files = take_over(earlier, run.folder)
    else:
        model = recipe.model.path
        sampler = Sampler.of(model, run.inputs.get(Path(model).as_posix()), origin_of(tokenizer))
        starts = range(0, len(queries), recipe.chunk_size)
        by_start = {start: run.folder / SAMPLES / f"part-{number:05d}.parquet" for number, start in enumerate(starts)}
        _sample(recipe, queries, tokenizer, sampler, by_start, run)
        files = list(by_start.values())
    return _graded(queries, tokenizer, grader, files, run)


def evenly_spread(num_queries: int) -> range:
    """The indices of at most `SHOWN_QUERIES` queries."""
    return range(0, num_queries, max(1, num_queries // SHOWN_QUERIES))[:SHOWN_QUERIES]


def _sample(
    recipe: SamplingRecipe,
    queries: Sequence[Query],
    tokenizer: Any,
    sampler: Sampler,
    files: Mapping[int, Path],
    run: Run,
) -> None:
    missing = {start: file for start, file in files.items() if not file.is_file()}
    if not missing:
        return
    with closing(open_engine(recipe.engine, recipe.model, tokenizer)) as engine:
        began = time.monotonic()
        for num_done, (start, file) in enumerate(missing.items(), start=1):
            chunk = [query.prompt_ids for query in queries[start : start + recipe.chunk_size]]
            completions = engine.generate(chunk, recipe.decoding, seed=recipe.seed, first_index=start)
            samples = [
                {
                    "query": index,
                    **one._asdict(),
                    "prompt_ids": queries[index].prompt_ids,
                    "prompt_sha256": queries[index].prompt_sha256,
                    **sampler._asdict(),
                }
                for index, some in enumerate(completions, start=start)
                for one in some
            ]
            write_samples(file, samples)
            run.beat(len(files) - len(missing) + num_done)
            seconds_left = (time.monotonic() - began) / num_done * (len(missing) - num_done)
            figures = {"tokens/response": fmean(len(one.token_ids) for some in completions for one in some)}
            progress_line(Path(recipe.run).name, start + len(chunk), len(queries), seconds_left, figures)


def _graded(
    queries: Sequence[Query], tokenizer: Any, grader: GradingPool, files: Sequence[Path], run: Run
) -> Iterator[list[Response]]:
    for num_done, file in enumerate(files, start=1):
        samples = read_samples(file)
        groups = [list(some) for _, some in groupby(samples, key=itemgetter("query"))]
        attempts = [[_attempt(tokenizer, queries[sample["query"]], sample) for sample in some] for some in groups]
        graded = grader.grade_groups(attempts)
        responses = [_responses(*group) for group in zip(groups, attempts, graded, strict=True)]
        columns = map(_graded_columns, chain.from_iterable(responses))
        write_samples(file, [sample | more for sample, more in zip(samples, columns, strict=True)])
        run.beat(len(files) + num_done)  # they were sampled first
        yield from responses


def _responses(
    samples: Sequence[Mapping[str, Any]], attempts: Sequence[Attempt], graded: Sequence[Graded]
) -> list[Response]:
    ids = [tuple(sample["token_ids"]) for sample in samples]
    return [Response(*parts) for parts in zip(ids, attempts, graded, strict=True)]


def _attempt(tokenizer: Any, query: Query, sample: Mapping[str, Any]) -> Attempt:
    ids, is_truncated, closed_at = (sample[field] for field in Completion._fields)
    return read_attempt(tokenizer, query.row, ids, mode=query.mode, is_truncated=is_truncated, closed_at=closed_at)


def _graded_columns(response: Response) -> dict[str, Any]:
    _, attempt, graded = response
    return {
        "mode": attempt.mode,
        "language": attempt.row.get("language"),
        "domain": attempt.row.get("domain"),
        "prompt": json.dumps(attempt.prompt, ensure_ascii=False),
        "answer": attempt.answer,
        "thinking": attempt.thinking,
        "num_tokens": attempt.num_tokens,
        "num_thinking_tokens": attempt.num_thinking_tokens,
        "reward": graded.reward,
        "outcome": graded.outcome,
        "verdicts": json.dumps(
            {name: asdict(verdict) for name, verdict in graded.verdicts.items()}, ensure_ascii=False
        ),
    }
