"""Train a small byte-level BPE tokenizer with the chat format's tokens."""

from collections.abc import Iterable
from typing import Any

TURN_END = "[|endofturn|]"
SPECIAL_TOKENS = ("[PAD]", "[|system|]", "[|user|]", "[|assistant|]", "[|tool|]", TURN_END)
# Not special: they must survive decoding, since the answer is parsed from the text.
TAG_TOKENS = ("<think>", "</think>", "<tool_call>", "</tool_call>")


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, chat_template: str) -> Any:
    """A `PreTrainedTokenizerFast` with isolated digits and `chat_template`; the turn's end is also end-of-sequence."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(TAG_TOKENS),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    core.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAG_TOKENS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", eos_token=TURN_END, padding_side="left"
    )
    tokenizer.chat_template = chat_template
    return tokenizer
