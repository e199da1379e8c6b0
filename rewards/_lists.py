r"""Answers of several values: lists, pairs, sets, intervals, unions and matrices, taken apart into their items.

An inequality is the interval that it describes (`0<x\le1` is `(0,1]`), `\pm` is two values.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from rewards._numerals import LITERAL, read_numbers

_AND = re.compile(r"\\text\{ ?(?:and|or|y|o|및|또는|그리고) ?\}|(?<=[\w})\]]) ?\b(?:and|or)\b ?|\\lor ?|\\vee ?")
_OR = re.compile(r"\\text\{ ?(?:or|o|또는) ?\}|\\lor ?|\\vee ?|\bor\b")
_MATRIX = re.compile(r"\\begin\{[pbB]?matrix\}(.*)\\end\{[pbB]?matrix\}")
_LABELLED = re.compile(r"(?:\([A-Za-z](?:,[A-Za-z])*\)|[A-Za-z])=((?:[(\[]|\\\{|\\begin).*)")
_MEMBER = re.compile(r"([A-Za-z])\\in ?(.*)")
_WITHOUT = re.compile(r"\\mathbb\{R\}(?:\\setminus ?|\\backslash ?|-)\\\{(.+)\\\}")
_SUCH_THAT = re.compile(r"\\\{[A-Za-z](?:\\in ?\\mathbb\{R\})?(?:\\mid ?|\||:)(.*)\\\}")
_RELATION = r"(<|>|\\le ?|\\ge ?|\\neq ?)"
_BETWEEN = re.compile(rf"([^<>=]+?){_RELATION}([A-Za-z]){_RELATION}([^<>=]+)")
_ABOVE = re.compile(rf"([A-Za-z]){_RELATION}([^<>=]+)")
_BELOW = re.compile(rf"([^<>=]+?){_RELATION}([A-Za-z])")
INFINITY = re.compile(r"[+-]?\\infty ?")
_TURNED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\neq": r"\neq"}


class Items(NamedTuple):
    """The parts of an answer.

    Attributes:
        brackets: "()", "[)" and so on; "{}" for a set, "" for a bare list, "∪" for a union, or the shape of a matrix.
        items: in the order in which they stand.
        name: of the variable whose values they are, where it is said.
    """

    brackets: str
    items: tuple[str, ...]
    name: str = ""

    @property
    def is_ordered(self) -> bool:
        """Whether the order of the items matters."""
        return self.brackets not in ("", "{}", "∪")

    def has_kind_of(self, gold: "Items") -> bool:
        """Whether these brackets may answer for the gold's: a bare list may stand for a pair or a set."""
        allowed = {"": ("", "{}", "()", "[]"), "()": ("()", ""), "{}": ("{}", "")}
        return self.brackets in allowed.get(gold.brackets, (gold.brackets,))


@lru_cache(maxsize=4096)
def read_items(text: str) -> Items | None:
    """The parts of a tidy text; None when it is one value or formula."""
    if match := _LABELLED.fullmatch(text):
        return read_items(match[1])
    if region := _read_region(text):
        return region
    if match := _MATRIX.fullmatch(text):
        rows = [row.split("&") for row in match[1].removesuffix(r"\\").split(r"\\")]
        shape = f"{len(rows)}x{len(rows[0])}"
        return Items(shape, tuple(item for row in rows for item in row)) if len({*map(len, rows)}) == 1 else None
    if text == r"\emptyset":
        return Items("{}", ())
    is_set = text.startswith(r"\{") and text.endswith(r"\}")
    inside = text[2:-2] if is_set else text[1:-1]
    if is_set and "\\{" not in inside:
        return Items("{}", _split(inside))
    if text.startswith(("(", "[")) and text.endswith((")", "]")) and _is_closed(inside):
        items = _split(inside)
        return Items(text[0] + text[-1], items) if len(items) > 1 else None
    name, _, rest = text.partition("=")
    if not (len(name) == 1 and name.isalpha()) or "=" in rest:
        name, rest = "", text
    items = tuple(sign for item in _split(_AND.sub(",", rest)) for sign in _signs(item))
    return Items("", items, name) if len(items) > 1 else None


def _read_region(text: str) -> Items | None:
    """Intervals and what can be written as such."""
    if match := _MEMBER.fullmatch(text):
        region = read_items(match[2])
        return region and region._replace(name=match[1])
    if text == r"\mathbb{R}":
        return Items("()", (r"-\infty", r"\infty"))
    if match := _WITHOUT.fullmatch(text):
        return _union_around(match[1]) if _is_value(match[1]) else None
    if match := _SUCH_THAT.fullmatch(text):
        return _read_region(match[1])
    pieces = re.split(r"\\cup ?", text)
    if len(pieces) > 1:
        return Items("∪", tuple(pieces))
    sides = [_read_inequality(piece) for piece in _OR.split(text)]
    if any(side is None for side in sides):
        return None
    name, regions = sides[0][0], [region for side in sides if side for region in side[1]]  # type: ignore[index]
    if len(regions) > 1:
        return Items("∪", tuple(regions), name)
    first = regions[0]
    return Items(first[0] + first[-1], _split(first[1:-1]), name)


def _read_inequality(text: str) -> tuple[str, list[str]] | None:
    """The variable, and its intervals."""
    if match := _BETWEEN.fullmatch(text):
        low, left, name, right, high = (part.strip() for part in match.groups())
        if left in (">", r"\ge"):
            low, left, right, high = high, _TURNED[right], _TURNED[left], low
        is_between = {left, right} <= {"<", r"\le"} and _is_value(low) and _is_value(high)
        return (name, [f"{'(['[left != '<']}{low},{high}{')]'[right != '<']}"]) if is_between else None
    if match := _ABOVE.fullmatch(text):
        name, relation, value = (part.strip() for part in match.groups())
    elif match := _BELOW.fullmatch(text):
        value, relation, name = (part.strip() for part in match.groups())
        relation = _TURNED[relation]
    else:
        return None
    if not _is_value(value):
        return None
    intervals = {
        "<": [rf"(-\infty,{value})"],
        ">": [rf"({value},\infty)"],
        r"\le": [rf"(-\infty,{value}]"],
        r"\ge": [rf"[{value},\infty)"],
        r"\neq": [rf"(-\infty,{value})", rf"({value},\infty)"],
    }
    return name, intervals[relation]


def _union_around(value: str) -> Items:
    return Items("∪", (rf"(-\infty,{value})", rf"({value},\infty)"))


def _is_value(text: str) -> bool:
    return bool(read_numbers(text, None) or LITERAL.fullmatch(text) or INFINITY.fullmatch(text))


def _split(text: str) -> tuple[str, ...]:
    """At the commas outside of brackets; at semicolons where there are some."""
    separator = ";" if ";" in text else ","
    items, depth = [""], 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        if character == separator and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return tuple(item.strip() for item in items)


def _is_closed(text: str) -> bool:
    """Whether the brackets around this text belong together: none inside closes what is open outside."""
    depth = 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if depth < 0:
            return False
    return True


def _signs(item: str) -> tuple[str, ...]:
    if item.count(r"\pm") != 1:
        return (item,)
    before, after = (part.strip() for part in item.split(r"\pm"))
    ends_open = not before or before[-1] in "{(=,"
    return f"{before}{'' if ends_open else '+'}{after}", f"{before}-{after}"
