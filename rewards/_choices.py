r"""The options of a multiple-choice question, and which one of them a short final answer names."""

import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from rewards._boxed import last_box
from rewards._latex import MAX_CHARACTERS, clean

NO_OPTION = "names no option"
SEVERAL_OPTIONS = "names several options"

_CIRCLED = {chr(0x2460 + index): letter for index, letter in enumerate(ascii_uppercase[:20])}  # ① is the first option
_LABEL = re.compile(
    r"(?:(?:option|choice|opción|letra) ?)?"
    r"(?:[(\[]([A-Za-z])[)\]]|([A-Za-z])(?:[).:\]]|$))(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_ANOTHER_LABEL = re.compile(
    r"[(\[][A-Za-z][)\]]|(?<![A-Za-z\d.])[A-Z](?:[):]|\.(?![A-Z]))|^\W*[A-Z](?=[\s).:,;/&]|$)"
    r"|(?:[,;/&]|\b(?:or|and|o|u|y|e)\b|와|과|나|및|또는|혹은) ?[A-Z](?![A-Za-z\d])"
)
_CLOSING = re.compile(
    r"(?:^|[.!?;:,]\s*)"
    r"(?:(?:so|thus|hence|therefore|따라서|그러므로|por (?:lo )?tanto|así que|entonces),?\s+)?"
    r"(?:(?:the\s+)?(?:(?:correct|right|best|final)\s+){0,2}(?:answer|option|choice)(?:\s+is\s*:?|\s*:)"
    r"|정?답(?:은\s*:?|\s*:)"
    r"|(?:la\s+)?(?:respuesta|opción)(?:\s+(?:correcta|final))?(?:\s+es\s*:?|\s*:))\s*(?:la\s+)?",
    re.IGNORECASE,
)
_KOREAN_ENDING = re.compile(r"번?\s*(?:입니다|이에요|예요|이다)?[.!]*$")


def read_options(given: Any) -> dict[str, str]:
    """The options by letter; empty where the row has none.

    Args:
        given: `row["options"]`: a list of texts, the first of which is A, or a mapping of letters to texts (None, where
            a table has the column and this row has not the letter, is left out). A text may begin with its own label.

    Raises:
        ValueError: anything else.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        texts = {str(letter).strip(): text for letter, text in given.items() if text is not None}
    elif isinstance(given, Sequence) and not isinstance(given, str) and len(given) <= len(ascii_uppercase):
        texts = dict(zip(ascii_uppercase, given, strict=False))
    else:
        raise ValueError(f"row['options'] is {type(given).__name__}, need at most 26 texts or a mapping letter: text")
    for letter, text in texts.items():
        if len(letter) != 1 or letter not in ascii_uppercase or not isinstance(text, str) or not text.strip():
            raise ValueError(f"row['options'] has {letter!r}: {text!r}"[:200] + ", need letters A-Z with a text each")
    if len(texts) < 2:
        raise ValueError(f"row['options'] has {len(texts)} of them, need at least two")
    return {letter: _without_label(text, letter) for letter, text in texts.items()}


def read_gold(given: Any, options: Mapping[str, str]) -> str:
    """The letter of the right option.

    Args:
        given: `row["answer"]`: a letter, or an option's text; perhaps in a box of its own.
        options: as from `read_options`.

    Raises:
        ValueError: it names no option, or one by its letter and another by its text.
    """
    if not isinstance(given, str):
        raise ValueError(f"row['answer'] is {type(given).__name__}, need a letter or an option's text")
    text = last_box(rf"\boxed{{{given}}}") or ""
    letter, _ = choose(text, options)
    if letter is None:
        need = "a letter A-Z" if not options else f"one of {', '.join(options)} or the text of one"
        raise ValueError(f"row['answer'] is {given[:100]!r}, need {need}")
    namesakes = [other for other, option in options.items() if _same_text(option, text) and other != letter]
    if namesakes:
        raise ValueError(f"row['answer'] is {given[:100]!r}, which names {letter} and is the text of {namesakes[0]}")
    return letter


def final_choice(answer: str) -> tuple[str, bool] | None:
    r"""What the answer ends with, and whether it is a box.

    It is the content of the last `\boxed{...}`; where there is none, what follows "The answer is", "정답은" or "La
    respuesta es" (and a few forms of these) to the end of the last line. None: neither.
    """
    box = last_box(answer)
    if box is not None:
        return box, True
    last_line = re.sub("[*`]", "", answer.rstrip()[-2 * MAX_CHARACTERS :].rpartition("\n")[2]).strip()
    *_, end = [0, *(match.end() for match in _CLOSING.finditer(last_line))]
    return (_KOREAN_ENDING.sub("", last_line[end:]), False) if end else None


def choose(text: str, options: Mapping[str, str], *, may_describe: bool = True) -> tuple[str | None, str]:
    """The letter that a final answer names, or None and why not.

    A letter is the option's label before it is a text. With options given, what stands after the label must be that
    option's text.

    Args:
        text: `B`, `(B)`, `B) 12 m`, `②`, or the text of an option.
        options: as from `read_options`; without them any letter is one.
        may_describe: without options, other words than labels may follow the label.
    """
    if len(text) > MAX_CHARACTERS:
        return None, f"longer than {MAX_CHARACTERS} characters"
    whole = _tidy(text)
    label = _LABEL.fullmatch(whole)
    letter, rest = ((label[1] or label[2]).upper(), label["rest"]) if label else ("", "")
    named = [other for other, option in options.items() if _same_text(whole, option)]
    if len(named) == 1 and (rest or not letter):
        return named[0], ""
    if letter and options:
        if letter not in options:
            return None, f"{letter} is none of {', '.join(options)}"
        is_described = not rest or _same_text(rest, options[letter])
        return (letter, "") if is_described else (None, f"{letter} with other words than its own")
    if letter and (not rest or (may_describe and not _lists(rest))):
        return letter, ""
    is_list = len(named) > 1 or _mentions_several(whole, options) or _lists(rest)
    return None, SEVERAL_OPTIONS if is_list else NO_OPTION


def _tidy(text: str) -> str:
    """One tidy line without text commands, emphasis and braces; a circled number becomes the letter of its place."""
    text = text.replace("*", "").strip()
    text = f"{_CIRCLED[text[0]]}.{text[1:]}" if text[:1] in _CIRCLED else text
    return re.sub(r"\\text(?=\{)|[{}]", "", clean(text)[0]).strip()


def _same_text(one: str, other: str) -> bool:
    return one == other or (_bare(one) == _bare(other) != "")


def _bare(text: str) -> str:
    return _tidy(text).casefold().replace(" ", "")


def _without_label(text: str, letter: str) -> str:
    label = re.fullmatch(rf"\s*(?:\({letter}\)|{letter}[).:])\s*(\S.*)", text, re.DOTALL)
    return label[1] if label else text


def _lists(rest: str) -> bool:
    return _ANOTHER_LABEL.search(rest) is not None


def _mentions_several(whole: str, options: Mapping[str, str]) -> bool:
    letters = {letter for letter in re.findall(r"(?<!\w)[A-Z](?!\w)", whole) if not options or letter in options}
    folded = whole.casefold()
    texts = {_tidy(option).casefold() for option in options.values()} - {""}
    found = {text for text in texts if re.search(rf"(?<!\w){re.escape(text)}(?!\w)", folded)}
    apart = {text for text in found if not any(text != other and text in other for other in found)}
    return len(letters) > 1 or len(apart) > 1
