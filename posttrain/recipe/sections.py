"""The sections of recipes: types here, limits of single values beside them, nothing else.

A field without a default has to be given. `args` is free: the class that takes it checks it.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from posttrain.recipe.limits import (
    AT_LEAST_ONE,
    FINITE,
    NOT_EMPTY,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_ABOVE_0,
    SHARE_BELOW_1,
)

Free = dict[str, Any]
Mode = Literal["reasoning", "non_reasoning"]  # the same words as in posttrain.chat, which is on this floor too
EngineName = Literal["vllm", "transformers"]
RejectedOrder = Literal["in_turn", "wrong_first", "longer_first", "random"]
RejectedDraw = Literal["random", "shortest", "longest"]


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """The model a stage starts from.

    Attributes:
        path: a model folder, or the id of a model of the Hugging Face hub.
        dtype: the type of the weights in memory.
        attn_implementation: the attention: a name of transformers, or `segments`, which is ours; null lets the
            device decide (docs/models.md).
        chat_template: the name of a built-in template or a `.jinja` file; null takes the model folder's own.
        allow_pickle: read weights that are not safetensors, too, from a source that you trust.
    """

    path: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attn_implementation: str | None = None
    chat_template: str | None = None
    allow_pickle: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """Data of one kind, and the columns it stands for where its rows do not have them.

    Attributes:
        path: a file (.jsonl, .jsonl.gz, .jsonl.zst, .json, .parquet), a folder or a glob of them, or a data set of
            the Hugging Face hub as `hub:owner/name@commit`.
        config: the data set's configuration; for `hub:` paths only.
        split: the data set's split, null: train; for `hub:` paths only.
        name: what reports call it; null: made from the path.
        mode: the mode of its rows; null: what each row says or shows.
        domain: the domain of its rows.
        language: the language of its rows.
        weight: how fast it is drawn, beside the other sources of its mode and domain.
    """

    path: str
    config: str | None = None
    split: str | None = None
    name: str | None = None
    mode: Mode | None = None
    domain: str | None = None
    language: str | None = None
    weight: float = field(default=1.0, metadata=POSITIVE)


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Where the rows come from.

    Attributes:
        sources: the files, folders and data sets.
    """

    sources: list[Source] = field(metadata=NOT_EMPTY)


@dataclass(frozen=True, kw_only=True)
class SFTDataSection(DataSection):
    """Where the rows come from, and what becomes of those that cannot be used: they are set aside, never cut.

    Attributes:
        max_length: the longest row in tokens; null: any.
        too_long: whether longer rows count as rejected (`reject`) or are left out as a choice (`drop`).
        rejected_max_share: of all rows; with more rejected the run does not start.
        drop_duplicates: leave out what says the same as an earlier row; else it is reported only.
        pack_tokens: rows that follow each other are trained as packs of at most so many tokens, without padding and
            without seeing each other; null trains padded batches of rows.
        workers: processes that encode, null for the cores; small data is done before another process would have
            started.
    """

    max_length: int | None = field(default=None, metadata=AT_LEAST_ONE)
    too_long: Literal["reject", "drop"] = "reject"
    rejected_max_share: float = field(default=0.01, metadata=SHARE)
    drop_duplicates: bool = False
    pack_tokens: int | None = field(default=None, metadata=AT_LEAST_ONE)
    workers: int | None = field(default=None, metadata=AT_LEAST_ONE)


@dataclass(frozen=True, kw_only=True)
class ValidationSection(DataSection):
    """Rows that are not trained but evaluated: as often as `trainer.eval_strategy` says, and at the end.

    They are read, set aside and packed as `data` says.
    """


