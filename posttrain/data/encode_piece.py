"""A piece of a source to a batch of encoded records: the work that is done in parallel."""

import sys
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from posttrain.data.encode import IGNORED, Encoded, encode_row
from posttrain.data.encoded_file import SCHEMA
from posttrain.data.rows import Piece, Record, Row, parse_piece
from posttrain.data.unusable import RowError
from posttrain.recipe import Source

NO_NUMBERS = {"mode_id": 0, "weight": 0.0, "num_tokens": 0, "trained_tokens": 0, "is_mode_inferred": False}


def encode_piece(piece: Piece, source: Source, tokenizer: Any) -> Any:
    """The `pyarrow.RecordBatch` of the piece's records, in their order; see `SCHEMA`.

    Raises:
        UserError: the file cannot be read.
    """
    records = [
        {"file": piece.file_index, "line": record.line, **_encoded(record, tokenizer)}
        for record in parse_piece(piece, source)
    ]
    return pa.RecordBatch.from_pylist(records, schema=SCHEMA)


def _encoded(record: Record, tokenizer: Any) -> dict[str, Any]:
    try:
        if record.problem:
            raise record.problem
        weight, encoded = _weight(record.row), encode_row(record.row, tokenizer)
    except RowError as problem:
        return {**NO_NUMBERS, "reason": problem.reason, "detail": str(problem)}
    return {
        **_columns(encoded),
        "weight": weight,
        "is_mode_inferred": record.is_mode_inferred,
        "converted": list(record.converted),
    }


def _weight(row: Row) -> float:
    weight = row.get("weight")
    if weight is None:
        return 1.0
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= sys.float_info.max:
        raise RowError(
            "broken weight", f"weight is {weight!r:.80}; it must be a positive number, 1 where it is left out"
        )
    return float(weight)


def _columns(encoded: Encoded) -> dict[str, Any]:
    ids = np.array(encoded.input_ids, dtype=np.int32)
    is_trained = np.zeros(len(ids) + 2, dtype=bool)  # with a token before and after that are not
    is_trained[1:-1] = np.array(encoded.labels) != IGNORED
    spans = np.flatnonzero(is_trained[1:] != is_trained[:-1]).astype(np.int32)
    # Where the loss is tells modes apart, and tools and messages are in the tokens.
    digest = blake2b(np.concatenate([[len(ids)], ids, spans]).tobytes(), digest_size=16).digest()
    return {
        "input_ids": ids,
        "trained_spans": spans,
        "mode_id": encoded.mode_id,
        "domain": encoded.domain,
        "num_tokens": len(ids),
        "trained_tokens": int(is_trained.sum()),
        "digest": digest,
    }
