"""Find, install and render chat templates; nothing outside `posttrain.chat` knows the thinking tags."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.chat.modes import Mode
from posttrain.errors import UserError

Message = Mapping[str, Any]
_FOLDER = Path(__file__).parent / "templates"


class Rendered(NamedTuple):
    """One conversation as token ids, with the tokens that the model itself must emit marked."""

    input_ids: list[int]
    trained: list[bool]


def read_template(name_or_path: str) -> str:
    """The text of a built-in template (`exaone4`) or of a `.jinja` file.

    Raises:
        UserError: neither a built-in name nor a file.
    """
    builtin = _FOLDER / f"{name_or_path}.jinja"
    path = builtin if builtin.is_file() else Path(name_or_path)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in _FOLDER.glob("*.jinja")))
        raise UserError(f"chat template '{name_or_path}' is neither a built-in template ({names}) nor a file")
    return path.read_text(encoding="utf-8")


def template_sha256(template: str) -> str:
    """The hash under which a run remembers its template."""
    return hashlib.sha256(template.encode()).hexdigest()


def require_template(tokenizer: Any, model_path: str) -> str:
    """The tokenizer's template.

    Raises:
        UserError: the model folder has none.
    """
    if not tokenizer.chat_template:
        raise UserError(
            f"the model folder '{model_path}' has no chat template; "
            "set model.chat_template to a built-in name (exaone4) or a .jinja file"
        )
    return str(tokenizer.chat_template)


def require_joinable(tokenizer: Any) -> None:
    """Check that texts encoded one by one are their joined text, as `render_for_training` needs.

    Raises:
        UserError: the tokenizer puts a space before every text.
    """
    joined = tokenizer.decode(encode_prompt(tokenizer, "a") + encode_prompt(tokenizer, "b"))
    if joined != "ab":
        raise UserError(
            f"the tokenizer reads 'a' and 'b' one after the other as {joined!r}; need one that adds no space before a "
            "text (add_prefix_space or legacy in its tokenizer_config.json)"
        )


def render_prompt(
    tokenizer: Any, messages: Sequence[Message], mode: Mode, tools: Sequence[Mapping[str, Any]] | None = None
) -> str:
    """The text that the model continues: the conversation plus the generation prompt of `mode`.

    Raises:
        UserError: the template refuses the conversation.
    """
    with _refusals():
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tools=list(tools) if tools else None,
            add_generation_prompt=True,
            enable_thinking=mode == "reasoning",
            tokenize=False,
        )
    return str(text)


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a rendered prompt; the template already wrote every special token."""
    return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def render_for_training(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None
) -> Rendered:
    """Token ids of a whole conversation and the mask of the tokens that bear loss.

    What the model says is encoded apart from what the template says, because at inference the prompt is: encoded in one
    go, a tokenizer may join the newline at the end of the prompt to what follows, or read two newlines as two tokens
    before a word and as one at the end of a text.

    Raises:
        UserError: the template refuses the conversation, or marks nothing as the model's own words.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    with _refusals():
        (text,), (spans,) = render_jinja_template(
            conversations=[[dict(message) for message in messages]],
            tools=list(tools) if tools else None,
            chat_template=tokenizer.get_chat_template(),
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]  # in turn the template's and the model's
    ids = tokenizer(pieces, add_special_tokens=False)["input_ids"]
    trained = [number % 2 == 1 for number, piece in enumerate(ids) for _ in piece]
    if not any(trained):
        raise UserError(
            "the chat template marks no token as the model's own; it needs {% generation %} around what the "
            "assistant says (the built-in template exaone4 has it)"
        )
    return Rendered([token for piece in ids for token in piece], trained)


@contextmanager
def _refusals() -> Iterator[None]:
    from jinja2.exceptions import TemplateError

    try:
        yield
    except (TemplateError, ValueError) as error:  # ValueError: what transformers itself says of messages and tools
        raise UserError(f"the chat template refuses this conversation: {error}") from error
