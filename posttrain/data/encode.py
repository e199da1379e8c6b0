"""One row to token ids, with a loss on exactly what the model must emit."""

from typing import Any, NamedTuple

from posttrain.chat import MODES, ContractError, render_for_training
from posttrain.data.rows import Row, last_response
from posttrain.data.tool_calls import check_tools
from posttrain.data.unusable import RowError
from posttrain.errors import UserError

IGNORED = -100  # the label of a token that bears no loss
ROLES = ("system", "user", "assistant", "tool")


class Encoded(NamedTuple):
    """One row, ready to train on."""

    input_ids: list[int]
    labels: list[int]
    mode_id: int  # index into MODES
    domain: str | None = None

    @property
    def trained_tokens(self) -> int:
        """Tokens that bear loss."""
        return sum(label != IGNORED for label in self.labels)


def encode_row(row: Row, tokenizer: Any) -> Encoded:
    """Encode a row as `read_all` gives it.

    Raises:
        RowError: there is nothing in it to train on, its response is not in its mode, a tool call is broken, or the
            template refuses or changes it.
    """
    messages, mode = row["messages"], row["mode"]
    _check_turns(messages)
    _check_mode(messages, mode)
    _check_ends(messages, tokenizer.eos_token)
    check_tools(messages, row.get("tools"))
    domain = row.get("domain")
    if isinstance(domain, list | dict):
        raise RowError("broken domain", f"domain is {domain!r:.80}; it must be a text")
    try:
        input_ids, trained = render_for_training(tokenizer, messages, mode, row.get("tools"))
    except ContractError as error:
        raise RowError("changed by the chat template", str(error)) from error
    except UserError as error:
        raise RowError("refused by the chat template", str(error)) from error
    labels = [token if is_trained else IGNORED for token, is_trained in zip(input_ids, trained, strict=True)]
    return Encoded(input_ids, labels, MODES.index(mode), None if domain in (None, "") else str(domain))


def _check_turns(messages: list[Row]) -> None:
    roles = [message["role"] for message in messages]
    unknown = [role for role in roles if role not in ROLES]
    if unknown:  # a template may pass over it in silence
        raise RowError("unknown role", f"unknown role '{unknown[0]}'; need one of {', '.join(ROLES)}")
    if "assistant" not in roles:
        raise RowError("no assistant turn", "no assistant turn; SFT needs what the model is to say")
    if roles[-1] != "assistant":
        raise RowError(
            "no assistant turn at the end", f"the last message is from '{roles[-1]}'; SFT needs an assistant's"
        )
    if not messages[-1].get("content", "").strip() and not messages[-1].get("tool_calls"):
        raise RowError("empty answer", "the last message says nothing; SFT would teach to answer nothing")


def _check_ends(messages: list[Row], eos_token: str | None) -> None:
    """The tokenizer reads the token's name in a text as the token itself: where it is trained, the model would stop."""
    for index, message in enumerate(messages):
        for key in ("content", "reasoning_content"):
            if message["role"] == "assistant" and eos_token and eos_token in (message.get(key) or ""):
                raise RowError(
                    "end-of-turn token in the text",
                    f"message {index} (assistant) has '{eos_token}' in its `{key}`: generation would stop there; the "
                    "template writes it at the end of the turn, so take it out",
                )


def _check_mode(messages: list[Row], mode: str) -> None:
    has_thinking = any(message.get("reasoning_content") for message in last_response(messages))
    if has_thinking == (mode == "reasoning"):
        return  # else its tokens would count, and be trained, as the other mode's
    raise RowError(
        "thinking in a non-reasoning row" if has_thinking else "no thinking in a reasoning row",
        f"mode is '{mode}', but the response to the last user message has {'' if has_thinking else 'no '}"
        "`reasoning_content`",
    )
