"""The code in an answer: its fenced blocks, as in Markdown."""

_PYTHON = ("python", "python3", "py")


def last_code_block(text: str) -> str | None:
    """The last complete block that is marked as Python, else the last that is not marked; None without one.

    Marked ones come first, because answers like to end with a block of what the program prints.
    """
    blocks: dict[bool, str] = {}  # by whether they are marked
    language: str | None = None
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if language is None:
            if bare.startswith("```"):
                language, lines = bare.strip("`").strip().lower(), []
        elif bare == "```":
            if language in ("", *_PYTHON):
                blocks[bool(language)] = "".join(lines)
            language = None
        else:
            lines.append(line)
    return blocks.get(True, blocks.get(False))
