"""The configuration of a model whose context is to grow: its length and its rotary embedding (RoPE)."""

import logging
from collections.abc import Mapping
from typing import Any

from posttrain.errors import UserError

LOGGER = "transformers.modeling_rope_utils"  # it warns of settings that it does not understand, and goes on


def extended(config: Any, *, length: int, rope_theta: float | None, rope_scaling: Mapping[str, Any] | None) -> Any:
    """A copy of `config` for sequences of `length` tokens.

    Which layers have RoPE is the model's own affair: global layers without it keep none.

    Args:
        config: of the model as it is.
        length: tokens.
        rope_theta: the base of the frequencies; None: as it is.
        rope_scaling: a `rope_type` and its settings; None: as they are. The length that a scaling starts from
            (`original_max_position_embeddings`) is that of `config`, unless it is given.

    Raises:
        UserError: settings that transformers does not take, or a model without RoPE or with one for each kind of layer.
    """
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    old = getattr(config, "rope_parameters", None)
    if not old:
        raise UserError(f"the model ({type(config).__name__}) has no RoPE, whose settings a context stage would change")
    if config.nested_rope_parameter_keys(old):
        raise UserError("the model has RoPE settings for each kind of layer; a context stage knows one for all layers")
    rope = dict(old if rope_scaling is None else rope_scaling)
    rope["rope_theta"] = rope_theta or rope.get("rope_theta") or old["rope_theta"]
    rope.setdefault("rope_type", "default")
    if rope["rope_type"] in ("yarn", "llama3", "longrope"):
        rope.setdefault("original_max_position_embeddings", config.max_position_embeddings)
    warnings = _Warnings()
    logging.getLogger(LOGGER).addHandler(warnings)
    try:
        changed = {"rope_parameters": rope, "max_position_embeddings": length}
        new = type(config).from_dict({**config.to_dict(), **changed})
        if rope["rope_type"] != "default":
            ROPE_INIT_FUNCTIONS[rope["rope_type"]](new)
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"rope_scaling: got {rope}, which transformers refuses: {error}") from error
    finally:
        logging.getLogger(LOGGER).removeHandler(warnings)
    if warnings.said:
        raise UserError(f"rope_scaling: got {rope}: {warnings.said[0]}")
    return new


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
