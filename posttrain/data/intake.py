"""Every source of an SFT recipe, read and encoded; what cannot be used is set aside, counted and told."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from posttrain.chat import MODES, check_template, require_joinable
from posttrain.data.cache import Encoding, encoding_of, key_of_tokenizer
from posttrain.data.encoded_file import EncodedFile, EncodedRows, Places
from posttrain.data.encoder import Encoder
from posttrain.data.rejected import TOO_LONG, Rejected, check_share, in_words
from posttrain.data.rows import file_names
from posttrain.errors import UserError
from posttrain.recipe import SFTDataSection, Source

Mask = npt.NDArray[np.bool_]


@dataclass
class Intake:
    """What came of one source.

    Attributes:
        name: the source's.
        source: of the recipe.
        encoding: all that is in it.
        rows: those to train on, in the order of the files.
        rejected: those that cannot be used.
        inferred_modes: mode -> rows that do not name their mode, but show it.
        converted: what was brought into another shape -> rows.
        trained_tokens: tokens that bear loss, of all rows that can be used.
        duplicates: such rows that say the same as an earlier one, of this source or of one before it.
        duplicate_tokens: the trained tokens of those.
    """

    name: str
    source: Source
    encoding: Encoding
    rows: EncodedRows
    rejected: list[Rejected]
    inferred_modes: Counter[str]
    converted: Counter[str]
    trained_tokens: int
    duplicates: int = 0
    duplicate_tokens: int = 0

    def notes(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "rows": len(self.rows),
            "rejected": dict(Counter(each.reason for each in self.rejected)),
            "rejected_tokens": sum(each.tokens or 0 for each in self.rejected),
            "inferred_modes": dict(self.inferred_modes),
            "converted": dict(self.converted),
            "duplicates": self.duplicates,
            "duplicate_tokens": self.duplicate_tokens,
        }


def take_in(data: SFTDataSection, tokenizer: Any) -> list[Intake]:
    """Read and encode every source, or find it encoded in the cache.

    Raises:
        UserError: two sources have one name, a file cannot be read, the tokenizer or its template will not do, a
            source has no row that can be used, or too large a share of all rows cannot.
    """
    require_joinable(tokenizer)
    check_template(tokenizer)
    names = [source.name or source.path for source in data.sources]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise UserError(f"data.sources.{index}: two sources are named '{name}'; give one of them another `name`")
    key = key_of_tokenizer(tokenizer)
    with Encoder(tokenizer, data.workers) as encoder:
        encodings = [encoding_of(source, encoder, key) for source in data.sources]
    intakes = [
        _intake(name, source, encoding, data.max_length)
        for name, source, encoding in zip(names, data.sources, encodings, strict=True)
    ]
    rejected = [each for intake in intakes for each in intake.rejected]
    check_share(rejected, sum(len(intake.encoding.file) for intake in intakes), data)
    _count_duplicates(intakes, drop=data.drop_duplicates)
    for intake in intakes:
        if not intake.rows:
            why = in_words(intake.rejected, with_detail=True) or "all say the same as rows of earlier sources"
            raise UserError(f"data source '{intake.name}' has no row to train on: {why}; leave it out or mend it")
    return intakes


def require_context(intakes: Sequence[Intake], context: int) -> None:
    """Refuse rows that are longer than the model's longest sequence, in tokens: it was never trained on what is behind.

    Raises:
        UserError: how many there are, and the first of them.
    """
    too_long = [
        (intake, row) for intake in intakes for row in np.flatnonzero(intake.rows.numbers("num_tokens") > context)
    ]
    if too_long:
        intake, row = too_long[0]
        first = intake.encoding.file.table.select(["file", "line", "num_tokens"]).take([intake.rows.places[row]])
        ((file, line, tokens),) = (each.values() for each in first.to_pylist())
        raise UserError(
            f"{len(too_long):,} of {sum(len(intake.rows) for intake in intakes):,} rows are longer than the model's "
            f"context, {context} tokens; the first is {file_names(intake.source)[file]}:{line} with {tokens}: leave "
            f"them out with data.max_length={context} and data.too_long=drop, or extend the model"
        )


def describe_intake(intakes: list[Intake]) -> Iterator[str]:
    """What a user should know of the rows besides their number: a line each, none where there is nothing to tell."""
    for intake in intakes:
        told = [f"mode inferred for {rows:,} rows as {mode}" for mode, rows in sorted(intake.inferred_modes.items())]
        told += [f"converted {what} in {rows:,} rows" for what, rows in intake.converted.items()]
        if told:
            yield f"{intake.name}: {'; '.join(told)}"
        if intake.rejected:
            yield f"{intake.name}: set aside {len(intake.rejected):,} rows: {in_words(intake.rejected)}"
        if intake.duplicates:
            share = intake.duplicate_tokens / intake.trained_tokens
            yield f"{intake.name}: {intake.duplicates:,} duplicates ({share:.2%} of its trained tokens)"


def describe_encoding(intakes: Sequence[Intake]) -> str:
    """Where the encoded rows come from."""
    fresh = [intake.encoding for intake in intakes if intake.encoding.num_processes]
    cached = sum(len(intake.encoding.file) for intake in intakes if not intake.encoding.num_processes)
    told = [f"{cached:,} rows from the cache"] if cached else []
    if fresh:
        seconds, processes = sum(each.seconds for each in fresh), max(each.num_processes for each in fresh)
        rows = sum(len(each.file) for each in fresh)
        told.insert(0, f"encoded {rows:,} rows in {seconds:.1f} s with {processes} process(es)")
    return "; ".join(told)


def _intake(name: str, source: Source, encoding: Encoding, max_length: int | None) -> Intake:
    file = encoding.file
    is_usable: Mask = ~np.asarray(file.table.column("reason").is_valid())
    if max_length is not None:
        is_usable &= file.numbers("num_tokens") <= max_length
    rows = EncodedRows(file, np.flatnonzero(is_usable))
    inferred = np.bincount(rows.numbers("mode_id")[rows.numbers("is_mode_inferred")], minlength=len(MODES))
    converted = pc.list_flatten(file.table.column("converted").filter(pa.array(is_usable)))
    return Intake(
        name,
        source,
        encoding,
        rows,
        rejected=list(_rejected(file, np.flatnonzero(~is_usable), name, source, max_length)),
        inferred_modes=Counter({mode: int(count) for mode, count in zip(MODES, inferred, strict=True) if count}),
        converted=Counter({each["values"]: each["counts"] for each in pc.value_counts(converted).to_pylist()}),
        trained_tokens=int(rows.numbers("trained_tokens").sum(dtype=np.int64)),
    )


def _rejected(
    file: EncodedFile, places: Places, name: str, source: Source, max_length: int | None
) -> Iterator[Rejected]:
    files = file_names(source)
    for row in file.table.select(["reason", "detail", "num_tokens", "file", "line"]).take(pa.array(places)).to_pylist():
        where, tokens = (name, files[row["file"]], row["line"]), row["num_tokens"]
        if row["reason"] is not None:
            yield Rejected(*where, row["reason"], row["detail"], None)
        else:
            detail = (
                f"{tokens} tokens, data.max_length is {max_length}; "
                "cutting would lose the answer, so raise data.max_length or leave the row out"
            )
            yield Rejected(*where, TOO_LONG, detail, tokens)


def _count_duplicates(intakes: Sequence[Intake], *, drop: bool) -> None:
    """Find the rows that say the same as an earlier one of any source; `drop` leaves them out."""
    digests = np.concatenate([intake.encoding.file.digests()[intake.rows.places] for intake in intakes])
    order = np.lexsort(digests.T)  # stable: the same ones stay in their order
    is_repeat = np.zeros(len(digests), dtype=bool)
    is_repeat[order[1:]] = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
    ends = np.cumsum([len(intake.rows) for intake in intakes])
    for intake, repeats in zip(intakes, np.split(is_repeat, ends[:-1]), strict=True):
        intake.duplicates = int(repeats.sum())
        intake.duplicate_tokens = int(intake.rows.numbers("trained_tokens")[repeats].sum(dtype=np.int64))
        if drop:
            intake.rows = EncodedRows(intake.rows.file, intake.rows.places[~repeats])
