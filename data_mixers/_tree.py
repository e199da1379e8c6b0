"""A tree of shares, and the order in which its leaves' rows come: sorting, and no loop over rows.

Every child of a node has a clock: its tokens so far, divided by its share. Children that keep their shares have clocks
that go alike. A row of a child stands for a stretch of that clock, and gets the middle of it as its time; rows come in
the order of their times, and of equal times that of the child listed first is first. Of any two children, the one whose
row comes next is then the one whose draw leaves the two closer to their ratio:

    draw from a:  |A + x - B|        A, B: the clocks; x, y: the stretches of the next rows of a and b
    draw from b:  |A - B - y|        the first is smaller  <=>  A + x/2 < B + y/2

So after any number of draws two clocks differ by at most half the largest stretch of the one and half that of the
other: the last row of the clock ahead was drawn because its middle came before the middle of the other's next row.
What a node draws is one sequence of rows, which its parent handles in the same way, so this holds at every node.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Slots = npt.NDArray[np.int32]  # a slot is one draw of one leaf; a leaf's slots are consecutive numbers, in its order


class Leaf(NamedTuple):
    """One source."""

    share: float
    source_id: int


class Node(NamedTuple):
    """A group of sources, or of groups; shares are compared among the children of one node."""

    share: float
    children: "Sequence[Node | Leaf]"


class Merged(NamedTuple):
    """A node's slots in their order, up to where the leaf that is next has none left, and the source of that leaf."""

    slots: Slots
    ended_by: int


def merge(node: Node | Leaf, slots_of: Sequence[range], tokens: npt.NDArray[np.integer[Any]]) -> Merged:
    """The order of a node's rows.

    Args:
        node: The root, or a part of the tree.
        slots_of: Each source's slots, at least one.
        tokens: The tokens of every slot.
    """
    if isinstance(node, Leaf):
        span = slots_of[node.source_id]
        return Merged(np.arange(span.start, span.stop, dtype=np.int32), node.source_id)
    merged = [merge(child, slots_of, tokens) for child in node.children]
    times, ends = [], []
    for child, part in zip(node.children, merged, strict=True):
        stretches = tokens[part.slots]
        after = np.cumsum(stretches, dtype=np.int64)
        times.append((after - stretches / 2) / child.share)
        ends.append(after[-1] / child.share)
    # A child without rows comes next at its end, as if it had a row of no tokens there; `argmin` takes the first.
    last = int(np.argmin(ends))
    kept = [
        int(np.searchsorted(time, ends[last], side="right" if index <= last else "left"))
        for index, time in enumerate(times)
    ]
    order = np.argsort(np.concatenate([time[:n] for time, n in zip(times, kept, strict=True)]), kind="stable")
    slots = np.concatenate([part.slots[:n] for part, n in zip(merged, kept, strict=True)])
    return Merged(slots[order], merged[last].ended_by)


def asked_shares(node: Node | Leaf, whole: float = 1.0) -> dict[int, float]:
    """By source, its share of all tokens, when the node's is `whole`."""
    if isinstance(node, Leaf):
        return {node.source_id: whole}
    total = sum(child.share for child in node.children)
    shares: dict[int, float] = {}
    for child in node.children:
        shares |= asked_shares(child, whole * child.share / total)
    return shares
