"""Limits of single values, beside their types in the schema."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Limit(NamedTuple):
    """What a value has to be beyond its type: in words for the error, and as a test. It lies in a field's metadata."""

    need: str
    holds: Callable[[Any], bool]


NOT_EMPTY = {"limit": Limit("at least one entry", bool)}
POSITIVE = {"limit": Limit("a number above 0", lambda value: 0 < value < math.inf)}
NOT_NEGATIVE = {"limit": Limit("a number of at least 0", lambda value: 0 <= value < math.inf)}
AT_LEAST_ONE = {"limit": Limit("at least 1", lambda value: 1 <= value < math.inf)}
FINITE = {"limit": Limit("a finite number", math.isfinite)}
SHARE = {"limit": Limit("a share from 0 to 1", lambda value: 0 <= value <= 1)}
SHARE_ABOVE_0 = {"limit": Limit("a number above 0 and at most 1", lambda value: 0 < value <= 1)}
SHARE_BELOW_1 = {"limit": Limit("a number from 0 and below 1", lambda value: 0 <= value < 1)}
SEED = {"limit": Limit("a number from 0 to 4294967295", lambda value: 0 <= value < 2**32)}  # what NumPy takes
