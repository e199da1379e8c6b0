"""Modes, templates and parsing: the only place that knows how thinking is written down."""

from posttrain.chat.budget import ThinkingBudget
from posttrain.chat.modes import MODES, SAMPLING_DEFAULTS, Mode, SamplingDefaults
from posttrain.chat.parse import CLOSE, OPEN, Parsed, count_thinking_tokens, parse_completion
from posttrain.chat.splitter import Part, ThinkingSplitter
from posttrain.chat.template import (
    Message,
    Rendered,
    encode_prompt,
    read_template,
    render_for_training,
    render_prompt,
    require_joinable,
    require_template,
    template_sha256,
)
from posttrain.chat.thinking import separate_thinking

__all__ = [
    "CLOSE",
    "MODES",
    "OPEN",
    "SAMPLING_DEFAULTS",
    "Message",
    "Mode",
    "Parsed",
    "Part",
    "Rendered",
    "SamplingDefaults",
    "ThinkingBudget",
    "ThinkingSplitter",
    "count_thinking_tokens",
    "encode_prompt",
    "parse_completion",
    "read_template",
    "render_for_training",
    "render_prompt",
    "require_joinable",
    "require_template",
    "separate_thinking",
    "template_sha256",
]
