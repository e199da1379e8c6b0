"""What a recipe of each stage may say.

A field without a default has to be given. `trainer` and `lora` are free: the class that takes them checks them.
"""

from dataclasses import dataclass, field
from typing import Literal

from posttrain.recipe.limits import AT_LEAST_ONE, NOT_EMPTY, NOT_NEGATIVE, SEED
from posttrain.recipe.sections import (
    BenchmarkSpec,
    DataSection,
    Decoding,
    EngineName,
    EngineSection,
    FilterDecoding,
    Free,
    GradingSection,
    KeepSection,
    MixerSection,
    ModelSection,
    PairsSection,
    RefillSection,
    ReportStage,
    RewardSpec,
    SFTDataSection,
    ShapeSection,
    ValidationSection,
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every recipe says.

    Attributes:
        stage: which stage this is a recipe of.
        root: a free word for `${root}/...` in the other values.
        run: the run folder; a used one is refused.
        seed: of all that is drawn.
    """

    stage: str
    root: str = "."
    run: str
    seed: int = field(default=0, metadata=SEED)


@dataclass(frozen=True, kw_only=True)
class ModelRecipe(Recipe):
    """A new, untrained model in `run`/model.

    Attributes:
        preset: whose sizes are taken.
        shape: sizes that differ from them.
        tokenizer: a folder; null trains one on the demo's text.
        dtype: the type of the saved weights.
    """

    stage: Literal["model"] = "model"
    preset: Literal["tiny", "exaone-4.0-1.2b", "exaone-4.0-32b"] = "tiny"
    shape: ShapeSection = field(default_factory=ShapeSection)
    tokenizer: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


@dataclass(frozen=True, kw_only=True)
class SFTRecipe(Recipe):
    """Supervised fine-tuning of both modes together.

    Attributes:
        model: what training starts from.
        data: the rows, and what becomes of those that cannot be used.
        validation: rows that are evaluated and never trained.
        mixer: in which shares the sources are drawn.
        trainer: keys of TRL's `SFTConfig`.
        lora: keys of peft's `LoraConfig`; null trains all weights.
    """

    stage: Literal["sft"] = "sft"
    model: ModelSection
    data: SFTDataSection
    validation: ValidationSection | None = None
    mixer: MixerSection
    trainer: Free = field(default_factory=dict)
    lora: Free | None = None


@dataclass(frozen=True, kw_only=True)
class SamplingRecipe(Recipe):
    """What the stages say that sample from a model and grade the responses.

    Attributes:
        model: what samples.
        data: the prompts.
        engine: what generates.
        decoding: how responses are sampled.
        rewards: what grades them.
        grading: how the rewards are run.
        chunk_size: prompts that are sampled together and then written down; an interruption costs one chunk at
            most.
    """

    model: ModelSection
    data: DataSection
    engine: EngineSection = field(default_factory=EngineSection)
    decoding: Decoding
    rewards: list[RewardSpec] = field(metadata=NOT_EMPTY)
    grading: GradingSection = field(default_factory=GradingSection)
    chunk_size: int = field(default=1024, metadata=AT_LEAST_ONE)


@dataclass(frozen=True, kw_only=True)
class FilterRecipe(SamplingRecipe):
    """Sampling from the model at every prompt, and keeping the prompts that RL can learn from.

    Attributes:
        check_gold: before anything is sampled, the gold answer of every row has to pass its own grader.
        keep: which prompts are kept.
    """

    stage: Literal["filter"] = "filter"
    decoding: FilterDecoding
    check_gold: bool = True
    keep: KeepSection = field(default_factory=KeepSection)


@dataclass(frozen=True, kw_only=True)
class RLRecipe(Recipe):
    """AGAPO reinforcement learning.

    Attributes:
        model: what training starts from, and the KL's reference.
        data: the prompts, with their gold answers.
        rewards: what grades the responses; right is what no reward calls wrong and at least one calls right.
        grading: how the rewards are run.
        check_gold: before weights are loaded, the gold answer of every row has to pass its own grader.
        engine: what samples the rollouts.
        preset: defaults of `trainer`: `exaone-4.0` is the paper, `k-exaone` its successor.
        refill: what to do when too few groups carry signal.
        trainer: keys of `AGAPOConfig`, which is a TRL `GRPOConfig`.
        lora: keys of peft's `LoraConfig`; null trains all weights.
    """

    stage: Literal["rl"] = "rl"
    model: ModelSection
    data: DataSection
    rewards: list[RewardSpec] = field(metadata=NOT_EMPTY)
    grading: GradingSection = field(default_factory=GradingSection)
    check_gold: bool = True
    engine: EngineName = "vllm"
    preset: Literal["exaone-4.0", "k-exaone"] = "exaone-4.0"
    refill: RefillSection = field(default_factory=RefillSection)
    trainer: Free = field(default_factory=dict)
    lora: Free | None = None


@dataclass(frozen=True, kw_only=True)
class PairsRecipe(SamplingRecipe):
    """Sampling from the model and building preference pairs.

    Attributes:
        pairs: how samples become pairs.
        samples: the folder of an earlier run of the same model, data and decoding, whose samples are graded and
            paired anew; the model is then not loaded.
    """

    stage: Literal["pairs"] = "pairs"
    pairs: PairsSection
    samples: str | None = None


@dataclass(frozen=True, kw_only=True)
class PrefRecipe(Recipe):
    """Preference learning. What the objective does not read may stay in the recipe.

    Attributes:
        model: what training starts from.
        objective: `simper` is the paper's; `dpo` and `simpo` are TRL's own, for comparison; `group_simper` learns
            from all responses to a query at once.
        pairs: `pairs.parquet` files, for every objective but `group_simper`.
        samples: `samples.parquet` folders, for `group_simper`.
        trainer: keys of `SimPERConfig`, which is a TRL `DPOConfig` without what is DPO's; with `dpo` and `simpo` of
            `DPOConfig` and `CPOConfig`.
        lora: keys of peft's `LoraConfig`; null trains all weights.
    """

    stage: Literal["pref"] = "pref"
    model: ModelSection
    objective: Literal["simper", "group_simper", "dpo", "simpo"] = "simper"
    pairs: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    trainer: Free = field(default_factory=dict)
    lora: Free | None = None


@dataclass(frozen=True, kw_only=True)
class EvalRecipe(Recipe):
    """Grading a model's answers to `data` and to `benchmarks`, under one or more decodings.

    Attributes:
        label: what tables call the model.
        model: what answers.
        data: questions of your own.
        engine: what generates.
        decodings: each question is answered under each of these; `name` and `mode` are required here.
        thinking_budgets: each reasoning decoding is tried with each of these budgets, null for none.
        rewards: what grades the answers to `data`.
        benchmarks: questions that come with their rewards.
        grading: how the rewards are run.
        check_gold: before weights are loaded, the gold answer of every row has to pass its own grader.
        chunk_size: questions that are answered together and then written down; an interruption costs one chunk at
            most.
        latency_questions: are answered once more, one at a time, to time them.
        longest_text: characters of a message, a thinking or an answer that samples.jsonl keeps; null: all.
    """

    stage: Literal["eval"] = "eval"
    label: str
    model: ModelSection
    data: DataSection | None = None
    engine: EngineSection = field(default_factory=EngineSection)
    decodings: list[Decoding] = field(metadata=NOT_EMPTY)
    thinking_budgets: list[int | None] = field(default_factory=list)
    rewards: list[RewardSpec] = field(default_factory=list)
    benchmarks: list[BenchmarkSpec] = field(default_factory=list)
    grading: GradingSection = field(default_factory=GradingSection)
    check_gold: bool = True
    chunk_size: int = field(default=1024, metadata=AT_LEAST_ONE)
    latency_questions: int = field(default=0, metadata=NOT_NEGATIVE)
    longest_text: int | None = field(default=None, metadata=AT_LEAST_ONE)


@dataclass(frozen=True, kw_only=True)
class ReportRecipe(Recipe):
    """One page about the runs of several stages.

    Attributes:
        title: of the page.
        stages: in the order of the page.
    """

    stage: Literal["report"] = "report"
    title: str
    stages: list[ReportStage] = field(metadata=NOT_EMPTY)
