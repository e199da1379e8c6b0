"""What `eval.json` says of one decoding, and in words what somebody should look at."""

from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.evals.intervals import count_interval
from posttrain.evals.metrics import measure_benchmarks, measure_groups
from posttrain.recipe import Decoding

Entry = dict[str, Any]

COLLAPSED = 0.05  # above this share of answers that think where they should not, or do not where they should
TRUNCATED = 0.05  # above this share of answers that ran out of tokens
LOOPING = 0.02  # above this share of answers that go in circles


def entry(decoding: Decoding, records: Sequence[Mapping[str, Any]], seconds_alone: Sequence[float]) -> Entry:
    """The decoding's entry in `eval.json`.

    `seconds` is the time of generation alone, `latency` the seconds of an answer when nothing else is asked for.

    Args:
        decoding: how was sampled.
        records: all its answers.
        seconds_alone: of the questions that were timed one at a time; may be empty.
    """
    seconds, num_tokens = sum(record["seconds"] for record in records), sum(record["num_tokens"] for record in records)
    return {
        "name": decoding.name,
        "mode": decoding.mode,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "top_k": decoding.top_k,
        "max_new_tokens": decoding.max_new_tokens,
        "thinking_budget": decoding.thinking_budget,
        "samples": decoding.samples,
        "seconds": round(seconds, 3),
        "tokens": num_tokens,
        "tokens_per_second": round(num_tokens / seconds, 1) if seconds else None,
        "latency": count_interval([[each] for each in seconds_alone])._asdict() if seconds_alone else None,
        "groups": measure_groups(records),
        "benchmarks": measure_benchmarks(records),
    }


def findings(result: Entry) -> list[str]:
    """What is wrong with a decoding's answers, in words that a user can search for; empty where nothing is."""
    metrics = result["groups"]["all"]
    thinking, truncated, looping = (metrics[key]["mean"] for key in ("thinks", "truncated", "looping"))
    found = []
    if result["mode"] == "reasoning" and 1 - thinking > COLLAPSED:
        found.append(f"mode collapse: {1 - thinking:.1%} of the answers in reasoning mode have no thinking")
    if result["mode"] == "non_reasoning" and thinking > COLLAPSED:
        found.append(f"mode collapse: {thinking:.1%} of the answers in non-reasoning mode think")
    if truncated > TRUNCATED:
        found.append(f"truncation: {truncated:.1%} of the answers ran out of tokens ({result['max_new_tokens']:,})")
    if looping > LOOPING:
        found.append(f"degeneration: {looping:.1%} of the answers go in circles")
    return found
