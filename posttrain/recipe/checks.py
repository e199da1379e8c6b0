"""What a type cannot express: limits of single values, and what must hold between them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from posttrain.errors import UserError
from posttrain.recipe.hub_path import parse_hub_path
from posttrain.recipe.schema import (
    AnyRecipe,
    DataSection,
    Decoding,
    EngineSection,
    EvalRecipe,
    FilterRecipe,
    Limit,
    PairsRecipe,
    PrefRecipe,
    ReportRecipe,
    SamplingRecipe,
    SFTRecipe,
    Source,
)


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
        for key in ("per_device_train_batch_size", "per_device_eval_batch_size"):
            if (size := recipe.trainer.get(key, 1)) != 1:
                raise UserError(
                    f"trainer.{key}: got {size!r}, need 1 with data.pack_tokens: a batch is one pack; leave it out and "
                    "set the tokens of a step by data.pack_tokens and trainer.gradient_accumulation_steps"
                )
    if recipe.validation is not None:
        _check_sources(recipe.validation.sources, "validation")
    elif (strategy := recipe.trainer.get("eval_strategy", "no")) not in ("no", False):
        raise UserError(f"trainer.eval_strategy: got {strategy!r} and no `validation` section; need its sources")


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
    SFTRecipe: _check_sft,
    FilterRecipe: _check_filter,
    PairsRecipe: _check_pairs,
    PrefRecipe: _check_pref,
    EvalRecipe: _check_eval,
    ReportRecipe: _check_report,
}
