"""What the judge is asked. The graded text is data: it can neither close its fence nor reach a chat template."""

import re
import unicodedata
from functools import lru_cache
from pathlib import Path

DEFAULT_PROMPT = Path(__file__).parents[1] / "prompts" / "science_judge.txt"

_PLACEHOLDER = re.compile(r"\{(question|gold|answer)\}")
_KEPT_CONTROLS = "\n\t"
_BRACKETS = str.maketrans(dict.fromkeys("<＜﹤", "&lt;"))
_CONTROL_TOKEN = re.compile(r"\[(?=[|/A-Z])")  # [|endofturn|], [INST], [/INST]; those with < are gone by then


@lru_cache(maxsize=8)
def read_prompt(prompt_file: str | None) -> str:
    """The prompt with its placeholders `{question}`, `{gold}` and `{answer}`; the package's own for None.

    Raises:
        ValueError: there is no such file, a placeholder is missing or there twice, or nothing follows the answer. The
            last words must be ours: what a model reads last it is most inclined to follow.
    """
    path = Path(prompt_file) if prompt_file else DEFAULT_PROMPT
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"prompt_file={str(path)!r} cannot be read ({error}); need a text file in UTF-8") from error
    found = sorted(_PLACEHOLDER.findall(text))
    if found != ["answer", "gold", "question"]:
        raise ValueError(
            f"prompt_file={str(path)!r} has the placeholders {found}, need {{question}}, {{gold}} and {{answer}}, each "
            "once; they are filled with the fenced texts"
        )
    if not text.partition("{answer}")[2].strip():
        raise ValueError(
            f"prompt_file={str(path)!r} ends with the answer, need words of yours behind it: that all of it is data, "
            'and the form of the reply, {"reason": "...", "verdict": "right" or "wrong"}'
        )
    return text


def fill(prompt: str, *, question: str, gold: str, answer: str) -> str:
    """The prompt with each text in the place of its placeholder, between tags of that name."""
    texts = {"question": question, "gold": gold, "answer": answer}
    return _PLACEHOLDER.sub(lambda match: _fenced(match[1], texts[match[1]]), prompt)


def _fenced(tag: str, text: str) -> str:
    return f"<{tag}>\n{_defused(text)}\n</{tag}>"


def _defused(text: str) -> str:
    """The text without `<`, control tokens of chat templates, and characters that only a machine can see."""
    visible = "".join(
        character for character in text if character in _KEPT_CONTROLS or unicodedata.category(character)[0] != "C"
    )
    return _CONTROL_TOKEN.sub("[ ", visible.translate(_BRACKETS))
