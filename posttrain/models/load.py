"""Load a model folder, refusing early what would fail late."""

import copy
import shutil
from pathlib import Path
from typing import Any

from posttrain.chat import SAMPLING_DEFAULTS, read_template, require_template
from posttrain.errors import UserError
from posttrain.recipe import ModelSection


def load_tokenizer(section: ModelSection) -> Any:
    """The tokenizer with its chat template, padding on the left.

    Raises:
        UserError: there is no tokenizer at `section.path`, no chat template, or the model's configuration names fewer
            rows of the embedding than there are tokens.
    """
    from transformers import AutoTokenizer

    _require_folder(section.path)
    tokenizer = from_folder(AutoTokenizer, section.path, "tokenizer", padding_side="left")
    if section.chat_template is not None:
        tokenizer.chat_template = read_template(section.chat_template)
    require_template(tokenizer, section.path)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    rows = getattr(read_config(section).get_text_config(), "vocab_size", None)
    if rows is not None:
        _require_rows(rows, tokenizer, section.path)
    return tokenizer


def load_model(section: ModelSection, tokenizer: Any, config: Any = None) -> Any:
    """The causal language model of a folder, in the recipe's dtype.

    Args:
        section: of the recipe.
        tokenizer: of the model.
        config: in the place of the folder's own configuration, for the same weights.

    Raises:
        UserError: there is no model at `section.path`, its weights are pickled and that is not allowed, or its
            embedding is smaller than the tokenizer.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # weights load in one go; the bar would break up our lines
    _require_folder(section.path)
    model = from_folder(
        AutoModelForCausalLM,
        section.path,
        "model",
        config=config,
        dtype=getattr(torch, section.dtype),
        attn_implementation=attention_of(section),
        **weight_files(allow_pickle=section.allow_pickle),
    )
    rows = model.get_input_embeddings().num_embeddings  # ZeRO-3 loads shards: the weight itself may be empty here
    _require_rows(rows, tokenizer, section.path)
    return model


def attention_of(section: ModelSection) -> str | None:
    """The recipe's choice; else ours on a CPU, for models whose layers are plain or windowed; None: transformers'."""
    import torch

    from posttrain.models.attention import SEGMENTS  # the import makes ours known to transformers

    if section.attn_implementation is not None:
        return section.attn_implementation
    config = read_config(section)
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    is_plain = layers <= {"full_attention", "sliding_attention"} and not hasattr(config, "attn_logit_softcapping")
    return SEGMENTS if is_plain and not torch.cuda.is_available() else None


def model_files(section: ModelSection) -> list[Path]:
    """The model folder as an input of a run, whose content is hashed; nothing for a hub id."""
    folder = Path(section.path)
    return [folder] if folder.is_dir() else []


def read_config(section: ModelSection) -> Any:
    """The configuration of a model, without its weights."""
    from transformers import AutoConfig

    _require_folder(section.path)
    return from_folder(AutoConfig, section.path, "configuration")


def from_folder(kind: Any, path: str, what: str, **options: Any) -> Any:
    """`kind.from_pretrained` for folders that may come from a stranger: code of their own is never run.

    Raises:
        UserError: there is no such thing in the folder, or it cannot be loaded without that code.
    """
    try:
        return kind.from_pretrained(path, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        if "trust_remote_code" in str(error):
            problem = f"the {what} of '{path}' needs code of its own (`auto_map`), which is never run"
            raise UserError(f"{problem}; take a model whose class transformers has") from error
        hint = "; model.allow_pickle: true reads others" if options.get("use_safetensors") else ""
        if "connect" in str(error) and not Path(path).exists():
            download = f"`hf download {path} --local-dir FOLDER`"
            hint = f"; without a network, give a model folder: {download} makes one elsewhere"
        problem = _first_line(error).rstrip(".")
        raise UserError(f"no {what} could be loaded from '{path}': {problem}{hint}") from error


def weight_files(*, allow_pickle: bool) -> dict[str, bool]:
    """The option for `from_pretrained` of a model: safetensors alone, unless others are allowed."""
    return {} if allow_pickle else {"use_safetensors": True}


def save_model(model: Any, tokenizer: Any, folder: Path, *, state_dict: Any = None) -> None:
    """Write a folder that plain transformers and plain vLLM load: weights, tokenizer, template, generation settings.

    The settings end a completion at the end of a turn, which a base model's own do not know. A model without a
    temperature of its own gets the sampling of the reasoning mode: long thinking degenerates under greedy decoding,
    which transformers and vLLM would else fall back to or replace by temperature 1.

    Written beside and renamed: the folder is whole or absent; one that a killed run left there is replaced.
    `state_dict` gives gathered weights where the model itself holds shards.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside, state_dict=state_dict)
    if state_dict:  # the model's own type was written
        config = copy.deepcopy(model.config)
        config.dtype = next(iter(state_dict.values())).dtype
        config.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    _write_generation_config(model.generation_config, tokenizer, aside)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def _write_generation_config(config: Any, tokenizer: Any, folder: Path) -> None:
    config = copy.deepcopy(config)  # the model may go on sampling with its own
    named = config.eos_token_id
    ends = [] if named is None else list(named) if isinstance(named, list | tuple) else [named]
    ends = list(dict.fromkeys([*ends, tokenizer.eos_token_id]))
    config.eos_token_id = ends if len(ends) > 1 else ends[0]
    config.pad_token_id = tokenizer.pad_token_id
    if config.temperature is None:
        defaults = SAMPLING_DEFAULTS["reasoning"]
        config.do_sample, config.temperature, config.top_p = True, defaults.temperature, defaults.top_p
    config.save_pretrained(folder)


def _require_folder(path: str) -> None:
    """A path must exist; `owner/name` may be a hub id, unless there is a folder `owner` here."""
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1 or Path(path).parent.is_dir()
    if looks_local and not (Path(path) / "config.json").is_file():
        raise UserError(
            f"no model at '{path}' (no config.json there); give a model folder or a hub id as model.path, "
            "or run the stage that writes it"
        )


def _require_rows(rows: int, tokenizer: Any, path: str) -> None:
    if len(tokenizer) > rows:
        raise UserError(
            f"the tokenizer of '{path}' has {len(tokenizer)} tokens but the model's embedding has {rows} rows; "
            "use the tokenizer the model was trained with, or resize the embedding"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
