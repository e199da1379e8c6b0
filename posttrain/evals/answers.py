"""The answers of a run, as `samples.jsonl` keeps them: written chunk by chunk, read by a resumed run and by `compare`.

A chunk is written in one go when it is graded. What a kill leaves of one that was not written whole is dropped.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain.errors import UserError
from posttrain.runs import written_aside

SAMPLES = "samples.jsonl"
TEXTS = ("prompt", "thinking", "answer")

Record = dict[str, Any]


def without_texts(record: Mapping[str, Any]) -> Record:
    """The record as metrics need it, which is small."""
    return {key: value for key, value in record.items() if key not in TEXTS}


def cut(record: Mapping[str, Any], longest: int | None) -> Record:
    """The record with no text longer than so many characters; what is left says how many more there were."""
    if longest is None:
        return dict(record)
    prompt = [{**message, "content": _cut(message.get("content"), longest)} for message in record["prompt"]]
    return {**record, "prompt": prompt, **{key: _cut(record[key], longest) for key in ("thinking", "answer")}}


def read_answers(run: Path) -> dict[str, list[Record]]:
    """The answers in a run folder without their texts, by the name of their decoding.

    Raises:
        UserError: there are none, or they are not those of an evaluation.
    """
    path = run / SAMPLES
    if not path.is_file():
        raise UserError(f"{run} has no {SAMPLES}, so it is not an evaluation; make it with `posttrain eval RECIPE`")
    answers: dict[str, list[Record]] = defaultdict(list)
    for record in _records(path):
        if not {"decoding", "benchmark", "question", "fingerprint"} <= record.keys():
            raise UserError(f"{path} is not that of an evaluation by this version of posttrain; evaluate again")
        answers[record["decoding"]].append(record)
    return dict(answers)


def keep_whole_chunks(run: Path, sizes: Sequence[int], wholes: Sequence[int]) -> list[list[Record]]:
    """What an interrupted attempt answered, by the number of the decoding; chunks that are not whole leave the file.

    Args:
        run: the run's folder.
        sizes: by decoding, the answers of one chunk.
        wholes: by decoding, its answers in all; the last chunk may be a small one.
    """
    path = run / SAMPLES
    kept: list[list[Record]] = [[] for _ in sizes]
    if not path.is_file():
        return kept
    counts = Counter(record["step"] for record in _records(path))
    limits = [
        counts[step] if counts[step] == whole else counts[step] - counts[step] % size
        for step, (size, whole) in enumerate(zip(sizes, wholes, strict=True))
    ]
    with path.open("rb") as lines, written_aside(path) as aside, aside.open("wb") as file:
        for line in lines:
            record = json.loads(line)
            if len(kept[record["step"]]) < limits[record["step"]]:
                kept[record["step"]].append(without_texts(record))
                file.write(line)
    return kept


def _records(path: Path) -> Iterator[Record]:
    with path.open("rb") as lines:
        for line in lines:
            yield without_texts(json.loads(line))


def _cut(text: Any, longest: int) -> Any:
    rest = len(text) - longest if isinstance(text, str) else 0
    return text if rest <= 0 else f"{text[:longest]}… ({rest:,} more characters)"
