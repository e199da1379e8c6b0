import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards._code_equal import is_equal
from rewards._sandbox.protocol import LONGEST_REPLY, decode
from rewards._sandbox.runner import MAX_DEPTH, UnfitError, encode

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
HASHABLE = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(HASHABLE, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
    ),
    max_leaves=12,
)


def there_and_back(value: object) -> object:
    return decode(f'["value",{encode(value)}]'.encode())[1]


@settings(deadline=None)  # the machine may be busy
@given(PLAIN)
def test_a_plain_value_comes_out_as_it_went_in(value: object) -> None:
    assert repr(there_and_back(value)) == repr(value) or is_equal(there_and_back(value), value)
    assert type(there_and_back(value)) is type(value)


def test_an_integer_of_a_million_bits_is_neither_slow_nor_refused() -> None:
    assert there_and_back(-(2**1_000_000)) == -(2**1_000_000)


def test_depth_and_size_have_limits_on_both_sides() -> None:
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert there_and_back(value) == value
    with pytest.raises(UnfitError, match="deep"):
        encode([value])
    with pytest.raises(UnfitError, match="larger"):
        encode(["x" * 2**19] * 3)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"[1]",
        b"null",
        b'"value"',
        b"\xff\xfe",
        b'["value"',
        b'["value",{}]',
        b'["value",{"t":[1],"s":[2]}]',
        b'["value",{"x":[1]}]',
        b'["value",{"s":[[1]]}]',
        b'["value",{"s":1}]',
        b'["value",{"d":[[1]]}]',
        b'["value",{"d":[[[],1]]}]',
        b'["value",{"i":"xyz"}]',
        b'["value",{"i":7}]',
        b'["value",' + b"9" * 5_000 + b"]",
        b'["value",' + b"[" * 200 + b"]" * 200 + b"]",
        b"[" * LONGEST_REPLY,
        b'["value",' + b'{"t":[' * 100_000,
    ],
)
def test_what_is_no_reply_is_refused_whatever_it_is(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a reply"):
        decode(line)


def test_the_deepest_value_does_not_need_a_deep_stack() -> None:
    limit = sys.getrecursionlimit()
    assert decode(json.dumps(["value", json.loads("[" * 100 + "]" * 100)]).encode())
    assert sys.getrecursionlimit() == limit
