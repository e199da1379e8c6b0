"""Sampled conversations as the page shows them: their order, their filters, and each one's facts in words."""

import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from posttrain.report.evaluation import Row
from posttrain.report.load import StageRun
from posttrain.report.words import LANGUAGES, number

LONGEST_TEXT = 20_000  # characters of one message, thinking or answer that the page shows
OUTCOMES = {True: "right", False: "wrong", None: "not judged"}


class Filter(NamedTuple):
    """One selector of the page: its label, the key it looks at, and its choices as (value, written)."""

    label: str
    key: str
    choices: list[tuple[str, str]]


def interleave(stages: Sequence[StageRun]) -> list[Row]:
    """The kept samples of all stages, stages in turn, so that the first screen shows a bit of each."""
    columns = [[_labelled(sample, stage.name) for sample in stage.samples] for stage in stages]
    return [sample for turn in zip_longest(*columns) for sample in turn if sample is not None]


def filters(conversations: Sequence[Row]) -> list[Filter]:
    """The selectors that these conversations call for; one with a single choice is left out."""
    labels = {"stage": "Stage", "mode": "Mode", "judged": "Verdict", "group_type": "Group", "language": "Language"}
    labels |= {"source": "From"}
    offered = []
    for key, label in labels.items():
        values = list(dict.fromkeys(str(each[key]) for each in conversations if each.get(key)))
        if len(values) > 1:
            offered.append(Filter(label, key, [(value, _written(key, value)) for value in values]))
    return offered


def facts(sample: Row) -> list[str]:
    """What is known about one sample, in the order a reader asks for it."""
    said = [str(sample["decoding"])] if sample.get("decoding") else [_written("mode", str(sample.get("mode", "")))]
    if sample.get("language"):
        said.append(_written("language", str(sample["language"])))
    if sample.get("source") == "training" and sample.get("step"):
        said.append(f"training step {sample['step']}")
    if sample.get("num_tokens") is not None:
        said.append(f"{sample['num_tokens']} tokens")
    if sample.get("is_truncated"):
        said.append("cut off")
    if sample.get("side"):
        said.append(str(sample["side"]))
    if sample.get("group_type"):
        said.append(f"group {_written('group_type', sample['group_type'])}")
    for key in ("reward", "advantage"):
        if isinstance(sample.get(key), int | float):
            said.append(f"{key} {number(sample[key])}")
    return said


def verdict(content: object) -> str:
    """One reward's verdict in a line: score, what it read out of the answer, why."""
    if not isinstance(content, dict):
        return text(content)
    score = content.get("score")
    said = [number(score) if isinstance(score, int | float) else "cannot be judged"]
    if content.get("extracted") is not None:
        said.append(f"read “{text(content['extracted'])}”")
    if content.get("reason"):
        said.append(text(content["reason"]))
    return " · ".join(said)


def text(content: object) -> str:
    """What a model or a data set wrote, as plain text of bounded length."""
    if content is None:
        return ""
    written = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=2)
    rest = len(written) - LONGEST_TEXT
    return written if rest <= 0 else f"{written[:LONGEST_TEXT]}\n… {rest:,} more characters in samples.jsonl"


def _labelled(sample: Row, stage: str) -> Row:
    outcome = sample.get("outcome")
    return sample | {"stage": stage, "judged": OUTCOMES[outcome if isinstance(outcome, bool) else None]}


def _written(key: str, value: str) -> str:
    return LANGUAGES.get(value, value) if key == "language" else value.replace("_", "-" if key == "mode" else " ")
