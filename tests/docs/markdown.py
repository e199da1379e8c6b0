"""The project's Markdown as its readers use it: commands, files to write down, links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(PROJECT / "docs").glob("*.md"),
        *(PROJECT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
        *(PROJECT / name / "README.md" for name in ("recipes", "rewards", "data_mixers", "posttrain/chat/templates")),
    ]
)


class Block(NamedTuple):
    """A fenced block: its language, its text, the last `code` in the sentence before it (the file that it is)."""

    language: str
    text: str
    file: str | None


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    for before, language, text in re.findall(
        r"([^\n]*)\n*```(\w*)[^\n]*\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    ):
        file = re.search(r"`([\w.-]+\.\w+)`[^`]*:$", before)
        yield Block(language, text, file and file[1])


def commands(page: Path) -> list[str]:
    """Every command of a page: of its ```bash blocks, of indented ones, and behind the `$ ` of a terminal."""
    shell = "".join(block.text for block in blocks(page) if block.language == "bash")
    shown = "".join(block.text for block in blocks(page) if block.language != "bash")
    shell += "".join(f"{line}\n" for line in re.findall(r"^\$ (.+)$", shown, flags=re.MULTILINE))
    unfenced = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    indented = "".join(f"{line}\n" for line in re.findall(r"^ {4}(.+)$", unfenced, flags=re.MULTILINE))
    return commands_of(shell + indented)


def commands_of(shell: str) -> list[str]:
    """One by one, those of a list and of a pipe too; without comments, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", shell)
    uncommented = re.sub(r"(?m)(^|\s)#.*$", "", joined)
    return [command.strip() for command in re.split(r"&&|;|\||\n", uncommented) if command.strip()]


def words(command: str) -> list[str]:
    """A command as a shell would split it, without variables before it, where its output goes, and what is optional."""
    split = shlex.split(re.sub(r"\s(>\s*\S+|\[[^\]]*\])", "", command))
    while split and re.fullmatch(r"[A-Z_]+=.*", split[0]):
        split.pop(0)
    return split
