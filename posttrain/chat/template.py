"""Find, install and render chat templates; nothing outside `posttrain.chat` knows the thinking tags."""

import hashlib
from collections.abc import Mapping, Sequence
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


def render_prompt(
    tokenizer: Any, messages: Sequence[Message], mode: Mode, tools: Sequence[Mapping[str, Any]] | None = None
) -> str:
    """The text that the model continues: the conversation plus the generation prompt of `mode`.

    Raises:
        UserError: the template refuses the conversation.
    """
    thinks = mode == "reasoning"
    return str(_apply(tokenizer, messages, tools, add_generation_prompt=True, enable_thinking=thinks, tokenize=False))


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a rendered prompt; the template already wrote every special token."""
    return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def render_for_training(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None
) -> Rendered:
    """Token ids of a whole conversation and the mask of the tokens that bear loss.

    Raises:
        UserError: the template refuses the conversation, or marks nothing as the model's own words.
    """
    encoded = _apply(tokenizer, messages, tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    trained = [bool(mark) for mark in encoded["assistant_masks"]]
    if not any(trained):
        raise UserError(
            "the chat template marks no token as the model's own; it needs {% generation %} around what the "
            "assistant says (the built-in template exaone4 has it)"
        )
    return Rendered(list(encoded["input_ids"]), trained)


def _apply(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, **options: Any
) -> Any:
    from jinja2.exceptions import TemplateError

    conversation = [dict(message) for message in messages]
    try:
        return tokenizer.apply_chat_template(conversation, tools=list(tools) if tools else None, **options)
    except TemplateError as error:
        raise UserError(f"the chat template refuses this conversation: {error}") from error
