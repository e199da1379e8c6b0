"""`posttrain model convert`: a full-attention checkpoint becomes a hybrid folder."""

from pathlib import Path

from rich.markup import escape

from posttrain.errors import UserError
from posttrain.models.convert import hybrid_config, to_hybrid
from posttrain.models.load import from_folder, read_config, save_model, weight_files
from posttrain.models.probe import require_window
from posttrain.recipe import ModelSection
from posttrain.terminal import say


def convert_model(source: str, *, ratio: str, window: int, out: Path) -> None:
    """Write `out`, a hybrid of `ratio` (such as 3:1, sliding to full) with the weights of `source`, in their own dtype.

    Raises:
        UserError: `out` is there already, a ratio that is none, or a model that cannot be converted.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    local_layers = parse_ratio(ratio)
    if out.exists():
        raise UserError(f"'{out}' is there already; give another --out")
    section = ModelSection(path=source)
    hybrid_config(read_config(section), local_layers=local_layers, window=window)  # before the weights are read
    model = from_folder(AutoModelForCausalLM, source, "model", dtype="auto", **weight_files(allow_pickle=False))
    hybrid = to_hybrid(model, local_layers=local_layers, window=window)
    require_window(hybrid)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_model(hybrid, from_folder(AutoTokenizer, source, "tokenizer"), out)
    kinds = hybrid.config.layer_types
    say(
        f"  {escape(str(out))}: {kinds.count('sliding_attention')} sliding layers of window {window:,} "
        f"and {kinds.count('full_attention')} full, {hybrid.config.model_type}"
    )


def parse_ratio(ratio: str) -> int:
    """The sliding layers before each full one.

    Raises:
        UserError: it is not written N:1.
    """
    local_layers, _, one = ratio.partition(":")
    if not local_layers.isdecimal() or int(local_layers) < 1 or one != "1":
        raise UserError(f"--ratio: got {ratio!r}, need N:1, sliding layers to full ones, such as 3:1")
    return int(local_layers)
