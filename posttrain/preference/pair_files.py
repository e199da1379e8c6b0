"""`pairs.parquet`: written whole or not at all, read back only by the tokenizer it fits."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from posttrain.chat import Origin
from posttrain.errors import UserError
from posttrain.preference.groups import require_trained
from posttrain.preference.pair_report import PairRow
from posttrain.preference.tables import read_columns
from posttrain.runs import written_aside

_IDS = pa.list_(pa.int32())
PAIR_SCHEMA = pa.schema(
    {
        "query": pa.int64(),
        "prompt": pa.string(),
        "prompt_ids": _IDS,
        "chosen_ids": _IDS,
        "rejected_ids": _IDS,
        "chosen_untrained": pa.int32(),
        "rejected_untrained": pa.int32(),
        "chosen_text": pa.string(),
        "rejected_text": pa.string(),
        "chosen_outcome": pa.bool_(),
        "rejected_outcome": pa.bool_(),
        "chosen_in_language": pa.bool_(),
        "rejected_in_language": pa.bool_(),
        "mode": pa.string(),
        "language": pa.string(),
        "domain": pa.string(),
        "reason": pa.string(),
        "reused": pa.bool_(),
    }
)


def write_pairs(path: Path, rows: Sequence[PairRow], origin: Origin) -> None:
    """Write `pairs.parquet`, with the origin of its ids in the file's metadata."""
    table = pa.Table.from_pylist(rows, schema=PAIR_SCHEMA.with_metadata(origin._asdict()))
    with written_aside(path) as aside:
        pq.write_table(table, aside, compression="zstd")


def read_pairs(path: Path, origin: Origin) -> list[PairRow]:
    """The rows of a `pairs.parquet`.

    Raises:
        UserError: no such file, not one of ours, made with another template or vocabulary, no rows, or a side
            of which no token is trained.
    """
    table = read_columns(path, "pairs file", PAIR_SCHEMA.names)
    found = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    for key, needed in origin._asdict().items():
        if found.get(key) != needed:
            what = "chat template" if key == "template_sha256" else "tokenizer"
            raise UserError(
                f"pairs file '{path}' was made with another {what} ({key} {found.get(key, 'none')[:12]}, the model's "
                f"is {needed[:12]}); make the pairs with this model, or train the model they were made with"
            )
    rows = cast("list[PairRow]", table.to_pylist())
    if not rows:
        raise UserError(f"pairs file '{path}' holds no pairs; it needs at least one")
    require_trained(rows, str(path))
    return rows
