"""What token ids depend on: under another template or vocabulary the same ids say something else."""

import hashlib
import json
from typing import Any, NamedTuple

from posttrain.chat.template import template_sha256


class Origin(NamedTuple):
    """The template and the vocabulary that ids were made with."""

    template_sha256: str
    vocabulary_sha256: str


def origin_of(tokenizer: Any) -> Origin:
    """The origin of ids that `tokenizer` makes."""
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]))
    return Origin(template_sha256(str(tokenizer.chat_template)), hashlib.sha256(vocabulary.encode()).hexdigest())
