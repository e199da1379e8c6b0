r"""One tidy line of LaTeX from whatever stands in a box: even spelling, no decoration, no absurd sizes."""

import re
import unicodedata
from functools import lru_cache

MAX_CHARACTERS = 300
MAX_DIGITS = 20_000  # of an integer, which is compared at any length that a box may hold
MAX_NESTING = 10  # math-verify needs 0.6 s for ten nested groups, more than 3 s for fifteen

_LONG_INTEGER = re.compile(r"[+-]?[0-9][0-9,{}\s]*")
_SYMBOLS = str.maketrans(
    dict.fromkeys("−–—", "-")
    | {"×": r"\times ", "÷": "/", "·": r"\cdot ", "⋅": r"\cdot ", "π": r"\pi ", "∞": r"\infty ", "∅": r"\emptyset "}
    | {"±": r"\pm ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\neq ", "∪": r"\cup ", "°": r"^\circ ", "≈": r"\approx "}
    | {"∈": r"\in ", "’": "'", "\ufe0f": "", "\u20e3": ""}
)
_TIDY = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(\d+)⁄(\d+)", r"\\frac{\1}{\2}"),
        (r"√\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"√\s*(\d+)", r"\\sqrt{\1}"),
        (r"\\?\$|\\[()\[\]!]|\\(?:left|right|displaystyle)(?![A-Za-z])|\*\*|`", ""),
        (r"\\[,;: ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\math(?:rm|it)\s*\{([ei])\}", r"\1"),
        (r"\\(?:text(?:bf|rm|it)|math(?:rm|bf|it)|mbox|underline)\s*(?=\{)", r"\\text"),
        (r"\\text\{([^A-Za-z{}\\\x80-\U0010ffff]*)\}", r"\1"),  # \text{5}
        (r"^\s*(?:\\text\{[^{}]*[:=]\s*\}|(?i:answer|respuesta|정답|답)\s*:)", ""),  # \text{Answer: }5
        (r"\\%|(?<=\d)\s*(?:\\text\{\s*)?(?:percent|por ciento|퍼센트)\s*\}?", "%"),
        (r"\{,\}", ","),
        (r"(?<=\d)\s*[xX]\s*(?=10\^)", r"\\times "),
        (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"\\(?:leqslant|leq)(?![A-Za-z])|<=", r"\\le "),
        (r"\\(?:geqslant|geq)(?![A-Za-z])|>=", r"\\ge "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\ne(?![A-Za-z])", r"\\neq "),
        (r"\\(?:simeq|sim)(?![A-Za-z])", r"\\approx "),
        (r"\\(sin|cos|tan)\s*\^\s*\{\s*-\s*1\s*\}", r"\\arc\1"),
        (r"\{\s*(\d+)\s*\\over\s*(\d+)\s*\}", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)(?=\s*[\d{])", r"\\frac{\1}"),
        (r"(\\frac\{\d\})\s*(\d)", r"\1{\2}"),
        (r"\\sqrt\s*(\d)", r"\\sqrt{\1}"),
        (r"\^\s*\{?\s*\\circ\s*\}?\s*(?:\\text\{\s*)?([CF])(?![A-Za-z])\s*\}?", r"\\text{deg\1}"),
        (r"\^\s*\{?\s*\\circ\s*\}?", ""),
        (r"(?:^|(?<=[-+(,=\s\d]))\{([^{}\\]*)\}", r"\1"),  # -{5}
        (r"\s+", " "),
        (r" (?![A-Za-z0-9])|(?<![A-Za-z0-9}]) ", ""),
        (r"^(?:\\approx ?|=)|[.,;]+$", ""),
        (r"^\(([^(),;]*)\)$", r"\1"),  # (-5)
    )
]
_HUGE = re.compile(
    r"\^\{?[+-]?\d{5,}|\^\{[^{}]*\d{5,}"  # a power above 9999
    r"|\^\{[^{}A-Za-z]*[\^!]"  # a tower of powers
    r"|\d{4,}!|!!|\}!|(?<!\([a-z][+-]\d)\)!|\^\d!"  # a factorial above 999!, or of what may be large; but not (n-1)!
)


def clean(text: str) -> tuple[str, str]:
    """The text as one tidy line of LaTeX, and what is wrong with it ("" when nothing is)."""
    if len(text) <= MAX_CHARACTERS:
        return _clean(text)
    text = text.strip()
    if len(text) <= MAX_DIGITS and _LONG_INTEGER.fullmatch(text):
        return re.sub(r"[^0-9-]", "", text), ""
    return "", f"longer than {MAX_CHARACTERS} characters"


@lru_cache(maxsize=4096)
def _clean(text: str) -> tuple[str, str]:
    text = re.sub("[⁰¹²³⁴-⁹]+", r"^{\g<0>}", text)  # before NFKC, which would read 3² as 32
    text = re.sub("[₀-₉]+", r"_{\g<0>}", text)
    text = re.sub("(?<=[0-9])(?=[¼-¾⅐-⅞])", " ", text)  # and 1½ as 11⁄2
    text = unicodedata.normalize("NFKC", text).translate(_SYMBOLS)
    text = "".join(_plain(character) for character in text)
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    return text, _fault(text)


def _plain(character: str) -> str:
    """The digits of every script as ours; no emoji and nothing invisible."""
    if character.isascii():
        return character
    category = unicodedata.category(character)
    if category == "Nd":
        return str(int(character))
    return "" if category in ("So", "Sk", "Cf") else character


def _fault(text: str) -> str:
    if not text:
        return "empty"
    if len(text) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    depth = deepest = 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        deepest = max(deepest, depth)
    if deepest > MAX_NESTING:
        return f"nested deeper than {MAX_NESTING}"
    return "a power or factorial too large to compare" if _HUGE.search(text) else ""
