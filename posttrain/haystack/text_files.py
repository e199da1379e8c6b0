"""A user's text as sentences."""

import glob
import re
from pathlib import Path

from posttrain.errors import UserError

ENDINGS = (".txt", ".md")
MAX_CHARACTERS = 8_000_000  # of all files together, some two million tokens; what stands behind them is left out
LONGEST = 300  # characters of a sentence: what is longer is cut between words

_ENDS = re.compile(r"(?<=[.!?…。！？])\s+|\s*\n\s*")


def text_files(path: str) -> list[Path]:
    """A file, the text files in a folder at any depth, or those of a glob, sorted by name; hidden ones are left out.

    Raises:
        UserError: there is none.
    """
    place = Path(path)
    if place.is_file():
        return [place]
    if place.is_dir():
        found = [file for file in place.rglob("*") if file.suffix in ENDINGS]
    else:
        found = [Path(file) for file in glob.glob(path, recursive=True)]  # noqa: PTH207 (Path takes no absolute one)
    files = sorted(file for file in found if file.is_file() and not file.name.startswith("."))
    if not files:
        raise UserError(
            f"text: '{path}' is no file and holds none; need a file, a folder of {', '.join(ENDINGS)}, or a glob"
        )
    return files


def read_sentences(path: str) -> list[str]:
    """The sentences of `text_files`, each of which ends with its mark or with its line.

    Raises:
        UserError: there is no such file, or none with words in it, or one that is not UTF-8.
    """
    sentences: list[str] = []
    num_characters = 0
    for file in text_files(path):
        try:
            with file.open(encoding="utf-8") as lines:
                text = lines.read(MAX_CHARACTERS - num_characters)
        except UnicodeDecodeError as error:
            raise UserError(f"text file '{file}' is not UTF-8 ({error}); write it again") from error
        num_characters += len(text)
        sentences += [part for sentence in _ENDS.split(text) for part in _parts(sentence)]
    if not sentences:
        raise UserError(f"text: '{path}' has no words; need text to hide needles in")
    return sentences


def _parts(sentence: str) -> list[str]:
    """The sentence, in pieces where it is too long."""
    parts: list[str] = []
    for word in sentence.split():
        for piece in (word[at : at + LONGEST] for at in range(0, len(word), LONGEST)):
            if parts and len(parts[-1]) + len(piece) < LONGEST:
                parts[-1] += f" {piece}"
            else:
                parts.append(piece)
    return parts
