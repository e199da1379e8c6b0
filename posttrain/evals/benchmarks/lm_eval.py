"""A task of the package `lm-eval` (the LM Evaluation Harness, arXiv 2405.14782), from a YAML file of its own format.

What is asked, the few-shot turns, the filters and the metric are lm-eval's. The conversation goes through the model's
chat template in the mode of the decoding, and the recipe says how it is sampled: of `generation_kwargs` only `until` is
kept, which cuts the visible answer, and `repeats` is the decoding's `samples`. Scores are those of a chat with this
model: compare models with them, not a model with a table of scores of bare completions.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from posttrain.data.rows import Row
from posttrain.errors import UserError, did_you_mean
from posttrain.evals.benchmark import Benchmark
from posttrain.recipe import RewardSpec
from rewards.contract import Attempt, Verdict

FEWSHOT_SEED = 1234  # lm-eval's own default
LOCAL = ("json", "csv", "parquet", "arrow", "text")  # readers of files; any other dataset_path is a set of the hub
NOTHING_FOUND = "[invalid]"  # what lm-eval's filters put where nothing matched

SEES = ("answer", "row")


def lm_eval(
    *, task: str, metric: str | None = None, filter_name: str | None = None, limit: int | None = None
) -> Benchmark:
    """The questions of one `generate_until` task.

    The gold is not checked: the target of a task is not always an answer that its own filters can read.

    Args:
        task: the YAML file; the files that it names are looked up from the working directory, as lm-eval does.
        metric: that decides what is right, null for the first of the task; 1 is right.
        filter_name: that extracts the answer, null for the first of the task.
        limit: only so many questions.

    Raises:
        UserError: the package is missing, or the task cannot be loaded or asked.
    """
    loaded = _load(task)
    metric = _one_of(metric, list(loaded.aggregation()), f"{task}: the metric")
    filter_name = _one_of(filter_name, [each.name for each in loaded._filters], f"{task}: the filter")
    loaded.set_fewshot_seed(FEWSHOT_SEED)
    rows = [{"messages": _messages(loaded, doc), "doc": dict(doc)} for doc in islice(loaded.eval_docs, limit)]
    value, _ = _grade(loaded, loaded.eval_docs[0], "", metric, filter_name)
    if not (isinstance(value, int | float) and 0 <= value <= 1 and loaded.higher_is_better()[metric]):
        raise UserError(
            f"{task}: {metric} of one answer is {str(value)[:80]!r}; need a metric from 0 to 1 of each answer by "
            "itself, where more is better, such as exact_match"
        )
    args = {"task": task, "metric": metric, "filter_name": filter_name}
    reward = RewardSpec(use=f"{__name__}:LmEvalMetric", args=args, name=metric)
    return Benchmark(rows, [reward], [Path(task), *_data_files(loaded.config.dataset_kwargs or {})])


@dataclass(frozen=True)
class LmEvalMetric:
    """Score is what lm-eval's metric says of the filtered answer; the outcome is right at 1, else wrong.

    Score None when the row has no `doc`.

    Attributes:
        task: The YAML file.
        metric: By its name in the task.
        filter_name: The filter that extracts the answer.
    """

    task: str
    metric: str
    filter_name: str

    def describe(self) -> Mapping[str, str]:
        """The version of the package, whose filters and metrics differ."""
        return {"lm-eval": version("lm-eval")}

    def __call__(self, attempt: Attempt) -> Verdict:
        """Ask lm-eval about the visible answer."""
        doc = attempt.row.get("doc")
        if not isinstance(doc, dict):
            return Verdict(None, reason="row['doc'] has no document of the task")
        value, found = _grade(_load(self.task), doc, attempt.answer, self.metric, self.filter_name)
        score = float(value)
        reason = "" if score == 1 else f"{self.metric} is {score:g}"
        return Verdict(score, outcome=score == 1, extracted=None if found == NOTHING_FOUND else found, reason=reason)


def _grade(task: Any, doc: Row, answer: str, metric: str, filter_name: str) -> tuple[Any, str]:
    """What the metric says of an answer, and what was extracted from it."""
    from lm_eval.api.instance import Instance

    until = task.config.generation_kwargs["until"]
    for stop in [until] if isinstance(until, str) else until:
        answer = answer.split(stop, 1)[0] if stop else answer
    request = Instance("generate_until", doc, ("", {}), 0, resps=[answer])
    (chosen,) = (each for each in task._filters if each.name == filter_name)
    chosen.apply([request])
    found = request.filtered_resps[filter_name]
    return task.process_results(doc, [found])[metric], str(found)


def _messages(task: Any, doc: Row) -> list[Row]:
    """The task's description as the system message, its few-shot examples as turns, and the question."""
    messages: list[Row] = task.fewshot_context(
        doc,
        task.config.num_fewshot or 0,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        chat_template=lambda messages, add_generation_prompt: messages,
    )
    return messages


@lru_cache(maxsize=8)  # a grading process loads the task once
def _load(path: str) -> Any:
    try:
        from lm_eval.api.task import ConfigurableTask
        from lm_eval.tasks._yaml_loader import load_yaml
    except ModuleNotFoundError as error:
        raise UserError(f"the package lm-eval is not installed ({error}): pip install lm-eval==0.4.13") from error
    from datasets.exceptions import DatasetsError
    from jinja2 import TemplateError
    from yaml import YAMLError

    try:
        config = load_yaml(path)
        _require_askable(config, path)
        _require_pinned(config, path)
        return ConfigurableTask(config=config)
    except (
        *(OSError, LookupError, ValueError, TypeError, AttributeError, ImportError),
        *(DatasetsError, TemplateError, YAMLError),
    ) as error:
        raise UserError(f"{path}: lm-eval cannot load it: {type(error).__name__}: {error}") from error


def _require_pinned(config: Row, path: str) -> None:
    """A task whose questions may be others tomorrow is refused."""
    kwargs = config.get("dataset_kwargs") or {}
    is_local = config.get("dataset_path") in LOCAL or "custom_dataset" in config
    if not is_local and not re.fullmatch(r"[0-9a-f]{40}", str(kwargs.get("revision"))):
        raise UserError(
            f"{path}: got dataset_path {config.get('dataset_path')!r} without a commit; need files (one of "
            f"{', '.join(LOCAL)}, with data_files under dataset_kwargs), or 40 hexadecimal digits as its revision there"
        )


def _require_askable(config: Row, path: str) -> None:
    """A task that no chat with a model answers is refused."""
    output_type = config.get("output_type", "generate_until")
    if output_type != "generate_until":
        raise UserError(
            f"{path}: got output_type {output_type}, which compares likelihoods of given texts; need generate_until, "
            "an answer in words"
        )
    refused = {
        "gen_prefix": "begins the model's answer, which a chat template has no place for",
        "unsafe_code": "runs the model's code outside the sandbox; use human_eval, or rewards.code_tests",
        "doc_to_image": "shows a picture",
        "doc_to_audio": "plays a sound",
    }
    for key, why in refused.items():
        if config.get(key):
            raise UserError(f"{path}: its {key} {why}; need a task without it")


def _one_of(name: str | None, known: Sequence[str], what: str) -> str:
    if name is not None and name not in known:
        raise UserError(f"{what} is {name!r}{did_you_mean(name, known)}; need one of {', '.join(known)}")
    return name or known[0]


def _data_files(kwargs: Row) -> list[Path]:
    """The files of the questions, for their hashes."""
    named = kwargs.get("data_files") or []
    groups = named.values() if isinstance(named, dict) else [named]
    return [Path(file) for group in groups for file in ([group] if isinstance(group, str) else group)]
