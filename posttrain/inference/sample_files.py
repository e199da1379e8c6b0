"""`samples.parquet`: every response that was sampled, with what it came from and, once graded, with its verdicts.

It is a folder with one file for each chunk of prompts; readers of Parquet take it for one table. A file appears, whole,
as soon as its chunk is sampled, and is replaced by itself with verdicts. So sampling goes on where it was interrupted,
and other runs can grade and pair the same samples by other rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from posttrain.chat import Origin
from posttrain.errors import UserError
from posttrain.recipe import Decoding
from posttrain.run_folder.reuse import first_difference
from posttrain.runs import written_aside

SAMPLES = "samples.parquet"

# The columns from `mode` on are null until the samples are graded; `prompt` and `verdicts` are JSON.
SCHEMA = pa.schema(
    {
        "query": pa.int64(),
        "token_ids": pa.list_(pa.int32()),
        "is_truncated": pa.bool_(),
        "closed_at": pa.int32(),  # tokens after which the thinking budget closed the thinking; null: it did not
        "prompt_ids": pa.list_(pa.int32()),
        "prompt_sha256": pa.string(),  # of the prompt's token ids
        "model": pa.string(),
        "model_sha256": pa.string(),  # of the model's folder; null for a hub id
        "template_sha256": pa.string(),
        "vocabulary_sha256": pa.string(),
        "mode": pa.string(),
        "language": pa.string(),
        "domain": pa.string(),
        "prompt": pa.string(),
        "answer": pa.string(),
        "thinking": pa.string(),
        "num_tokens": pa.int32(),
        "num_thinking_tokens": pa.int32(),
        "reward": pa.float64(),
        "outcome": pa.bool_(),
        "verdicts": pa.string(),
    }
)
_AS_SAMPLED = SCHEMA.names[: SCHEMA.names.index("mode")]


class Sampler(NamedTuple):
    """What samples came from: the model by its path and, for a folder, its content; and what its ids mean."""

    model: str
    model_sha256: str | None
    template_sha256: str
    vocabulary_sha256: str

    @classmethod
    def of(cls, model: str, model_sha256: str | None, origin: Origin) -> "Sampler":
        """The sampler at the path `model`."""
        return cls(model, model_sha256, *origin)

    def difference(self, row: Mapping[str, Any]) -> str | None:
        """How the sampler of `row` is another one, in words; a folder may have moved."""
        if row["template_sha256"] != self.template_sha256:
            return "with another chat template"
        if row["vocabulary_sha256"] != self.vocabulary_sha256:
            return "with another tokenizer"
        ours, theirs = (self.model_sha256 or self.model), (row["model_sha256"] or row["model"])
        return None if ours == theirs else f"by another model ('{row['model']}', {theirs[:12]}, and not {ours[:12]})"


def write_samples(file: Path, samples: Sequence[Mapping[str, Any]]) -> None:
    """Write one file; columns that a sample does not have are null."""
    file.parent.mkdir(exist_ok=True)
    with written_aside(file) as aside:
        pq.write_table(pa.Table.from_pylist([dict(sample) for sample in samples], SCHEMA), aside, compression="zstd")


def read_samples(file: Path) -> list[dict[str, Any]]:
    """The samples of one file as they were sampled, without verdicts."""
    rows: list[dict[str, Any]] = pq.read_table(file, columns=_AS_SAMPLED).to_pylist()
    return rows


def earlier_files(run: Path, sampler: Sampler, prompts_sha256: Sequence[str], decoding: Decoding) -> list[Path]:
    """The files with an earlier run's samples, which have to be those that this run would sample itself.

    Args:
        run: the folder of the earlier run.
        sampler: the model of this run.
        prompts_sha256: the prompts of this run, in turn.
        decoding: how this run would sample.

    Raises:
        UserError: there are no samples, or not of all prompts, or another model, template, prompt or decoding.
    """
    files = sorted((run / SAMPLES).glob("part-*.parquet"))
    if not files or not (run / "recipe.yaml").is_file():
        raise UserError(f"samples: got '{run}', where there are none; need the folder of a run that has sampled")
    _check_decoding(run, decoding)
    seen: set[int] = set()
    for file in files:
        if missing := [name for name in _AS_SAMPLED if name not in pq.read_schema(file).names]:
            raise UserError(f"samples: {file} has no column {', '.join(missing)}; sample anew")
        for row in read_samples(file):
            if difference := sampler.difference(row):
                raise UserError(
                    f"samples: those in '{run}' were made {difference}; take the samples of this model, or sample anew"
                )
            if row["query"] >= len(prompts_sha256) or row["prompt_sha256"] != prompts_sha256[row["query"]]:
                raise UserError(
                    f"samples: query {row['query']} of '{run}' is another prompt than that of this recipe's data; need "
                    "the same rows in the same order"
                )
            seen.add(row["query"])
    if len(seen) < len(prompts_sha256):
        raise UserError(
            f"samples: '{run}' has samples of {len(seen)} of {len(prompts_sha256)} prompts; let it finish (--resume)"
        )
    return files


def take_over(files: Sequence[Path], folder: Path) -> list[Path]:
    """Copy an earlier run's samples, without their verdicts, into the folder of this run; the new files."""
    ours = [folder / SAMPLES / file.name for file in files]
    for theirs, file in zip(files, ours, strict=True):
        if not file.is_file():
            write_samples(file, read_samples(theirs))
    return ours


def _check_decoding(run: Path, decoding: Decoding) -> None:
    try:
        theirs = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))["decoding"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"samples: {run / 'recipe.yaml'} does not say how they were sampled ({error})") from error
    if difference := first_difference(theirs, asdict(decoding), "decoding"):
        key, old, new = difference
        raise UserError(
            f"samples: those in '{run}' were sampled with {key} {old!r}, the recipe says {new!r}; make them the same, "
            "or sample anew"
        )
