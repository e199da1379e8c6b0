"""No secret in a recipe: it is written into run folders, reports and terminals, and shared with them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from posttrain.errors import UserError

# A key whose text is a secret, whatever it looks like: `api_key`, `hub_token`, not `eos_token` or `api_key_env`.
_NAME = re.compile(
    r"(^|_)(api_?key|access_key|secret(_key)?|password|passwd|credentials?|(hub|auth|access)_token)$", re.I
)
# What the common issuers put in front of theirs, what every private key file begins with, a password in an address.
_VALUE = re.compile(
    r"\bhf_[A-Za-z0-9]{30,}|\bsk-(?=[\w-]*\d)[\w-]{20,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}"
    r"|\bglpat-[\w-]{20,}|\bxox[abprs]-[\w-]{10,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[\w-]{35}|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|\bBearer \S{16,}|\w://[^/\s:@]+:[^/\s@]+@"
)


def refuse_secrets(content: Any) -> None:
    """Check plain values as they come from YAML, at every depth.

    Raises:
        UserError: names the first key that holds what looks like a secret, without a letter of it.
    """
    for path, value in _texts(content, ""):
        name = path.rpartition(".")[2]
        if value and (_NAME.search(name) or _VALUE.search(f"{path} {value}")):
            raise UserError(
                f"{_VALUE.sub('...', path)}: got what looks like a secret, and a recipe is written into run folders; "
                "put it into an environment variable, and the variable's name into the recipe where there is a key for "
                "it, as api_key_env of a judge (tokens of the Hugging Face hub are read from HF_TOKEN)"
            )


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text with its path, such as `rewards.0.args.url`."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}.{index}" if path else str(index))
