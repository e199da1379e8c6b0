"""Modes, templates and parsing: the only place that knows how thinking is written down."""

from posttrain.chat.budget import ThinkingBudget
from posttrain.chat.contract import Abilities, check_template
from posttrain.chat.modes import MODES, SAMPLING_DEFAULTS, Mode, SamplingDefaults
from posttrain.chat.origin import Origin, origin_of
from posttrain.chat.parse import (
    CLOSE,
    OPEN,
    Parsed,
    count_thinking_tokens,
    count_tokens_before_answer,
    leaves_thinking_open,
    parse_completion,
)
from posttrain.chat.splitter import Part, ThinkingSplitter
from posttrain.chat.template import (
    Message,
    encode_prompt,
    read_template,
    render_prompt,
    require_joinable,
    require_template,
    template_sha256,
)
from posttrain.chat.thinking import separate_thinking
from posttrain.chat.training import Rendered, render_for_training
from posttrain.chat.turns import ContractError

__all__ = [
    "CLOSE",
    "MODES",
    "OPEN",
    "SAMPLING_DEFAULTS",
    "Abilities",
    "ContractError",
    "Message",
    "Mode",
    "Origin",
    "Parsed",
    "Part",
    "Rendered",
    "SamplingDefaults",
    "ThinkingBudget",
    "ThinkingSplitter",
    "check_template",
    "count_thinking_tokens",
    "count_tokens_before_answer",
    "encode_prompt",
    "leaves_thinking_open",
    "origin_of",
    "parse_completion",
    "read_template",
    "render_for_training",
    "render_prompt",
    "require_joinable",
    "require_template",
    "separate_thinking",
    "template_sha256",
]
