"""What every reward of the package must stand, found by walking the package."""

import importlib
import pickle
import pkgutil
import time
from collections.abc import Sequence
from types import ModuleType

import pytest

import rewards
from posttrain.authoring.probes import HOSTILE
from rewards import Attempt, Case, GroupCase, make_attempt
from rewards.contract import gold_answer_of, grades_groups, seen_attempt

ALL_NAMES = [name for _, name, _ in pkgutil.iter_modules(rewards.__path__) if name != "contract" and name[0] != "_"]
ALL_MODULES = [importlib.import_module(f"rewards.{name}") for name in ALL_NAMES]
GROUP_MODULES = [module for module in ALL_MODULES if grades_groups(module.EXAMPLE)]
MODULES = [module for module in ALL_MODULES if module not in GROUP_MODULES]
NAMES = [module.__name__.rpartition(".")[2] for module in MODULES]
CASES = [
    pytest.param(module, case, id=f"{name}-{i}")
    for name, module in zip(NAMES, MODULES, strict=True)
    for i, case in enumerate(module.CASES)
]
GROUP_CASES = [
    pytest.param(module, case, id=f"{module.__name__}-{i}")
    for module in GROUP_MODULES
    for i, case in enumerate(module.CASES)
]
GOLDS = ["7", r"\frac{1}{3}", r"\sqrt{2}", "x^2+1", r"\{1,2\}", r"\text{yes}"]


@pytest.fixture(autouse=True)
def _reward_works_on_this_machine(request: pytest.FixtureRequest) -> None:
    """A reward that says of the machine what it works with may say that it cannot."""
    describe = getattr(request.getfixturevalue("module").EXAMPLE, "describe", dict)
    try:
        describe()
    except (RuntimeError, ImportError) as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_every_module_shows_a_success_and_a_failure(module: ModuleType) -> None:
    assert {1.0, 0.0} <= {score for _, _, score in module.CASES}


@pytest.mark.parametrize(("module", "case"), CASES)
def test_case_gets_its_score_with_a_reason_and_again(module: ModuleType, case: Case) -> None:
    fields, row, score = case
    verdict = module.EXAMPLE(make_attempt(fields, row))
    assert verdict.score == score, verdict
    assert verdict.reason or score == 1.0
    assert module.EXAMPLE(make_attempt(fields, row)) == verdict


@pytest.mark.parametrize(("module", "case"), CASES)
def test_an_empty_answer_never_earns_anything(module: ModuleType, case: Case) -> None:
    _, row, _ = case
    for mode in ("reasoning", "non_reasoning"):
        for empty in ("", " \n"):
            assert not module.EXAMPLE(make_attempt({"answer": empty, "mode": mode}, row)).score


def has_readable_gold(module: ModuleType, case: Case) -> bool:
    _, row, score = case
    return score is not None and gold_answer_of(module.EXAMPLE, row) is not None


@pytest.mark.parametrize(("module", "case"), [case for case in CASES if has_readable_gold(*case.values)])
def test_the_gold_answer_passes_its_own_grader(module: ModuleType, case: Case) -> None:
    _, row, _ = case
    answer = gold_answer_of(module.EXAMPLE, row)
    assert answer
    assert module.EXAMPLE(make_attempt(answer, row)).score == 1.0


@pytest.mark.parametrize(("module", "case"), CASES)
def test_what_a_reward_declares_not_to_see_changes_nothing(module: ModuleType, case: Case) -> None:
    fields, row, score = case
    assert module.EXAMPLE(seen_attempt(module.EXAMPLE, make_attempt(fields, row))).score == score


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_neither_raises_nor_stalls_nor_earns_a_right_answer(module: ModuleType, text: str) -> None:
    for gold in GOLDS:
        row = {"answer": gold, "language": "en"}
        for fields in ({"answer": text}, {"answer": "fine", "thinking": text}, {"answer": text, "mode": "reasoning"}):
            started = time.process_time()
            verdict = module.EXAMPLE(make_attempt(fields, row))
            assert time.process_time() - started < 2.0
            assert not verdict.outcome
            assert pickle.loads(pickle.dumps(verdict)) == verdict
            (verdict.extracted or "").encode()  # can be written to a log


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_reward_and_attempt_can_be_sent_to_a_worker(module: ModuleType) -> None:
    fields, row, score = module.CASES[0]
    reward, attempt = pickle.loads(pickle.dumps((module.EXAMPLE, make_attempt(fields, row))))
    assert reward(attempt).score == score


# --- rewards that grade groups ---


def scores(module: ModuleType, group: Sequence[Attempt]) -> list[float | None]:
    return [verdict.score for verdict in module.EXAMPLE(group)]


@pytest.mark.parametrize("module", GROUP_MODULES)
def test_every_group_reward_shows_a_success_and_a_failure_and_can_be_sent_away(module: ModuleType) -> None:
    assert {1.0, 0.0} <= {score for _, _, expected in module.CASES for score in expected}
    assert pickle.loads(pickle.dumps(module.EXAMPLE)) == module.EXAMPLE


@pytest.mark.parametrize(("module", "case"), GROUP_CASES)
def test_group_gets_its_scores_with_reasons_in_any_order_and_from_what_is_seen(
    module: ModuleType, case: GroupCase
) -> None:
    answers, row, expected = case
    group = [make_attempt(fields, row) for fields in answers]
    assert scores(module, group) == list(expected)
    assert scores(module, group[::-1]) == list(expected)[::-1]
    assert scores(module, [seen_attempt(module.EXAMPLE, attempt) for attempt in group]) == list(expected)
    assert all(verdict.reason for verdict in module.EXAMPLE(group))
