"""What comes before SFT: planning a mix of ten million rows, turning rows into tokens, and reading them again.

    make bench-data

Planning gets token counts alone, so its memory depends on the number of draws and not on the text: it is measured once
more with rows ten times as long, each time in a fresh process. So is the way from a file to a planned mix.

Encoding is measured against `datasets.map` over the tokenizer's own `apply_chat_template`, in turn, with one process
and with two. Ours also reads the file, finds out which tokens are trained, and refuses what it must; `datasets` has its
rows in Arrow before the clock starts. Times are CPU seconds of all processes: they mean the same on a busy machine.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
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
from posttrain.data.encoder import Encoder  # noqa: E402
from posttrain.data.intake import take_in  # noqa: E402
from posttrain.data.mixing import mix, parts_of  # noqa: E402
from posttrain.data.rows import read_all  # noqa: E402
from posttrain.demo.data import Sizes, write_data  # noqa: E402
from posttrain.models.tokenizer import train_tokenizer  # noqa: E402
from posttrain.recipe import MixerSection, SFTDataSection  # noqa: E402
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


def bench_encoding(path: Path, rounds: int) -> None:
    """Print rows a second of both, and the median of the rounds' ratios."""
    source = DataSource(path=str(path))
    tokenizer = tokenizer_for(path)
    rows = read_all([source])
    table = datasets.Dataset.from_list([{"messages": row["messages"]} for row in rows])
    mean = sum(len(encode_row(row, tokenizer).input_ids) for row in rows[:100]) / 100
    datasets.disable_progress_bars()
    datasets.disable_caching()

    def mapped(processes: int) -> None:
        def encode(row: dict[str, Any]) -> dict[str, Any]:
            return {"input_ids": tokenizer.apply_chat_template(row["messages"], return_dict=False)}

        table.map(encode, num_proc=processes if processes > 1 else None)

    def encoded(processes: int) -> None:
        with Encoder(tokenizer, processes, alone_s=0) as encoder:
            list(encoder.batches(source))

    for processes in (1, 2):
        works = (partial(encoded, processes), partial(mapped, processes))
        ours, theirs = zip(*(tuple(map(cpu_seconds, works)) for _ in range(rounds)), strict=True)
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        say(
            f"encoding   {len(rows):,} rows of {mean:,.0f} tokens, {processes} process(es): "
            f"{len(rows) / statistics.median(ours):,.0f} rows a CPU second, datasets.map "
            f"{len(rows) / statistics.median(theirs):,.0f}: {ratio:.2f} times as many"
        )


def bench_reading(path: Path) -> None:
    """Print what it costs to find a source in the cache, and to read its rows in random order."""
    tokenizer = tokenizer_for(path)
    data = SFTDataSection(sources=[DataSource(path=str(path))], workers=1)
    take_in(data, tokenizer)
    hit = cpu_seconds(lambda: [take_in(data, tokenizer) for _ in range(20)]) / 20
    rows = take_in(data, tokenizer)[0].rows
    order = np.random.default_rng(0).permutation(len(rows))
    seconds = cpu_seconds(lambda: [rows[int(place)] for place in order])
    tokens = int(rows.numbers("num_tokens").sum())
    say(f"cache      {len(rows):,} rows found in {1000 * hit:.1f} ms")
    say(f"reading    {len(rows) / seconds:,.0f} rows a second, {tokens / seconds / 1e6:.1f} million tokens")


def bench_memory(folder: Path, num_rows: int) -> None:
    """Print the peak, above what the libraries take, of encoding and planning short rows and ten times as long ones."""
    for digits in (200, 2_000):
        path = write_rows(folder, num_rows, digits)
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            tokens, megabytes = fresh.apply(encode_and_plan, (path, tokenizer_for(path)))
        say(f"memory     {num_rows:,} rows, {tokens:,} tokens, encoded and planned: {megabytes:,.0f} MB")


def write_rows(folder: Path, num_rows: int, digits: int) -> Path:
    """A file of rows whose answer has a token for every digit."""
    path = folder / f"{digits}.jsonl"
    answers = ({"role": "assistant", "content": f"{number:0{digits}}"} for number in range(num_rows))
    rows = ({"messages": [{"role": "user", "content": "?"}, answer]} for answer in answers)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def encode_and_plan(path: Path, tokenizer: Any) -> tuple[int, float]:
    """Tokens drawn, and megabytes at the peak."""
    sources = [DataSource(path=str(path))]
    mixer = MixerSection(use="data_mixers.by_tokens:ByTokens", args={"shares": {"non_reasoning": 1.0}})
    before = peak_megabytes()
    mixed = mix(parts_of(take_in(SFTDataSection(sources=sources, workers=1), tokenizer), sources), mixer, seed=0)
    return int(mixed.num_tokens.sum()), peak_megabytes() - before


def tokenizer_for(path: Path) -> Any:
    """A small one, trained on the rows of a file."""
    rows = read_all([DataSource(path=str(path))])[:4_000]
    texts = [message.get("reasoning_content", "") + message["content"] for row in rows for message in row["messages"]]
    return train_tokenizer(texts, vocab_size=512, chat_template=read_template("exaone4"))


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process and of all below it."""
    began = cpu_time(os.getpid())
    work()
    return cpu_time(os.getpid()) - began


def cpu_time(pid: int) -> float:
    """Seconds so far of a process, of its children that live, and of those that it has waited for."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") + sum(cpu_time(int(child)) for child in children)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the mix that is planned")
    parser.add_argument("--encode", type=int, default=20_000, help="rows that are encoded, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    bench_planning(options.rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")  # of the processes that this one starts
        datasets.config.HF_DATASETS_CACHE = folder / "cache"
        path = write_data(folder, 0, Sizes(sft_reasoning=options.encode))["sft_reasoning"]
        for each in (path, write_rows(folder, options.encode // 10, 2_000)):
            bench_encoding(each, options.rounds)
        bench_reading(path)
        bench_memory(folder, options.encode // 10)


if __name__ == "__main__":
    main()
