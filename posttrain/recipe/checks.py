"""What a type cannot express: limits of single values, and what must hold between them."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from posttrain.errors import UserError
from posttrain.recipe.context import ContextRecipe
from posttrain.recipe.hub_path import parse_hub_path
from posttrain.recipe.limits import Limit
from posttrain.recipe.schema import (
    EvalRecipe,
    FilterRecipe,
    PairsRecipe,
    PrefRecipe,
    ReportRecipe,
    SamplingRecipe,
    SFTRecipe,
)
from posttrain.recipe.sections import DataSection, Decoding, EngineSection, Source
from posttrain.recipe.stages import AnyRecipe


def check_values(recipe: AnyRecipe) -> None:
    """Check every limit in the schema, then the stage's own rules.

    Raises:
        UserError: naming the first key whose value does not do, the value, and what is needed.
    """
    _check_limits(recipe)
    data = getattr(recipe, "data", None)
    if isinstance(data, DataSection):
        _check_sources(data.sources, "data")
    if isinstance(recipe, SamplingRecipe):
        _check_thinking_budget(recipe.decoding, "decoding")
    if isinstance(recipe, SamplingRecipe | EvalRecipe):
        _check_engine(recipe.engine)
    own_rules = RULES.get(type(recipe))
    if own_rules is not None:
        own_rules(recipe)


def _check_limits(section: Any, path: str = "") -> None:
    for item in fields(section):
        value, limit = getattr(section, item.name), item.metadata.get("limit")
        if isinstance(limit, Limit) and value is not None and not limit.holds(value):
            raise UserError(f"{path}{item.name}: got {value!r}, need {limit.need}")
        for index, entry in enumerate(value if isinstance(value, list) else ()):
            if is_dataclass(entry):
                _check_limits(entry, f"{path}{item.name}.{index}.")
        if is_dataclass(value):
            _check_limits(value, f"{path}{item.name}.")


def _check_sources(sources: Iterable[Source], section: str) -> None:
    for index, source in enumerate(sources):
        try:
            is_on_hub = parse_hub_path(source.path) is not None
        except UserError as error:
            raise UserError(f"{section}.sources.{index}.path: {error}") from None
        for key, value in (("config", source.config), ("split", source.split)):
            if value is not None and not is_on_hub:
                raise UserError(
                    f"{section}.sources.{index}.{key}: got {value!r}, need it for hub: paths only; leave it out"
                )


def _check_engine(engine: EngineSection) -> None:
    if engine.name == "transformers" and engine.tensor_parallel > 1:
        raise UserError(f"engine.tensor_parallel: got {engine.tensor_parallel}, which engine.name: vllm alone can do")


def _check_thinking_budget(decoding: Decoding, path: str) -> None:
    budget, limit = decoding.thinking_budget, decoding.max_new_tokens
    if budget is not None and budget >= limit:
        raise UserError(
            f"{path}.thinking_budget: got {budget!r}, which leaves nothing of max_new_tokens, {limit}, for the answer; "
            "need less, or null for no budget"
        )


def _check_sft(recipe: SFTRecipe) -> None:
    shares = recipe.mixer.args.get("shares")
    if isinstance(shares, Mapping):
        _check_shares(shares, "mixer.args.shares")
    if recipe.data.pack_tokens is not None:
        _check_one_pack(recipe.trainer, "trainer", "data.pack_tokens")
    if recipe.validation is not None:
        _check_sources(recipe.validation.sources, "validation")
    elif (strategy := recipe.trainer.get("eval_strategy", "no")) not in ("no", False):
        raise UserError(f"trainer.eval_strategy: got {strategy!r} and no `validation` section; need its sources")


def _check_one_pack(trainer: Mapping[str, Any], where: str, pack_tokens: str) -> None:
    for key in ("per_device_train_batch_size", "per_device_eval_batch_size"):
        if (size := trainer.get(key, 1)) != 1:
            raise UserError(
                f"{where}.{key}: got {size!r}, need 1 with {pack_tokens}: a batch is one pack; leave it out and "
                f"set the tokens of a step by {pack_tokens} and trainer.gradient_accumulation_steps"
            )


def _check_context(recipe: ContextRecipe) -> None:
    _check_distinct("stages", (stage.name for stage in recipe.stages))
    lengths = [stage.length for stage in recipe.stages]
    for index, stage in enumerate(recipe.stages):
        where = f"stages.{index}"
        if not re.fullmatch(r"\w[\w.-]*", stage.name):
            raise UserError(f"{where}.name: got {stage.name!r}, need the name of a folder, as 32k")
        if index and stage.length <= lengths[index - 1]:
            raise UserError(
                f"{where}.length: got {stage.length}, need more than the {lengths[index - 1]} of the stage before"
            )
        if stage.slice_tokens > stage.limit_tokens:
            raise UserError(
                f"{where}.slice_tokens: got {stage.slice_tokens:g}, need at most limit_tokens, {stage.limit_tokens:g}"
            )
    if recipe.pack_tokens is not None and recipe.pack_tokens < lengths[-1]:
        raise UserError(f"pack_tokens: got {recipe.pack_tokens}, need at least the longest stage, {lengths[-1]}")
    for key in ("lengths", "depths"):
        for number, share in enumerate(getattr(recipe.gate, key)):
            if not (share > 0 or key == "depths") or not 0 <= share <= 1:
                what = "above 0 and at most 1, of the stage's length" if key == "lengths" else "from 0 to 1"
                raise UserError(f"gate.{key}.{number}: got {share!r}, need a share {what}")
    _check_one_pack(recipe.trainer, "trainer", "pack_tokens")
    for index, stage in enumerate(recipe.stages):
        _check_one_pack(stage.trainer, f"stages.{index}.trainer", "pack_tokens")
    _check_rows_sections(recipe)


def _check_rows_sections(recipe: ContextRecipe) -> None:
    given = {key: section for key in ("long", "replay") if (section := getattr(recipe, key)) is not None}
    for key, section in given.items():
        _check_sources(section.sources, key)
    if recipe.validation is not None:
        _check_sources(recipe.validation.sources, "validation")
    shares = {f"{key}.share": section.share for key, section in given.items()}
    left = 1 - sum(shares.values())
    if left < -1e-9 or (left < 1e-9) != (recipe.documents is None):
        got = " and ".join(f"{key} {share:g}" for key, share in shares.items()) or "no long and no replay"
        need = "1 in sum without `documents`" if recipe.documents is None else "less than 1 in sum, for `documents`"
        raise UserError(f"long.share, replay.share: got {got}, need {need}")


def _check_shares(shares: Mapping[Any, Any], path: str) -> None:
    """Every number above 0, at every depth of the tree."""
    for name, share in shares.items():
        if isinstance(share, Mapping):
            _check_shares(share, f"{path}.{name}")
        elif not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share < float("inf"):
            raise UserError(f"{path}.{name}: got {share!r}, need a number above 0; leave out what has none")


def _check_filter(recipe: FilterRecipe) -> None:
    above, below = recipe.keep.pass_rate_above, recipe.keep.pass_rate_below
    if above is not None and below is not None and above >= below:
        raise UserError(f"keep.pass_rate_above: got {above!r}, need a number below keep.pass_rate_below, {below!r}")


def _check_pairs(recipe: PairsRecipe) -> None:
    if recipe.decoding.samples < 2:
        raise UserError(f"decoding.samples: got {recipe.decoding.samples}, need at least 2 responses to make a pair of")
    if recipe.pairs.reuse_stage1 > 0 and recipe.pairs.stage1 is None:
        raise UserError(
            f"pairs.reuse_stage1: got {recipe.pairs.reuse_stage1!r} and no pairs.stage1; "
            "need the pairs.parquet of stage 1 there, or reuse_stage1: 0"
        )


def _check_pref(recipe: PrefRecipe) -> None:
    key = "samples" if recipe.objective == "group_simper" else "pairs"
    if not getattr(recipe, key):
        raise UserError(f"{key}: got nothing, need at least one {key}.parquet for objective {recipe.objective}")


def _check_eval(recipe: EvalRecipe) -> None:
    if recipe.data is None and not recipe.benchmarks:
        raise UserError("data, benchmarks: got neither, need questions: `data` with `rewards`, `benchmarks`, or both")
    if recipe.data is None and recipe.rewards:
        raise UserError(
            f"rewards: got {len(recipe.rewards)} and no data, which they grade; put them under `rewards` of a benchmark"
        )
    if recipe.data is not None and not recipe.rewards:
        raise UserError("rewards: got [], need at least one entry that grades `data`")
    for index, decoding in enumerate(recipe.decodings):
        if decoding.mode is None:
            raise UserError(f"decodings.{index}.mode: got nothing, need one of reasoning, non_reasoning")
        if not decoding.name:
            raise UserError(f"decodings.{index}.name: got nothing, need a name for the table of results")
        _check_thinking_budget(decoding, f"decodings.{index}")
    _check_distinct("decodings", (decoding.name for decoding in recipe.decodings))
    _check_thinking_budgets(recipe)


def _check_thinking_budgets(recipe: EvalRecipe) -> None:
    budgets = recipe.thinking_budgets
    limit = min((each.max_new_tokens for each in recipe.decodings if each.mode == "reasoning"), default=0)
    for index, budget in enumerate(budgets):
        if budget in budgets[:index]:
            raise UserError(f"thinking_budgets.{index}: got {budget!r} a second time; leave it out")
        if budget is not None and not 0 <= budget < limit:
            raise UserError(
                f"thinking_budgets.{index}: got {budget!r}, need a number from 0 and below max_new_tokens of every "
                f"reasoning decoding, {limit}"
            )


def _check_report(recipe: ReportRecipe) -> None:
    _check_distinct("stages", (stage.name for stage in recipe.stages))


def _check_distinct(key: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise UserError(f"{key}.{index}.name: got {name!r} a second time, need another name")
        seen.add(name)


RULES: dict[type[AnyRecipe], Callable[[Any], None]] = {
    ContextRecipe: _check_context,
    SFTRecipe: _check_sft,
    FilterRecipe: _check_filter,
    PairsRecipe: _check_pairs,
    PrefRecipe: _check_pref,
    EvalRecipe: _check_eval,
    ReportRecipe: _check_report,
}
