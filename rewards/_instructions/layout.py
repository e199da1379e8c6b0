"""Constraints on paragraphs, lists, sections and markup."""

import json
import re

_BLANK_LINE = re.compile(r"\n\s*\n")
_BULLET = re.compile(r"^[ \t]*[*+-][ \t]+(?![*+\- \t]*$)\S", re.MULTILINE)
_HIGHLIGHT = re.compile(r"(?<!\*)(\*{1,3})(?=[^\s*])[^*\n]*(?<=[^\s*])\1(?!\*)")
_TITLE = re.compile(r"<<([^<>\n]+)>>")
_FENCE = re.compile(r"```\w*\n?(.*)```", re.DOTALL)


def number_paragraphs(text: str, *, num_paragraphs: int) -> str:
    """There are exactly so many paragraphs, with the divider `***` between them."""
    return _exactly(_parts(text, "***"), num_paragraphs, "paragraphs")


def two_responses(text: str) -> str:
    """There are two different responses, with `******` between them."""
    parts = _parts(text, "******")
    return _exactly(parts, 2, "responses") or ("twice the same response" if parts[0] == parts[1] else "")


def nth_paragraph_first_word(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> str:
    """There are exactly so many paragraphs, with blank lines between them, and one begins with a given word."""
    paragraphs = [paragraph for paragraph in _BLANK_LINE.split(text.strip()) if paragraph.strip()]
    fault = _exactly(paragraphs, num_paragraphs, "paragraphs")
    if fault:
        return fault
    word = re.split(r"[.,?!'\"\s]", paragraphs[nth_paragraph - 1].lstrip("'\"“‘*_ "), maxsplit=1)[0]
    wanted = first_word.strip().casefold()
    return "" if word.casefold() == wanted else f"paragraph {nth_paragraph} begins with {word[:30]!r}"


def number_bullet_lists(text: str, *, num_bullets: int) -> str:
    """There are exactly so many bullet points, in markdown."""
    return _exactly(_BULLET.findall(text), num_bullets, "bullet points")


def number_highlighted_sections(text: str, *, num_highlights: int) -> str:
    """At least so many pieces of text stand between asterisks."""
    return _at_least(len(_HIGHLIGHT.findall(text)), num_highlights, "highlighted sections")


def multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> str:
    """At least so many sections begin with a given word (in this case of letters) and a number of their own."""
    heading = rf"^[^\w\n]*{re.escape(section_spliter.strip())}[ \t]*(\d{{1,3}}|[IVXLC]{{1,6}})\b"
    return _at_least(len(set(re.findall(heading, text, re.MULTILINE))), num_sections, "sections")


def title(text: str) -> str:
    """There is a title between double angular brackets."""
    return "" if any(map(str.strip, _TITLE.findall(text))) else "no title between << and >>"


def json_format(text: str) -> str:
    """The whole text is a JSON object or list that is not empty; it may stand in a fenced block."""
    fenced = _FENCE.fullmatch(text.strip())
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({type(error).__name__})"
    if not isinstance(value, dict | list):
        return f"JSON, but a {type(value).__name__}"
    return "" if value else "empty"


def _parts(text: str, divider: str) -> list[str]:
    """What stands between dividers; one before or after everything divides nothing."""
    parts = [part.strip() for part in text.split(divider)]
    if not parts[-1]:
        parts.pop()
    return parts[1:] if parts and not parts[0] else parts


def _exactly(parts: list[str], number: int, what: str) -> str:
    if len(parts) != number:
        return f"{len(parts)} {what}, need {number}"
    return "" if parts and all(parts) else f"no or empty {what}"


def _at_least(count: int, number: int, what: str) -> str:
    return "" if count >= max(number, 1) else f"{count} {what}, need at least {number}"
