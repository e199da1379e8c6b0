"""What a judge is asked. The graded text is data: it can neither close its fence nor reach a chat template."""

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_PROMPTS = Path(__file__).parents[1] / "prompts"


class Form(NamedTuple):
    """A question to a judge.

    Attributes:
        prompt_file: the package's own prompt.
        texts: the placeholders of any prompt, each there once.
        verdicts: the words that it may answer.
    """

    prompt_file: Path
    texts: tuple[str, ...]
    verdicts: tuple[str, ...]


RIGHT_OR_WRONG = Form(_PROMPTS / "science_judge.txt", ("question", "gold", "answer"), ("right", "wrong"))
FIRST_OR_SECOND = Form(_PROMPTS / "preference_judge.txt", ("question", "first", "second"), ("first", "second"))

_KEPT_CONTROLS = "\n\t"
_BRACKETS = str.maketrans(dict.fromkeys("<＜﹤", "&lt;"))
_CONTROL_TOKEN = re.compile(r"\[(?=[|/A-Z])")  # [|endofturn|], [INST], [/INST]; those with < are gone by then


@lru_cache(maxsize=8)
def read_prompt(prompt_file: str | None, form: Form) -> str:
    """The prompt with its placeholders, such as `{question}`; the package's own for None.

    Raises:
        ValueError: there is no such file, a placeholder is missing or there twice, or nothing follows the last one. The
            last words must be ours: what a model reads last it is most inclined to follow.
    """
    path = Path(prompt_file) if prompt_file else form.prompt_file
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"prompt_file={str(path)!r} cannot be read ({error}); need a text file in UTF-8") from error
    found = _placeholder(form.texts).findall(text)
    if sorted(found) != sorted(form.texts):
        needed = ", ".join(f"{{{name}}}" for name in form.texts)
        raise ValueError(
            f"prompt_file={str(path)!r} has the placeholders {found}, need {needed}, each once; they are filled with "
            "the fenced texts"
        )
    if not text.rpartition(f"{{{found[-1]}}}")[2].strip():
        verdicts = " or ".join(f'"{verdict}"' for verdict in form.verdicts)
        raise ValueError(
            f"prompt_file={str(path)!r} ends with {{{found[-1]}}}, need words of yours behind it: that all of it is "
            f'data, and the form of the reply, {{"reason": "...", "verdict": {verdicts}}}'
        )
    return text


def fill(prompt: str, texts: Mapping[str, str]) -> str:
    """The prompt with each text in the place of its placeholder, between tags of that name."""
    return _placeholder(tuple(texts)).sub(lambda match: _fenced(match[1], texts[match[1]]), prompt)


@lru_cache(maxsize=8)
def _placeholder(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\{{({'|'.join(names)})\}}")


def _fenced(tag: str, text: str) -> str:
    return f"<{tag}>\n{_defused(text)}\n</{tag}>"


def _defused(text: str) -> str:
    """The text without `<`, control tokens of chat templates, and characters that only a machine can see."""
    visible = "".join(
        character for character in text if character in _KEPT_CONTROLS or unicodedata.category(character)[0] != "C"
    )
    return _CONTROL_TOKEN.sub("[ ", visible.translate(_BRACKETS))
