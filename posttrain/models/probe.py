"""Does each layer see what its configuration says? Asked of the model itself, layer by layer, by changing one token.

A window can be lost without an error: an attention kernel that ignores it, a mask that packing or parallelism drops, a
configuration key that an export left out. The loss looks plausible, and the model is another one.
"""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from posttrain.errors import UserError

SLIDING = "sliding_attention"
CHANGED = 4  # the token that is changed; those before it must not notice
BEYOND = 8  # tokens behind the last one whose window holds the changed one


@dataclass(frozen=True, slots=True)
class LayerSight:
    """What one layer does.

    Attributes:
        kind: As the configuration names it.
        window: What it should see, in tokens, itself included; None: everything before it.
        reach: The farthest token that noticed the change, the changed one being 1.
        furthest: The largest reach that the length of the probe could show.
        looks_ahead: Whether a token before the changed one noticed.
        uses_positions: Whether other positions (RoPE) change its output; None: it is given none or sees itself alone.
        normalizes_queries: Whether larger queries and keys change nothing; None: it has no such projections.
    """

    kind: str
    window: int | None
    reach: int
    furthest: int
    looks_ahead: bool
    uses_positions: bool | None
    normalizes_queries: bool | None

    @property
    def expected(self) -> int:
        """The reach it should have."""
        return self.furthest if self.window is None else min(self.window, self.furthest)


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of a whole model; `failures` is empty if all is as configured."""

    layers: list[LayerSight]
    failures: list[str]


def probe_model(model: Any) -> Sight:
    """Probe a causal language model of transformers whose layers are plain or windowed.

    Every layer is called on its own inputs with one token's state changed, so a window is seen exactly, however many
    layers lie below it. Packed documents and left padding are probed through the whole model.
    """
    config = model.config.get_text_config()
    failures = _unusable_window(config)
    if failures:
        return Sight([], failures)
    with _evaluating(model), torch.no_grad():
        layers = _layers(model, config)
        failures = [*_wrong_layers(layers, config), *_leaks(model)]
    return Sight(layers, failures)


def require_window(model: Any) -> None:
    """Refuse a hybrid model whose windows are not what it says; other models are not looked at.

    Raises:
        UserError: with every failure.
    """
    if SLIDING in kinds_of(model.config.get_text_config()) and (failures := probe_model(model).failures):
        raise UserError(
            f"attention is not what the model's configuration says: {'; '.join(failures)}; "
            f"attn_implementation is {model.config._attn_implementation!r}, try another, or mend the configuration"
        )


def require_whole_sequences(parallelism: Any) -> None:
    """Refuse to split sequences over processes, whatever the model.

    Args:
        parallelism: accelerate's `ParallelismConfig`, or None.

    Raises:
        UserError: context or sequence parallelism is on.
    """
    reasons = {
        "cp_size": "context parallelism has a causal mask and no other, so windows and packed documents are lost",
        "sp_size": "Ulysses shifts the labels before our loss does, takes the mean of each micro-batch instead of the "
        "step's, and with sdpa loses windows and packed documents",
    }
    for name, reason in reasons.items():
        if parallelism is not None and (size := getattr(parallelism, name)) > 1:
            raise UserError(f"{name}: got {size}, need 1: {reason}; shard the weights (FSDP, ZeRO)")


def never_slides(config: Any) -> bool:
    """Whether the windows are as long as the context, so that nothing is beyond them."""
    return bool((getattr(config, "sliding_window", None) or 0) >= config.max_position_embeddings)


def kinds_of(config: Any) -> list[str]:
    """The kind of every layer; a configuration that names none has full attention."""
    return list(getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers)


def _unusable_window(config: Any) -> list[str]:
    """Windows that no layer can have: nothing else is worth asking then."""
    if SLIDING not in kinds_of(config):
        return []
    window, context = getattr(config, "sliding_window", None), config.max_position_embeddings
    if window is None:
        return ["the configuration names sliding layers and no sliding_window"]
    if window >= context:
        return [f"sliding_window is {window}, the context {context}: no layer ever slides"]
    return []


def _layers(model: Any, config: Any) -> list[LayerSight]:
    kinds, decoder = kinds_of(config), model.get_decoder()
    window = config.sliding_window if SLIDING in kinds else 0
    length = min(CHANGED + window + BEYOND, config.max_position_embeddings)
    seen: list[LayerSight] = []

    def look(layer: Any, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        kind = kinds[len(seen)]
        seen.append(_look(layer, args[0], kwargs, kind, config.sliding_window if kind == SLIDING else None))

    with ExitStack() as hooks:
        for layer in decoder.layers:
            hooks.callback(layer.register_forward_pre_hook(look, with_kwargs=True).remove)
        decoder(_tokens(model, length)[None], use_cache=False)
    return seen


def _look(layer: Any, states: Tensor, kwargs: dict[str, Any], kind: str, window: int | None) -> LayerSight:
    def output(states: Tensor, **changed: Any) -> Tensor:
        """Of the attention alone: beside the residual stream of a trained model it can be too small to see."""
        outputs: list[Tensor] = []
        with ExitStack() as hooks:
            hook = layer.self_attn.register_forward_hook(lambda _module, _args, result: outputs.append(result[0]))
            hooks.callback(hook.remove)
            layer.forward(states, **{**kwargs, **changed})
        return outputs[0]

    usual, changed = output(states), states.clone()
    changed[0, CHANGED] = changed[0, CHANGED].roll(1)
    noticed = (output(changed) != usual).any(-1)[0].nonzero().flatten()
    positions = kwargs.get("position_embeddings")
    flipped = tuple(part.flip(1) for part in positions) if positions and window != 1 else None
    return LayerSight(
        kind=kind,
        window=window,
        reach=int(noticed.max()) - CHANGED + 1,
        furthest=states.shape[1] - CHANGED,
        looks_ahead=int(noticed.min()) < CHANGED,
        uses_positions=_differs(output(states, position_embeddings=flipped), usual) if flipped else None,
        normalizes_queries=_normalizes_queries(layer, lambda: output(states), usual),
    )


def _normalizes_queries(layer: Any, output: Callable[[], Tensor], usual: Tensor) -> bool | None:
    attention = layer.self_attn
    if not hasattr(attention, "q_proj") or not hasattr(attention, "k_proj"):
        return None
    with ExitStack() as hooks:
        for projection in (attention.q_proj, attention.k_proj):
            hooks.callback(projection.register_forward_hook(lambda _module, _args, result: result * 8).remove)
        return not _differs(output(), usual)


def _differs(one: Tensor, other: Tensor) -> bool:
    """By more than rounding."""
    return bool((one - other).norm() > 1e-2 * other.norm())


def _wrong_layers(layers: list[LayerSight], config: Any) -> list[str]:
    """One failure for all layers that fail alike."""
    is_exaone = config.model_type == "exaone4"
    is_hybrid = any(layer.window is not None for layer in layers)
    wrong: dict[str, list[int]] = {}
    for index, layer in enumerate(layers):
        if layer.looks_ahead:
            wrong.setdefault("see tokens that come after", []).append(index)
        if layer.reach != layer.expected:
            reach = f"{layer.reach} tokens" if layer.reach < layer.furthest else "everything"
            need = "everything before" if layer.window is None else f"{layer.window}"
            wrong.setdefault(f"see {reach}, need {need}", []).append(index)
        needs_rope = layer.window is not None or not is_hybrid
        if is_exaone and layer.uses_positions is (not needs_rope):
            what = "have RoPE, need none" if layer.uses_positions else "have no RoPE, need it"
            wrong.setdefault(what, []).append(index)
        if is_exaone and not layer.normalizes_queries:
            wrong.setdefault("do not normalize queries and keys", []).append(index)
    return [f"layers {', '.join(map(str, indices))} {what}" for what, indices in wrong.items()]


def _leaks(model: Any) -> list[str]:
    """Packed documents, then left padding: what must not be seen is changed, and nothing may follow from it."""
    ids = _tokens(model, 12)
    other = torch.cat([ids[:5].roll(1), ids[5:]])
    packed = torch.cat([torch.arange(5), torch.arange(7)]).to(ids.device)
    padded = torch.cat([torch.zeros(5, dtype=torch.long), torch.ones(7, dtype=torch.long)]).to(ids.device)
    positions = torch.cat([torch.zeros(5, dtype=torch.long), torch.arange(7)]).to(ids.device)
    states: Callable[..., Tensor] = lambda row, **inputs: _states(model, row, **inputs)[5:]  # noqa: E731
    failures = []
    if not torch.equal(states(ids, position_ids=packed[None]), states(other, position_ids=packed[None])):
        failures.append("packed documents see each other")
    left = {"attention_mask": padded[None], "position_ids": positions[None]}
    if not torch.equal(states(ids, **left), states(other, **left)):
        failures.append("tokens see the padding on their left")
    return failures


def _states(model: Any, row: Tensor, **inputs: Any) -> Tensor:
    output = model.get_decoder()(row[None], use_cache=False, **inputs)
    states: Tensor = output.last_hidden_state[0]
    return states


def _tokens(model: Any, length: int) -> Tensor:
    """Random ones, the same every time."""
    vocabulary = model.get_input_embeddings().num_embeddings
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocabulary, (length,), generator=generator).to(model.device)


@contextmanager
def _evaluating(model: Any) -> Any:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
