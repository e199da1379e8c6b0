r"""Tell a calculation that is left to do from a number and its unit.

It is for readers that would do the calculation, as a language model does. `9.8\text{ m/s}^2`, `3\times10^{8}` and
`12 (kg)` are finished; `37*43`, `10^3+591` and `\sqrt{1591^2}` are not.
"""

import re

from rewards._latex import clean

_NUMBER = r"\d+(?:[.,]\d+)*"
_WHOLE = re.compile(r"[-+]?\d+(?:,\d{3})*(?![\d.,/])")
_POWER_OF_TEN = re.compile(rf"(?:{_NUMBER} ?(?:\\times ?|\\cdot ?|\*))?10\^\{{?[+-]?\d+\}}?")
_EXPONENT = re.compile(r"(?<=\d)[eE][+-]?\d+")
_UNIT = re.compile(r"\\text\{[^{}\d]*\}(?:\^\{?-?\d\}?)?")
_FRACTION = re.compile(rf"\\frac\{{{_NUMBER}\}}\{{{_NUMBER}\}}|{_NUMBER}/{_NUMBER}")
_OPERATION = re.compile(
    r"(?<=[\w)}])\+(?=[\w\\({])|(?<=[\w)}])-(?=\d|[A-Za-z](?!\w)|[\\({])"
    r"|[\d)}](?:[*/^]|\\times|\\cdot|\\div) ?[({]*[-+]?(?:\d|\\sqrt|\\frac|\\pi)"
    r"|\d!|\)\(|(?:\d|[A-Za-z]{2})\(\d|\|"
    r"|\\(?:frac|binom|int|sum|prod|lim|gcd|lcm|max|min|log|ln|exp|sqrt|sin|cos|tan|det)(?![A-Za-z])"
)


def is_number(gold: str) -> bool:
    """One finished number, perhaps with a unit."""
    text = _simple(gold)
    return len(re.findall(_NUMBER, text)) == 1 and text.lstrip("+-")[:1].isdigit() and not _OPERATION.search(text)


def is_calculation(answer: str, gold: str) -> bool:
    """Something is left to do in an answer of at most 300 characters.

    Args:
        answer: in LaTeX or plain text.
        gold: a number; where it is a whole one, so is a division left to do.
    """
    is_whole = _WHOLE.match(clean(gold)[0]) is not None
    return bool(_OPERATION.search(_simple(answer)) or (is_whole and _FRACTION.search(clean(answer)[0])))


def _simple(text: str) -> str:
    """In one tidy line, without units, and with 0 for every power of ten and every fraction of two numbers."""
    text = _POWER_OF_TEN.sub("0", clean(text)[0])
    return _FRACTION.sub("0", _UNIT.sub("", _EXPONENT.sub("", text)))
