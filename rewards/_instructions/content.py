"""Constraints on what the text says, and on how it begins and ends."""

import re

RESPONSES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]+\]")


def constrained_response(text: str) -> str:
    """Exactly one of three given responses occurs."""
    given = sum(response in text for response in RESPONSES)
    return "" if given == 1 else f"{given} of the given responses, need one"


def number_placeholders(text: str, *, num_placeholders: int) -> str:
    """At least so many placeholders stand in square brackets, such as [address]."""
    count = len(_PLACEHOLDER.findall(text))
    return "" if count >= max(num_placeholders, 1) else f"{count} placeholders, need at least {num_placeholders}"


def postscript(text: str, *, postscript_marker: str) -> str:
    """A line begins with a marker (`P.S.`, `P.P.S`), in upper or lower case, and says something."""
    letters = re.escape(postscript_marker.strip().removesuffix(".")).replace(r"\.", r"\.[ \t]?")
    found = re.search(rf"^[^\w\n]*{letters}(?!\w)[^\w\n]*\w", text, re.MULTILINE | re.IGNORECASE)
    return "" if found else f"no postscript that starts with {postscript_marker.strip()}"


def repeat_prompt(text: str, *, prompt_to_repeat: str) -> str:
    """The text begins with the prompt, word for word, and goes on."""
    words, prompt = text.casefold().split(), prompt_to_repeat.casefold().split()
    if words[: len(prompt)] != prompt:
        return "does not begin with the prompt"
    return "" if len(words) > len(prompt) else "nothing after the prompt"


def end_checker(text: str, *, end_phrase: str) -> str:
    """The text ends with a phrase, in upper or lower case; a closing quotation mark may follow."""
    ends = text.strip().strip('"”').casefold().endswith(end_phrase.strip().strip('"”').casefold())
    return "" if ends and text.strip() else f"does not end with {end_phrase.strip()!r}"


def quotation(text: str) -> str:
    """The whole text stands between double quotation marks."""
    inside = text.strip()
    is_quoted = len(inside) > 2 and inside[0] + inside[-1] in ('""', "“”") and inside.strip('"“”').strip()
    return "" if is_quoted else "not between double quotation marks"
