"""What the long-context benchmarks start from: an untrained model, and a tokenizer that knows the haystacks' words."""

from itertools import chain
from typing import Any

from posttrain.chat import read_template
from posttrain.haystack import TASKS, make_documents, make_rows
from posttrain.models.tokenizer import train_tokenizer


def haystack_tokenizer(languages: list[str]) -> Any:
    """A small tokenizer trained on documents of all tasks, those for training and those that are asked about."""
    template = read_template("exaone4")
    letters = train_tokenizer(["a"], vocab_size=280, chat_template=template)
    some = {"tasks": tuple(TASKS), "languages": languages}
    documents = make_documents(letters, **some, lengths=(6000, 6000), count=70 * len(languages))
    questions = make_rows(letters, **some, lengths=[6000], depths=[0.5], per_cell=8)
    texts = [message["content"] for row in chain(documents, questions) for message in row["messages"]]
    return train_tokenizer(texts, vocab_size=600 + 450 * len(languages), chat_template=template)
