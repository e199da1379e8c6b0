"""`posttrain model probe`: what every layer of a saved model sees, in transformers or in vLLM."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from posttrain.errors import UserError
from posttrain.models.load import load_model, load_tokenizer, read_config
from posttrain.models.probe import SLIDING, Sight, kinds_of, probe_model
from posttrain.recipe import EngineSection, ModelSection
from posttrain.terminal import console, say

WINDOWS = 4  # the text is so many windows long
SAMPLES = 2  # texts
LEAST_DIFFERENCE = 1e-3  # nats per token, without which nothing can be said


def probe(path: str, *, engine: str, attention: str | None) -> None:
    """Print what was seen.

    Raises:
        UserError: the model does not see what its configuration says, or an engine other than what transformers sees.
    """
    model = ModelSection(path=path, attn_implementation=attention)
    if engine == "transformers":
        failures = _in_transformers(model)
    else:
        if SLIDING not in kinds_of(read_config(model).get_text_config()):
            raise UserError(f"'{path}' has no sliding layers: there is nothing that vLLM could ignore")
        comparison = compare_in_vllm(model)
        say(str(comparison))
        failures = comparison.failures
    if failures:
        raise UserError(f"'{path}' is not what its configuration says: {'; '.join(failures)}")
    say("[green]as configured[/green]")


def _in_transformers(section: ModelSection) -> list[str]:
    model = load_model(section, load_tokenizer(section))
    sight = probe_model(model)
    say(f"attn_implementation {model.config._attn_implementation}")
    if sight.layers:
        console.print(sight_table(sight), soft_wrap=False)
    return sight.failures


def sight_table(sight: Sight) -> Table:
    """A row per layer."""
    table = Table()
    for name in ("layer", "kind", "should see", "sees", "looks ahead", "RoPE", "QK-norm"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for index, layer in enumerate(sight.layers):
        table.add_row(
            str(index),
            layer.kind.split("_")[0],
            "everything" if layer.window is None else f"{layer.window:,}",
            "everything" if layer.reach == layer.furthest else f"{layer.reach:,}",
            *(_yes(what) for what in (layer.looks_ahead, layer.uses_positions, layer.normalizes_queries)),
        )
    return table


def _yes(what: bool | None) -> str:
    return "" if what is None else ("yes" if what else "no")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean distances between log-probabilities, in nats per token, behind the first window.

    Attributes:
        windowed: From the engine to transformers with the windows.
        full: From the engine to transformers with windows that cover the text.
        between: Between those two.
    """

    windowed: float
    full: float
    between: float

    @property
    def failures(self) -> list[str]:
        """What is wrong, if anything."""
        if self.between < LEAST_DIFFERENCE:
            return [f"its windows change the log-probabilities by {self.between:.1e} nats only: vLLM cannot be told"]
        if self.windowed > self.between / 2:
            nearer = "as if there were no windows" if self.full < self.between / 2 else "as neither"
            return [f"vLLM's log-probabilities are {nearer}: {self}"]
        return []

    def __str__(self) -> str:
        """All three."""
        return (
            f"vLLM is {self.windowed:.2g} nats per token from transformers with the windows and {self.full:.2g} from "
            f"transformers without; those are {self.between:.2g} apart"
        )


def compare_in_vllm(section: ModelSection, **llm_options: Any) -> Comparison:
    """Compare vLLM's prompt log-probabilities with transformers', with and without the windows.

    vLLM tells nothing of its layers. But a text that is several windows long has other log-probabilities where a window
    is ignored, so the engine must be near the model with windows, measured by how far the two are apart.

    Args:
        section: The model; float32, or rounding hides what is looked for.
        llm_options: For vLLM beside the usual ones.

    Raises:
        UserError: vLLM is not there, or refuses the model.
    """
    from posttrain.inference.vllm_engine import open_vllm_engine

    config, tokenizer = read_config(section).get_text_config(), load_tokenizer(section)
    window = config.sliding_window
    length = min(WINDOWS * window, config.max_position_embeddings - 1)
    texts = torch.randint(len(tokenizer), (SAMPLES, length), generator=torch.Generator().manual_seed(0))
    windowed = _log_probs(section, tokenizer, texts, window)
    full = _log_probs(section, tokenizer, texts, length)
    engine = EngineSection(max_model_len=length + 1, max_num_seqs=SAMPLES)
    with closing(open_vllm_engine(engine, section, tokenizer, **llm_options)) as vllm:
        engines = torch.tensor(vllm.prompt_log_probs(texts.tolist()))

    def distance(one: Tensor, other: Tensor) -> float:
        return float((one - other)[:, window:].abs().mean())

    return Comparison(distance(engines, windowed), distance(engines, full), distance(windowed, full))


def _log_probs(section: ModelSection, tokenizer: Any, texts: Tensor, window: int) -> Tensor:
    """Of every token but the first, under transformers with windows of this size."""
    model = load_model(section, tokenizer)
    model.config.get_text_config().sliding_window = window
    for layer in model.get_decoder().layers:
        if getattr(layer.self_attn, "sliding_window", None) is not None:
            layer.self_attn.sliding_window = window
    with torch.no_grad():
        logits = model.eval()(texts.to(model.device), use_cache=False).logits[:, :-1].float().cpu()
    log_probs: Tensor = logits.log_softmax(-1).gather(2, texts[:, 1:, None])[..., 0]
    return log_probs
