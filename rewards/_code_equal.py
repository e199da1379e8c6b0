"""When what an answer's code gives is what was expected."""

import math
from typing import Any


def is_equal(value: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Equal, and of the same types; both are plain values.

    - True is not 1. An int equals a float of the same value, and NaN equals NaN.
    - A tuple equals a list with the same items, because the JSON of a row has no tuples.
    - Floats differ by at most `tolerance`, absolute or relative to what was expected: by nothing, unless one is set.
    """
    if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
        pairs = zip(value, expected, strict=False)
        return len(value) == len(expected) and all(is_equal(*pair, tolerance) for pair in pairs)
    if isinstance(value, dict) and isinstance(expected, dict):
        return _typed(value) == _typed(expected) and all(
            is_equal(value[key], expected[key], tolerance) for key in value
        )
    if isinstance(value, set) and isinstance(expected, set):
        return _typed(value) == _typed(expected)
    if _is_number(value) and _is_number(expected):
        return bool(value == expected) or _is_close(value, expected, tolerance)
    return type(value) is type(expected) and bool(value == expected)


def is_same_text(output: str, expected: str) -> bool:
    """The same lines in the same number, but for white space at their ends and at the end of all."""
    return _lines(output) == _lines(expected)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _typed(items: Any) -> set[tuple[type, Any]]:
    return {(type(item), item) for item in items}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_close(value: float, expected: float, tolerance: float) -> bool:
    if isinstance(value, int) and isinstance(expected, int):
        return False
    try:
        if math.isnan(value) and math.isnan(expected):
            return True
        return tolerance > 0 and math.isclose(value, expected, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:  # an integer beyond all floats
        return False
