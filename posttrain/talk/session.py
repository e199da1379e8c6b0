"""A loaded model that replies to conversations in either mode."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.chat import (
    SAMPLING_DEFAULTS,
    Message,
    Mode,
    Part,
    ThinkingSplitter,
    encode_prompt,
    leaves_thinking_open,
    render_prompt,
)
from posttrain.environment import prepare_environment
from posttrain.errors import UserError
from posttrain.recipe import Decoding, EngineSection, ModelSection
from posttrain.talk.folder import folder_dtype, require_model

# What the errors of the floors below call by its name in a recipe.
OPTIONS = {
    "model.chat_template": "--chat-template",
    "engine.max_model_len": "--max-model-len",
    "engine: transformers": "--engine transformers",
}
MAX_NEW_TOKENS = 65536  # the longest thinking of the report; a context without end would ask for endless memory


class Reply(NamedTuple):
    """What the model said; its thinking is empty where it did not think."""

    thinking: str
    answer: str
    is_truncated: bool


class Session:
    """One model in one engine.

    Args:
        options: of the command line, as `posttrain.talk.options` reads them.
        engine: an open `posttrain.inference.Engine`.
        tokenizer: with the chat template.
    """

    def __init__(self, options: argparse.Namespace, engine: Any, tokenizer: Any) -> None:
        self._options = options
        self._engine = engine
        self._tokenizer = tokenizer

    def reply(
        self,
        messages: Sequence[Message],
        mode: Mode,
        thinking_budget: int | None,
        show: Callable[[Part], None],
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> Reply:
        """Let the model take the next turn; `show` gets the parts as they come, `is_stopped` can end it early.

        Raises:
            UserError: the conversation, or the budget, leaves no room for an answer; the template refuses it.
        """
        prompt = render_prompt(self._tokenizer, messages, mode)
        prompt_ids = encode_prompt(self._tokenizer, prompt)
        decoding = self._decoding(mode, thinking_budget, self._engine.max_model_len - len(prompt_ids))
        splitter, text = ThinkingSplitter(is_open=leaves_thinking_open(prompt)), _TextStream(self._tokenizer)
        said = {"thinking": "", "answer": ""}
        num_tokens = 0

        def take(parts: Iterable[Part]) -> None:
            for part in parts:
                said[part.kind] += part.text
                show(part)

        with closing(self._engine.stream(prompt_ids, decoding, seed=self._options.seed)) as tokens:
            for token in tokens:
                if token in self._engine.end_ids or is_stopped():
                    break
                num_tokens += 1
                take(splitter.feed(text.add(token)))
        take(splitter.end())
        is_truncated = num_tokens >= decoding.max_new_tokens
        return Reply(said["thinking"].strip(), said["answer"].strip(), is_truncated)

    def _decoding(self, mode: Mode, thinking_budget: int | None, room: int) -> Decoding:
        given, defaults = self._options, SAMPLING_DEFAULTS[mode]
        max_new_tokens = given.max_new_tokens or min(room, MAX_NEW_TOKENS)
        if max_new_tokens < 1 or max_new_tokens > room:
            raise UserError(
                f"the conversation leaves {max(room, 0)} tokens of the model's context for the reply; "
                "shorten it (in a chat /reset begins anew), or lower --max-new-tokens"
            )
        if mode == "reasoning" and thinking_budget is not None and thinking_budget >= max_new_tokens:
            raise UserError(
                f"a thinking budget of {thinking_budget} leaves nothing of {max_new_tokens} tokens for the answer; "
                "lower it (--thinking-budget, in a chat /budget) or raise --max-new-tokens"
            )
        return Decoding(
            mode=mode,
            temperature=defaults.temperature if given.temperature is None else given.temperature,
            top_p=defaults.top_p if given.top_p is None else given.top_p,
            top_k=given.top_k,
            max_new_tokens=max_new_tokens,
            thinking_budget=thinking_budget,
        )


@contextmanager
def open_session(options: argparse.Namespace) -> Iterator[Session]:
    """Load the model.

    Raises:
        UserError: there is none, it has no chat template, or the engine refuses it; in words of the command line.
    """
    require_model(Path(options.model))
    prepare_environment()
    dtype = options.dtype or folder_dtype(Path(options.model))
    model = ModelSection(path=options.model, dtype=dtype, chat_template=options.chat_template)
    section = EngineSection(name=options.engine, max_model_len=options.max_model_len, memory_gb=options.memory_gb)
    try:
        from posttrain.inference import open_engine
        from posttrain.models.load import load_tokenizer

        tokenizer = load_tokenizer(model)
        engine = open_engine(section, model, tokenizer)
    except UserError as error:
        message = str(error)
        for key, option in OPTIONS.items():
            message = message.replace(key, option)
        raise UserError(message) from error
    with closing(engine):
        yield Session(options, engine, tokenizer)


class _TextStream:
    """Token by token to text; a character of several tokens comes with its last."""

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers.decoders import DecodeStream

        self._stream = DecodeStream(skip_special_tokens=False)
        self._tokenizer = tokenizer.backend_tokenizer

    def add(self, token: int) -> str:
        return self._stream.step(self._tokenizer, token) or ""
