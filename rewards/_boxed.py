r"""From a model's text to one tidy line of LaTeX: find the last box, even out the spelling, refuse absurd sizes."""

import re
import unicodedata

MAX_CHARACTERS = 300
MAX_NESTING = 10  # math-verify needs 0.6 s for ten nested groups, more than 3 s for fifteen

_BRACE = re.compile(r"(\\boxed\s*\{)|\\.|[{}]", re.DOTALL)
_SYMBOLS = str.maketrans(
    {"−": "-", "–": "-", "×": r"\times ", "÷": "/", "·": r"\cdot ", "⋅": r"\cdot ", "π": r"\pi ", "∞": r"\infty "}
    | {"±": r"\pm ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\neq ", "∪": r"\cup ", "°": r"^\circ ", "≈": r"\approx "}
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff")
)
_TIDY = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(\d+)⁄(\d+)", r"\\frac{\1}{\2}"),
        (r"√\s*(\d+)", r"\\sqrt{\1}"),
        (r"\\?\$|\\[()\[\]!]|\\(?:left|right|displaystyle)(?![A-Za-z])", ""),
        (r"\\[,;: ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\math(?:rm|it)\s*\{([ei])\}", r"\1"),
        (r"\\(?:text(?:bf|rm|it)|math(?:rm|bf|it)|mbox)\s*(?=\{)", r"\\text"),
        (r"\\%", "%"),
        (r"\{,\}", ","),
        (r"\\frac\s*(\d)(?=\s*[\d{])", r"\\frac{\1}"),
        (r"(\\frac\{\d\})\s*(\d)", r"\1{\2}"),
        (r"\\sqrt\s*(\d)", r"\\sqrt{\1}"),
        (r"\^\s*\{?\s*\\circ\s*\}?", ""),
        (r"\s+", " "),
        (r" (?![A-Za-z0-9])|(?<![A-Za-z0-9]) ", ""),
        (r"^(?:\\approx ?|=)|[.,;]+$", ""),
    )
]
_HUGE = re.compile(
    r"\^\{?[+-]?\d{5,}|\^\{[^{}]*\d{5,}"  # a power above 9999
    r"|\^\{[^{}A-Za-z]*[\^!]"  # a tower of powers
    r"|\d{4,}!|!!|[)}]!|\^\d!"  # a factorial above 999!, or of something that may be large
)


def last_box(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` whose braces balance; one pass, whatever the text."""
    last, last_start = None, -1
    opened: list[tuple[int, bool]] = []
    for match in _BRACE.finditer(text):
        if match[1] or match[0] == "{":
            opened.append((match.end(), bool(match[1])))
        elif match[0] == "}" and opened:
            start, is_box = opened.pop()
            if is_box and start > last_start:
                last, last_start = text[start : match.start()], start
    return last


def clean(text: str) -> tuple[str, str]:
    """The text as one tidy line of LaTeX, and what is wrong with it ("" when nothing is)."""
    if len(text) > MAX_CHARACTERS:
        return "", f"longer than {MAX_CHARACTERS} characters"
    text = re.sub("[⁰¹²³⁴-⁹]+", r"^{\g<0>}", text)  # before NFKC, which would read 3² as 32
    text = re.sub("[₀-₉]+", r"_{\g<0>}", text)
    text = re.sub("(?<=[0-9])(?=[¼-¾⅐-⅞])", " ", text)  # and 1½ as 11⁄2
    text = unicodedata.normalize("NFKC", text).translate(_SYMBOLS)
    text = re.sub(r"\d", lambda digit: str(int(digit[0])), text)  # the digits of every script
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    return text, _fault(text)


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
