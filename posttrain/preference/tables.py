"""Read back the Parquet tables that `posttrain pairs` writes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from posttrain.errors import UserError


def read_columns(path: Path, what: str, needed: Iterable[str], *, may_be_folder: bool = False) -> Any:
    """The `pyarrow.Table` of a file, which has at least the columns `needed`.

    Args:
        path: of the file.
        what: it is, for the errors: "pairs file".
        needed: columns.
        may_be_folder: a folder of such files will do, too.

    Raises:
        UserError: there is none, it is not Parquet, or it lacks a column.
    """
    if not (path.exists() if may_be_folder else path.is_file()):
        raise UserError(f"{what} '{path}' does not exist; make it with `posttrain pairs`, or mend the path")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{what} '{path}' is not a Parquet file ({error}); make it with `posttrain pairs`") from error
    if missing := [name for name in needed if name not in table.column_names]:
        raise UserError(f"{what} '{path}' has no column {', '.join(missing)}; make it with `posttrain pairs`")
    return table
