"""`posttrain model export`: a checkpoint of any stage becomes a model folder that plain transformers and vLLM load."""

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from rich.markup import escape

from posttrain.errors import UserError
from posttrain.models.load import from_folder, save_model, weight_files
from posttrain.run_folder.seals import find_damage
from posttrain.terminal import say

SHARDS = "pytorch_model_fsdp_0"  # of FSDP's SHARDED_STATE_DICT, named by accelerate


def export_checkpoint(checkpoint: Path, *, out: Path) -> None:
    """Write `out`: the weights of a step, whole and in the training's dtype, tokenizer and chat template.

    Adapters are merged into the model that they were trained on. Shards without gathered weights beside them are put
    together: ZeRO's from their float32 copies, and FSDP's. Shards are pickles: export none of a stranger.

    Raises:
        UserError: `out` is there already, the checkpoint is not as it was written, or its weights cannot be found.
    """
    from transformers import AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    if out.exists():
        raise UserError(f"'{out}' is there already; give another --out")
    if not checkpoint.is_dir():
        raise UserError(f"no checkpoint at '{checkpoint}'; give the folder checkpoint-<step> of a run")
    damage = find_damage(checkpoint, checksums=True)
    if damage is not None:
        raise UserError(f"'{checkpoint}' is not a checkpoint as it was written: {damage}; give another one")
    model, how = _read(checkpoint)
    tokenizer_folder = str(checkpoint) if (checkpoint / "tokenizer_config.json").is_file() else _start(checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, from_folder(AutoTokenizer, tokenizer_folder, "tokenizer"), out)
    say(f"  {escape(str(out))}: {escape(checkpoint.name)}, {how}")


def _read(checkpoint: Path) -> tuple[Any, str]:
    """The model with the checkpoint's weights, and where they were."""
    if (checkpoint / "adapter_config.json").is_file():
        return _merged(checkpoint), "its adapters merged"
    if any(checkpoint.glob("model*.safetensors")):
        return _model(str(checkpoint)), "its whole weights"
    config = str(checkpoint) if (checkpoint / "config.json").is_file() else _start(checkpoint)
    if (checkpoint / "latest").is_file():
        return _of_zero(config, checkpoint), "put together from ZeRO's shards"
    if (checkpoint / SHARDS).is_dir():
        return _of_fsdp(config, checkpoint / SHARDS), "put together from FSDP's shards"
    raise UserError(f"no weights known in '{checkpoint}'; need safetensors, ZeRO's states or {SHARDS}")


def _merged(checkpoint: Path) -> Any:
    from peft import PeftConfig, PeftModel

    if not (checkpoint / "adapter_model.safetensors").is_file():
        raise UserError(
            f"'{checkpoint}' has adapters in shards alone; need a run that gathers them, as zero3.yaml does"
        )
    base = PeftConfig.from_pretrained(str(checkpoint)).base_model_name_or_path
    return PeftModel.from_pretrained(_model(base), str(checkpoint)).merge_and_unload()


def _model(path: str) -> Any:
    from transformers import AutoModelForCausalLM

    return from_folder(AutoModelForCausalLM, path, "model", dtype="auto", **weight_files(allow_pickle=False))


def _empty(config_path: str) -> Any:
    """A model of this configuration in its dtype, whose weights are to come."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = from_folder(AutoConfig, config_path, "configuration")
    return AutoModelForCausalLM.from_config(config, dtype=config.dtype)


def _of_zero(config_path: str, checkpoint: Path) -> Any:
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    model = _empty(config_path)
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # it tells of every file
        weights = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint))
    model.load_state_dict(weights)
    return model


def _of_fsdp(config_path: str, shards: Path) -> Any:
    from torch.distributed import checkpoint as dcp

    model = _empty(config_path)
    weights = {"model": model.state_dict()}
    dcp.load(weights, storage_reader=dcp.FileSystemReader(shards), no_dist=True)  # type: ignore[attr-defined]
    return model  # its own tensors were filled


def _start(checkpoint: Path) -> str:
    """The model that the run started with, for what the checkpoint does not say.

    Raises:
        UserError: the checkpoint is no longer in its run's folder.
    """
    recipe = checkpoint.resolve().parents[1] / "recipe.yaml"
    if not recipe.is_file():
        raise UserError(f"'{checkpoint}' has no config.json, and there is no {recipe}; leave it in its run's folder")
    return str(yaml.safe_load(recipe.read_text(encoding="utf-8"))["model"]["path"])
