"""Every source of an SFT recipe, read and encoded; what cannot be used is set aside, counted and told."""

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from posttrain.chat import check_template, require_joinable
from posttrain.data.encode import Encoded, encode_row
from posttrain.data.rejected import Rejected, check_share, in_words
from posttrain.data.rows import read_records
from posttrain.data.unusable import RowError
from posttrain.errors import UserError
from posttrain.recipe import SFTDataSection, Source


@dataclass
class Intake:
    """What came of one source.

    Attributes:
        name: the source's.
        rows: those to train on, in the order of the files.
        rejected: those that cannot be used.
        inferred_modes: mode -> rows that do not name their mode, but show it.
        converted: what was brought into another shape -> rows.
        trained_tokens: tokens that bear loss, of all rows that can be used.
        duplicates: such rows that say the same as an earlier one, of this source or of one before it.
        duplicate_tokens: the trained tokens of those.
    """

    name: str
    rows: list[Encoded] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    inferred_modes: Counter[str] = field(default_factory=Counter)
    converted: Counter[str] = field(default_factory=Counter)
    trained_tokens: int = 0
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
    """Read and encode every source.

    Raises:
        UserError: two sources have one name, a file cannot be read, the tokenizer or its template will not do, a
            source has no row that can be used, or too large a share of all rows cannot.
    """
    require_joinable(tokenizer)
    check_template(tokenizer)
    names = [source.name or source.path for source in data.sources]
    intakes: list[Intake] = []
    seen: set[bytes] = set()
    num_rows = 0
    for index, (name, source) in enumerate(zip(names, data.sources, strict=True)):
        if name in names[:index]:
            raise UserError(f"data.sources.{index}: two sources are named '{name}'; give one of them another `name`")
        intakes.append(Intake(name))
        for encoded in _encoded_rows(source, intakes[-1], tokenizer, data.max_length):
            num_rows += 1
            _add(encoded, intakes[-1], seen, drop_duplicates=data.drop_duplicates)
    rejected = [each for intake in intakes for each in intake.rejected]
    check_share(rejected, num_rows + len(rejected), data)
    for intake in intakes:
        if not intake.rows:
            why = in_words(intake.rejected, with_detail=True) or "all say the same as rows of earlier sources"
            raise UserError(f"data source '{intake.name}' has no row to train on: {why}; leave it out or mend it")
    return intakes


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


def _encoded_rows(source: Source, intake: Intake, tokenizer: Any, max_length: int | None) -> Iterator[Encoded]:
    """The rows that can be used; the others, and what was converted, go into `intake`."""
    for record in read_records(source):
        try:
            if record.problem:
                raise record.problem
            encoded = encode_row(record.row, tokenizer, max_length=max_length)
        except RowError as problem:
            place = intake.name, record.file, record.line
            intake.rejected.append(Rejected(*place, problem.reason, str(problem), problem.num_tokens))
            continue
        intake.converted.update(record.converted)
        if record.is_mode_inferred:
            intake.inferred_modes[record.row["mode"]] += 1
        yield encoded


def _add(encoded: Encoded, intake: Intake, seen: set[bytes], *, drop_duplicates: bool) -> None:
    # Labels tell modes apart, and tools and messages are in the tokens.
    tokens = array("q", [*encoded.input_ids, *encoded.labels]).tobytes()
    fingerprint = blake2b(tokens, digest_size=16).digest()
    intake.trained_tokens += encoded.trained_tokens
    if fingerprint in seen:
        intake.duplicates += 1
        intake.duplicate_tokens += encoded.trained_tokens
        if drop_duplicates:
            return
    seen.add(fingerprint)
    intake.rows.append(encoded)
