r"""What a text boxes as its answer: the last `\boxed{...}`, those that stand together with it, and second thoughts."""

import re
from typing import NamedTuple

_BRACE = re.compile(r"(\\boxed\s*\{)|\\.|[{}]", re.DOTALL)
_LONGEST_GAP = 20  # characters between boxes that stand together
_MOST_TOGETHER = 20  # boxes
_GAP = re.compile(r"[\s$,;.()\[\]\\]*(?:\\text\{)?\s*(and|or|y|o|및|와|과|또는|그리고)?\s*\}?[\s$,;.()\[\]\\]*")
_READ_ON = 120  # characters after the box; who takes it back does so at once

DOUBT = re.compile(
    r"\b(?:or|and|maybe|perhaps|possibly|not|wrong|incorrect|o|quizás?|tal vez|no|incorrect[oa])\b"
    r"|또는|혹은|아마|아니|아닙|아닌|틀[렸린립]"
)
_TAKEN_BACK = re.compile(
    r"\A\W*(?:is|was|seems|looks)? ?(?:wrong|incorrect|mistaken|a mistake|not (?:right|correct|the answer))\b"
    r"|\b(?:no,? wait|wait,|correction:|scratch that|on second thought|or (?:maybe|perhaps|possibly))"
    r"|\b(?:that|this|it)(?:'s| is| was) (?:wrong|incorrect|not (?:right|correct))\b"
    r"|\bit (?:might|could|may) (?:also |well )?be\b"
    r"|\A\W*(?:no es correct|es incorrect|es erróne|está mal|estaba mal)"
    r"|\b(?:me equivoqué|no,? espera|espera,|o (?:quizás?|tal vez))"
    r"|\A\W*(?:이|가|은|는)? ?(?:틀[렸린립]|잘못|아니[다라고]|아닙니다)|또는 아마",
    re.IGNORECASE,
)


class Boxed(NamedTuple):
    r"""The answer that a text gives.

    Attributes:
        last: the content of the last box.
        together: the contents of the last boxes that have nothing between them but a comma or a word such as "and",
            joined by commas; the same as `last` when it stands alone.
        is_joined: a word joins them, so that they are one answer in several boxes.
        is_taken_back: the text right after the last box says that it is wrong, or gives another answer beside it.
    """

    last: str
    together: str
    is_joined: bool
    is_taken_back: bool


def find_boxed(text: str) -> Boxed | None:
    r"""The answer in the last `\boxed{...}` whose braces balance; None when there is none."""
    spans = _boxes(text)
    if not spans:
        return None
    start, end = spans[-1]
    last, together, is_joined = text[start:end], [text[start:end]], False
    for earlier_start, earlier_end in reversed(spans[-_MOST_TOGETHER:-1]):
        gap_end = start - len(r"\boxed{")
        if not 0 < gap_end - earlier_end <= _LONGEST_GAP:
            break
        gap = _GAP.fullmatch(text, earlier_end + 1, max(earlier_end + 1, gap_end))
        if gap is None:
            break
        together.append(text[earlier_start:earlier_end])
        is_joined = is_joined or gap[1] is not None
        start = earlier_start
    after = text[end + 1 : end + 1 + _READ_ON]
    return Boxed(last, ", ".join(reversed(together)), is_joined, _TAKEN_BACK.search(after) is not None)


def last_box(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` whose braces balance."""
    spans = _boxes(text)
    return text[slice(*spans[-1])] if spans else None


def _boxes(text: str) -> list[tuple[int, int]]:
    """Where the contents of the balanced boxes start and end, by their start; one pass, whatever the text."""
    found: list[tuple[int, int]] = []
    opened: list[tuple[int, bool]] = []
    for match in _BRACE.finditer(text, max(0, text.find(r"\boxed"))):
        if match[1] or match[0] == "{":
            opened.append((match.end(), bool(match[1])))
        elif match[0] == "}" and opened:
            start, is_box = opened.pop()
            if is_box:
                found.append((start, match.start()))
    return sorted(found)
