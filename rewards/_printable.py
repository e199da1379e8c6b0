"""Text of a model as text that can be written to a log: without halves of surrogate pairs, and not without end."""

LONGEST = 300  # characters


def printable(text: str, longest: int | None = LONGEST) -> str:
    """The beginning of `text`, at most `longest` characters (None: all), with `?` for what UTF-8 cannot encode."""
    return text[:longest].encode("utf-8", "replace").decode()