@dataclass(frozen=True, kw_only=True)
class MixerSection:
    """The plugin that decides from which source the next row is drawn.

    Attributes:
        use: the plugin as `package.module:object`.
        args: what the plugin is made with (data_mixers/README.md).
    """

    use: str
    args: Free = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RewardSpec:
    """One reward plugin, and which rows it grades.

    Attributes:
        use: the plugin as `package.module:object`.
        args: what the plugin is made with (rewards/README.md).
        when: the rows that it grades: column -> accepted values; empty: all.
        weight: of its score in the sum; 0 only measures.
        style: `attempt`, or `trl` for a function written for TRL.
        name: in metrics and samples; null: the object's name.
    """

    use: str
    args: Free = field(default_factory=dict)
    when: dict[str, list[Any]] = field(default_factory=dict)
    weight: float = field(default=1.0, metadata=FINITE)
    style: Literal["attempt", "trl"] = "attempt"
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class GradingSection:
    """How the rewards are run, and when they break too often (rewards/README.md says what becomes of an attempt).

    Attributes:
        workers: processes that grade, null for half of the cores; with 0 it is the stage's own process, where no
            time limit holds and a reward that ends its process ends the run.
        timeout_s: wall time in seconds for all rewards of an attempt together.
        max_broken_share: of a batch; above it the run stops (a batch of less than 20 counts as 20).
    """

    workers: int | None = field(default=None, metadata=NOT_NEGATIVE)
    timeout_s: float = field(default=30.0, metadata=POSITIVE)
    max_broken_share: float = field(default=0.05, metadata=SHARE)


@dataclass(frozen=True, kw_only=True)
class EngineSection:
    """What generates.

    Attributes:
        name: `vllm`, or `transformers`, which starts at once and is slower.
        max_model_len: the longest sequence in tokens; null: the model's context.
        max_num_seqs: sequences at a time; null: the engine's own.
        memory_gb: memory for the KV cache in GB, on a CPU; on a GPU vLLM takes nine tenths of what there is.
        tensor_parallel: vLLM shares every layer out over so many GPUs, for a model that does not fit on one.
    """

    name: EngineName = "vllm"
    max_model_len: int | None = field(default=None, metadata=AT_LEAST_ONE)
    max_num_seqs: int | None = field(default=None, metadata=AT_LEAST_ONE)
    memory_gb: float = field(default=1.0, metadata=POSITIVE)
    tensor_parallel: int = field(default=1, metadata=AT_LEAST_ONE)


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """One way of sampling.

    Attributes:
        name: in tables of results.
        mode: null: each row's own.
        temperature: 0 is greedy.
        top_p: the share of probability that is sampled from.
        top_k: the number of tokens that is sampled from; 0: no limit.
        max_new_tokens: of a response, thinking and answer together.
        thinking_budget: thinking that has not ended after so many tokens is closed by force and the answer follows,
            all within `max_new_tokens`; null leaves it alone.
        samples: responses to each prompt.
    """

    name: str = ""
    mode: Mode | None = None
    temperature: float = field(metadata=NOT_NEGATIVE)
    top_p: float = field(default=1.0, metadata=SHARE_ABOVE_0)
    top_k: int = field(default=0, metadata=NOT_NEGATIVE)
    max_new_tokens: int = field(metadata=AT_LEAST_ONE)
    thinking_budget: int | None = field(default=None, metadata=NOT_NEGATIVE)
    samples: int = field(default=1, metadata=AT_LEAST_ONE)


@dataclass(frozen=True, kw_only=True)
class FilterDecoding(Decoding):
    """How the filter samples: 8 responses to a prompt, as in the paper, where the recipe gives no other number."""

    samples: int = field(default=8, metadata=AT_LEAST_ONE)


@dataclass(frozen=True, kw_only=True)
class KeepSection:
    """Which prompts the filter keeps: those whose share of right responses lies strictly between the bounds.

    The default is the paper's (section 2.4.2): all but the prompts that are always answered right.

    Attributes:
        pass_rate_above: with 0, prompts that are never answered right go too (zero variance); null: no bound.
        pass_rate_below: with 1, prompts that are always answered right go; null: no bound.
    """

    pass_rate_above: float | None = field(default=None, metadata=SHARE_BELOW_1)
    pass_rate_below: float | None = field(default=1.0, metadata=SHARE_ABOVE_0)


