"""Tokenizers that cut text in different ways."""

from collections.abc import Callable
from typing import Any

import pytest

TEXT = [
    "The code of the blue box is 4913946. Which variables have the value 4913946?",
    "파란 상자의 암호는 4913946 이다. 값이 4913946 인 변수는 모두 무엇입니까?",
    "El código de la caja azul es 4913946. ¿Qué variables valen 4913946?",
] * 20


@pytest.fixture(scope="session", params=["the demo's", "across spaces", "sentence pieces"])
def any_tokenizer(request: pytest.FixtureRequest, tokenizer: Any) -> Any:
    """The demo's; one that joins across words and full stops; one that writes spaces as a sign before a word."""
    makers: dict[str, Callable[[], Any]] = {"across spaces": _across_spaces, "sentence pieces": _sentence_pieces}
    return makers[request.param]() if request.param in makers else tokenizer


def _across_spaces() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        [". The", ". A", ". In", ". On", ". By", ". In the", ". The co", "다. ", "다. 이"] * 9 + TEXT,
        trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False),
    )
    return _fast(core)


def _sentence_pieces() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE(unk_token="[UNK]", byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.decoder = decoders.Metaspace(prepend_scheme="always")
    tokens = ["[UNK]", *(f"<0x{byte:02X}>" for byte in range(256))]
    core.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=700, special_tokens=tokens, show_progress=False))
    return _fast(core)


def _fast(core: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    from posttrain.chat import read_template

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="[PAD]")
    tokenizer.chat_template = read_template("chatml")
    return tokenizer
