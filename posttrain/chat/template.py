"""Find chat templates and render prompts; nothing outside `posttrain.chat` knows the thinking tags."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from posttrain.chat.modes import Mode
from posttrain.errors import UserError

Message = Mapping[str, Any]
_FOLDER = Path(__file__).parent / "templates"


def read_template(name_or_path: str) -> str:
    """The text of a built-in template (`exaone4`, `qwen3`, `chatml`) or of a `.jinja` file.

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
            "set model.chat_template to a built-in name (exaone4, qwen3, chatml) or a .jinja file"
        )
    return str(tokenizer.chat_template)


def require_joinable(tokenizer: Any) -> None:
    """Check that texts encoded one by one are their joined text, as `posttrain.chat.training` needs.

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
    return _render(tokenizer, messages, mode, tools, add_generation_prompt=True)


def render_history(
    tokenizer: Any, messages: Sequence[Message], mode: Mode, tools: Sequence[Mapping[str, Any]] | None = None
) -> str:
    """The conversation alone: the prompt without its generation prompt.

    Raises:
        UserError: the template refuses the conversation.
    """
    return _render(tokenizer, messages, mode, tools, add_generation_prompt=False)


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a rendered prompt; the template already wrote every special token."""
    return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def _render(tokenizer: Any, messages: Sequence[Message], mode: Mode, tools: Any, *, add_generation_prompt: bool) -> str:
    with refusals():
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tools=list(tools) if tools else None,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=mode == "reasoning",
            tokenize=False,
        )
    return str(text)


@contextmanager
def refusals() -> Iterator[None]:
    """What a template says against a conversation is the user's error."""
    from jinja2.exceptions import TemplateError

    try:
        yield
    # ValueError: what transformers itself says of messages and tools; the others: what a template may compute.
    except (TemplateError, ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"the chat template refuses this conversation: {error}") from error
