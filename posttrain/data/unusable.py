"""A row that cannot be used, and why."""

import json
from typing import Any

from posttrain.errors import UserError


class RowError(UserError):
    """One row cannot be used; the message says why.

    Attributes:
        reason: the kind of fault in a few words, the same for every row that has it, for counting.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def parse_json(text: Any, reason: str, what: str) -> Any:
    """The value that a text inside a row says.

    Raises:
        RowError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise RowError(reason, f"{what} should be JSON ({error})") from error
