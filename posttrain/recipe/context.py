"""What a recipe of the stage `context` may say."""

from dataclasses import dataclass, field
from typing import Literal

from posttrain.recipe.limits import AT_LEAST_ONE, NOT_EMPTY, NOT_NEGATIVE, POSITIVE, SHARE, SHARE_ABOVE_0
from posttrain.recipe.schema import Recipe
from posttrain.recipe.sections import DataSection, Free, ModelSection


@dataclass(frozen=True, kw_only=True)
class LengthStage:
    """One rung of the ladder: it starts from the model of the one before.

    Attributes:
        name: its run folder below `run`.
        length: the model's context from here on, and the longest row, in tokens.
        limit_tokens: trained on at most.
        slice_tokens: trained on between two gates.
        rope_theta: the base of RoPE from here on; null keeps what is there.
        rope_scaling: a `rope_type` of transformers with its keys, from here on; null keeps what is there.
        trainer: keys of `trainer` that differ for this stage.
    """

    name: str
    length: int = field(metadata=AT_LEAST_ONE)
    limit_tokens: float = field(metadata=POSITIVE)
    slice_tokens: float = field(metadata=POSITIVE)
    rope_theta: float | None = field(default=None, metadata=POSITIVE)
    rope_scaling: Free | None = None
    trainer: Free = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DocumentsSection:
    """Long documents that are made here (`posttrain.haystack`), with what is asked for at every depth in turn.

    Attributes:
        tasks: of `posttrain.haystack`, in turn.
        languages: in turn.
        shortest: share of the stage's length; documents are spread evenly, in equal ratios, from there to the whole
            of it.
        questions: about each text, every reply trained.
        num_needles: in a text, where a task has several.
        text: a file, folder or glob that takes the place of generated sentences.
    """

    tasks: list[str] = field(default_factory=lambda: ["needle"], metadata=NOT_EMPTY)
    languages: list[Literal["en", "ko", "es"]] = field(default_factory=lambda: ["en", "ko", "es"], metadata=NOT_EMPTY)
    shortest: float = field(default=0.25, metadata=SHARE_ABOVE_0)
    questions: int = field(default=1, metadata=AT_LEAST_ONE)
    num_needles: int = field(default=4, metadata=AT_LEAST_ONE)
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class RowsSection(DataSection):
    """The user's own rows; what is longer than the stage is left out and counted.

    Attributes:
        share: of all tokens.
        rejected_max_share: of rows that cannot be used; with more of them the run does not start.
    """

    share: float = field(metadata=SHARE_ABOVE_0)
    rejected_max_share: float = field(default=0.01, metadata=SHARE)


@dataclass(frozen=True, kw_only=True)
class GateSection:
    """When a stage may be left: once every cell (task, length, depth) passes.

    Nothing that is asked here is ever asked in a document.

    Attributes:
        min_accuracy: share of right answers that every cell needs.
        samples_per_cell: questions in each of the `languages`.
        lengths: of the whole sequence, answer included, as shares of the stage's length.
        depths: of the needle, from 0, the beginning, to 1.
        tasks: of `posttrain.haystack`.
        languages: of the questions and their texts.
        num_needles: as in `documents`.
        text: as in `documents`.
        max_new_tokens: of an answer.
    """

    min_accuracy: float = field(default=1.0, metadata=SHARE_ABOVE_0)
    samples_per_cell: int = field(default=2, metadata=AT_LEAST_ONE)
    lengths: list[float] = field(default_factory=lambda: [0.25, 0.5, 1.0], metadata=NOT_EMPTY)
    depths: list[float] = field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 1.0], metadata=NOT_EMPTY)
    tasks: list[str] = field(default_factory=lambda: ["needle"], metadata=NOT_EMPTY)
    languages: list[Literal["en", "ko", "es"]] = field(default_factory=lambda: ["en", "ko", "es"], metadata=NOT_EMPTY)
    num_needles: int = field(default=4, metadata=AT_LEAST_ONE)
    text: str | None = None
    max_new_tokens: int = field(default=32, metadata=AT_LEAST_ONE)


@dataclass(frozen=True, kw_only=True)
class ContextRecipe(Recipe):
    """Growing a model's context in stages, each of them left only when the gate's every cell passes.

    Attributes:
        model: what the first stage starts from.
        stages: the ladder, shortest first.
        pack_tokens: of one pack, which is one batch; null is the length of each stage.
        documents: long documents made to measure: what `long` and `replay` leave of the tokens; null for none.
        long: long rows of your own.
        replay: short rows of your own, against forgetting.
        gate: what has to be found before a stage is left.
        validation: short rows that are never trained; their loss is watched.
        max_short_regression: the share by which that loss may rise over that of the model the run started from.
        trainer: keys of TRL's `SFTConfig`.
    """

    stage: Literal["context"] = "context"
    model: ModelSection
    stages: list[LengthStage] = field(metadata=NOT_EMPTY)
    pack_tokens: int | None = field(default=None, metadata=AT_LEAST_ONE)
    documents: DocumentsSection | None = field(default_factory=DocumentsSection)
    long: RowsSection | None = None
    replay: RowsSection | None = None
    validation: DataSection | None = None
    gate: GateSection = field(default_factory=GateSection)
    max_short_regression: float = field(default=0.05, metadata=NOT_NEGATIVE)
    trainer: Free = field(default_factory=dict)
