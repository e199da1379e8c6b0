"""What a recipe of the stage `context` may say."""

from dataclasses import dataclass, field
from typing import Literal

from posttrain.recipe.schema import (
    AT_LEAST_ONE,
    NOT_EMPTY,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_ABOVE_0,
    DataSection,
    Free,
    ModelSection,
    Recipe,
)


@dataclass(frozen=True, kw_only=True)
class LengthStage:
    """One rung of the ladder: it starts from the model of the one before, and its run folder is `run`/`name`.

    `length`: the model's context from here on, and the longest row, in tokens. `rope_theta` and `rope_scaling` (a
    `rope_type` of transformers with its keys) go into the model's configuration; null keeps what is there.
    `limit_tokens`: trained on at most; `slice_tokens`: between two gates. `trainer`: keys that differ for this stage.
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

    `shortest`: share of the stage's length; documents are spread evenly, in equal ratios, from there to the whole of
    it. `questions`: about each text, every reply trained. `num_needles`: in a text, where a task has several. `text`: a
    file, folder or glob that takes the place of generated sentences.
    """

    tasks: list[str] = field(default_factory=lambda: ["needle"], metadata=NOT_EMPTY)
    languages: list[Literal["en", "ko", "es"]] = field(default_factory=lambda: ["en", "ko", "es"], metadata=NOT_EMPTY)
    shortest: float = field(default=0.25, metadata=SHARE_ABOVE_0)
    questions: int = field(default=1, metadata=AT_LEAST_ONE)
    num_needles: int = field(default=4, metadata=AT_LEAST_ONE)
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class RowsSection(DataSection):
    """The user's own rows, and their share of all tokens; what is longer than the stage is left out and counted.

    `rejected_max_share`: of rows that cannot be used; with more of them the run does not start.
    """

    share: float = field(metadata=SHARE_ABOVE_0)
    rejected_max_share: float = field(default=0.01, metadata=SHARE)


@dataclass(frozen=True, kw_only=True)
class GateSection:
    """When a stage may be left: once the share of right answers in every cell (task, length, depth) is `min_accuracy`.

    `lengths`: of the whole sequence, answer included, as shares of the stage's length. `depths`: of the needle, from 0,
    the beginning, to 1. `samples_per_cell`: questions in each of the `languages`. `num_needles`, `text`: as in
    `documents`; nothing that is asked here is ever asked in a document.
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

    `pack_tokens`: of one pack, which is one batch; null is the length of each stage. What `long` and `replay` (short
    rows) leave of the tokens is `documents`. `validation`: short rows that are never trained; their loss may rise by
    the share `max_short_regression` over that of the model the run started from. `trainer`: keys of `SFTConfig`.
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