@dataclass(frozen=True, kw_only=True)
class PairsSection:
    """How samples become pairs (paper section 2.4.3).

    Attributes:
        builder: `shortest_correct` (stage 1) or `hybrid` (stage 2).
        pairs_per_query: at most.
        train_thinking: of both sides; false trains the final answers alone.
        min_correct_share: stage 1: the share of a query's samples that has to be right before the shortest right
            one is trusted.
        min_length_ratio: stage 1: how many times longer than the chosen one a right answer is to be rejected.
        rejected_order: stage 1: whether wrong or longer responses are rejected first.
        rejected_draw: stage 1: which of those.
        refuse_longer_chosen: stage 1: reject no wrong response that is shorter than the chosen one.
        reuse_stage1: the share of the final pairs that comes from `stage1`.
        stage1: the pairs.parquet of an earlier stage.
    """

    builder: Literal["shortest_correct", "hybrid"]
    pairs_per_query: int = field(default=1, metadata=AT_LEAST_ONE)
    train_thinking: bool = True
    min_correct_share: float = field(default=0.75, metadata=SHARE)
    min_length_ratio: float = field(default=1.2, metadata=AT_LEAST_ONE)
    rejected_order: RejectedOrder = "in_turn"
    rejected_draw: RejectedDraw = "random"
    refuse_longer_chosen: bool = False
    reuse_stage1: float = field(default=0.0, metadata=SHARE)
    stage1: str | None = None


@dataclass(frozen=True, kw_only=True)
class ShapeSection:
    """Sizes of a new model that differ from its preset's; null is the preset's.

    Attributes:
        hidden_size: of the residual stream.
        num_layers: all layers, sliding and global ones.
        intermediate_size: of the feed-forward part.
        num_heads: query heads of a layer.
        num_kv_heads: key and value heads of a layer.
        head_dim: numbers of a head.
        sliding_window: tokens that a sliding layer sees, each itself included.
        local_layers: sliding layers before each global one, 0 for none.
        max_position_embeddings: the context in tokens.
        rope_theta: the base of RoPE.
        tie_word_embeddings: one matrix for embedding and head.
        vocab_size: rows of the embedding, at least the tokenizer's.
        initializer_range: standard deviation of the first weights.
    """

    hidden_size: int | None = field(default=None, metadata=AT_LEAST_ONE)
    num_layers: int | None = field(default=None, metadata=AT_LEAST_ONE)
    intermediate_size: int | None = field(default=None, metadata=AT_LEAST_ONE)
    num_heads: int | None = field(default=None, metadata=AT_LEAST_ONE)
    num_kv_heads: int | None = field(default=None, metadata=AT_LEAST_ONE)
    head_dim: int | None = field(default=None, metadata=AT_LEAST_ONE)
    sliding_window: int | None = field(default=None, metadata=AT_LEAST_ONE)
    local_layers: int | None = field(default=None, metadata=NOT_NEGATIVE)
    max_position_embeddings: int | None = field(default=None, metadata=AT_LEAST_ONE)
    rope_theta: float | None = field(default=None, metadata=POSITIVE)
    tie_word_embeddings: bool | None = None
    vocab_size: int | None = field(default=None, metadata=AT_LEAST_ONE)
    initializer_range: float | None = field(default=None, metadata=POSITIVE)


@dataclass(frozen=True, kw_only=True)
class ReportStage:
    """One stage of the report.

    Attributes:
        name: on the page.
        run: its run folder.
        eval: where it was evaluated, the run folder of the evaluation.
    """

    name: str
    run: str
    eval: str | None = None


@dataclass(frozen=True, kw_only=True)
class RefillSection:
    """What to do when too few groups of a batch carry signal: sample further prompts, and go on with a warning.

    Attributes:
        max_extra_batches: further batches of prompts that a step may sample; 0: none.
        below: the share of a batch's groups with an advantage other than 0 below which it is refilled.
    """

    max_extra_batches: int = field(default=0, metadata=NOT_NEGATIVE)
    below: float = field(default=0.5, metadata=SHARE_ABOVE_0)


@dataclass(frozen=True, kw_only=True)
class BenchmarkSpec:
    """Questions with the rewards that grade their answers.

    Attributes:
        use: a benchmark in the box by its name, or a plugin as `package.module:object`.
        args: what the benchmark is made with (docs/evaluation.md).
        name: in the results; null: that of the benchmark.
        rewards: more of them, beside the benchmark's own.
    """

    use: str
    args: Free = field(default_factory=dict)
    name: str | None = None
    rewards: list[RewardSpec] = field(default_factory=list)
