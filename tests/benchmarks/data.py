"""What comes before SFT: planning a mix of ten million rows, and turning the demo's rows into tokens.

    make bench-data

Planning gets token counts alone, so its memory depends on the number of draws and not on the text: it is measured once
more with rows ten times as long, each time in a fresh process. Encoding is measured against `datasets.map` over the
tokenizer's own `apply_chat_template`, in turn and in one process each; ours also finds out which tokens are trained and
refuses what it must. Times are CPU seconds: they mean the same on a busy machine.
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.environment import prepare_environment

prepare_environment()

import datasets  # noqa: E402  (after the environment is set)
import numpy as np  # noqa: E402

from data_mixers import Source, plan_of  # noqa: E402
from data_mixers.by_tokens import ByTokens  # noqa: E402
from posttrain.chat import read_template  # noqa: E402
from posttrain.data.encode import encode_row  # noqa: E402
from posttrain.data.rows import read_rows  # noqa: E402
from posttrain.demo.data import Sizes, write_data  # noqa: E402
from posttrain.models.tokenizer import train_tokenizer  # noqa: E402
from posttrain.recipe import Source as DataSource  # noqa: E402
from posttrain.terminal import say  # noqa: E402

DOMAINS = {"math": 2.0, "code": 1.5, "tool_use": 0.5}


class Planned(NamedTuple):
    """One mix, planned in a process of its own."""

    draws: int
    tokens: int
    seconds: float  # of CPU, for the stream and its plan
    megabytes: float  # the peak, above what the counts and the libraries take


def plan_mix(num_rows: int, longer: int) -> Planned:
    """A stream of all rows, three sources in each of six domains; traces of about 1,500 tokens, answers of 200."""
    rng = np.random.default_rng(0)

    def lengths(share: float, median: int) -> Any:
        counts = rng.lognormal(np.log(median), 0.8, round(share * num_rows))
        return longer * np.clip(counts, 1, 32_768).astype(np.int32)

    sources = [
        Source(f"{mode} {domain} {part}", mode, lengths(1 / 18, median), domain=domain)
        for mode, median in (("reasoning", 1_500), ("non_reasoning", 200))
        for domain in DOMAINS
        for part in range(3)
    ]
    mixer = ByTokens({"reasoning": {"share": 1.5, "domains": DOMAINS}, "non_reasoning": 1.0}, "repeat", max_epochs=2)
    before, began = peak_megabytes(), time.process_time()
    stream = mixer(sources, seed=0)
    plan = plan_of(stream)
    seconds = time.process_time() - began
    return Planned(len(stream), plan.total().drawn_tokens, seconds, peak_megabytes() - before)


def peak_megabytes() -> float:
    """The most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bench_planning(num_rows: int) -> None:
    """Print seconds and memory for rows of a usual length and of ten times that."""
    for longer in (1, 10):
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            done = fresh.apply(plan_mix, (num_rows, longer))
        say(
            f"planning   {num_rows:,} rows, {done.tokens / 1e9:,.1f} billion tokens, {done.draws:,} draws: "
            f"{done.seconds:.1f} s, {done.megabytes:,.0f} MB ({1e6 * done.megabytes / done.draws:.0f} bytes a draw)"
        )


def bench_encoding(num_rows: int, rounds: int) -> None:
    """Print rows a second of both, and the median of the rounds' ratios."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_data(Path(folder), 0, Sizes(sft_reasoning=num_rows))["sft_reasoning"]
        rows = read_rows(DataSource(path=str(path)))
    texts = [message.get("reasoning_content", "") + message["content"] for row in rows for message in row["messages"]]
    tokenizer = train_tokenizer(texts[:4_000], vocab_size=512, chat_template=read_template("exaone4"))
    table = datasets.Dataset.from_list([{"messages": row["messages"]} for row in rows])
    datasets.disable_progress_bars()
    datasets.disable_caching()

    def mapped() -> None:
        table.map(lambda row: {"input_ids": tokenizer.apply_chat_template(row["messages"], return_dict=False)})

    def encoded() -> None:
        for row in rows:
            encode_row(row, tokenizer, max_length=None)

    ours, theirs = zip(*((cpu_seconds(encoded), cpu_seconds(mapped)) for _ in range(rounds)), strict=True)
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    say(
        f"encoding   {num_rows:,} rows: {num_rows / statistics.median(ours):,.0f} rows a second, "
        f"datasets.map {num_rows / statistics.median(theirs):,.0f}: {ratio:.2f} times as fast"
    )


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the mix that is planned")
    parser.add_argument("--encode", type=int, default=4_000, help="rows that are encoded, in each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bench_planning(options.rows)
    bench_encoding(options.encode, options.rounds)


if __name__ == "__main__":
    main()
