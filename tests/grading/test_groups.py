"""Rewards that compare the responses to a prompt, beside those that grade one attempt at a time."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.grading import Graded, Grader
from posttrain.grading.groups import GroupGradingPool
from posttrain.recipe import GradingSection, RewardSpec
from rewards.contract import Attempt, make_attempt

HERE = "tests.grading.group_rewards"
MATH = RewardSpec(use="rewards.math_answer:math_answer", name="math")


@pytest.fixture(autouse=True)
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="reward ")
        yield


def spec(name: str, **fields: Any) -> RewardSpec:
    return RewardSpec(use=f"{HERE}:{name}", name=name, **fields)


def group(*answers: str, **row: Any) -> list[Attempt]:
    return [make_attempt({"answer": answer, "thinking": "t"}, {"answer": "7", **row}) for answer in answers]


def grade(specs: list[RewardSpec], *groups: list[Attempt], **section: Any) -> list[list[Graded]]:
    settings = {"workers": 0, "max_broken_share": 1.0} | section
    with GroupGradingPool(specs, GradingSection(**settings)) as pool:
        return pool.grade_groups(groups)


def test_verdicts_on_groups_join_those_on_single_attempts_in_the_order_of_the_recipe() -> None:
    specs = [spec("longest", weight=0.5), MATH]
    (first, second), (third,) = grade(specs, group(r"\boxed{7}", "1234567890"[:9]), group("seven"))
    assert list(first.verdicts) == ["longest", "math"]
    assert (first.reward, first.outcome) == (1.5, True)
    assert (second.reward, second.outcome) == (0.5, False)
    assert (third.reward, third.outcome) == (0.5, False)


def test_worker_processes_are_handed_the_rewards_of_single_attempts_alone() -> None:
    assert grade([MATH, spec("longest")], group(r"\boxed{7}"), workers=1)[0][0].reward == 2.0


def test_without_a_weight_a_verdict_is_kept_and_counts_nothing() -> None:
    ((one,),) = grade([MATH, spec("longest", weight=0.0)], group(r"\boxed{7}"))
    assert one.reward == 1.0
    assert one.verdicts["longest"].score == 1.0


def test_rows_that_it_does_not_apply_to_are_not_shown_to_it() -> None:
    specs = [MATH, spec("longest", when={"domain": ["chat"]})]
    mixed = group("1234", domain="math") + group("12", domain="chat")
    ((one, other),) = grade(specs, mixed)
    assert list(one.verdicts) == ["math"]
    assert other.verdicts["longest"].score == 1.0


def test_an_attempt_that_cannot_be_judged_beside_others_that_can_has_no_reward() -> None:
    judged, unjudged = grade([MATH, spec("longest")], group("1234567", "pass"), group("pass", "pass"))
    assert [one.reward for one in judged] == [1.0, None]
    assert [one.reward for one in unjudged] == [0.0, 0.0]  # nobody lacks what the others have
    assert [one.outcome for one in (*judged, *unjudged)] == [False] * 4
    ((_, unweighted),) = grade([MATH, spec("longest", weight=0.0)], group("1234567", "pass"))
    assert unweighted.reward == 0.0  # a term that weighs nothing is none to lack


@pytest.mark.parametrize(
    ("deed", "cause", "reason"),
    [
        ("raise", "raised", "raised ZeroDivisionError: a group"),
        ("exit", "raised", "raised SystemExit: 3"),
        ("none", "no_verdict", "returned NoneType, need a verdict for each of 2 attempts"),
        ("few", "no_verdict", "returned list of 1, need a verdict for each of 2 attempts"),
        ("floats", "no_verdict", "returned float, need rewards.Verdict"),
    ],
)
def test_a_reward_that_breaks_at_a_group_leaves_it_without_reward_and_others_alone(
    deed: str, cause: str, reason: str
) -> None:
    with GroupGradingPool([MATH, spec("bad")], GradingSection(workers=0, max_broken_share=1.0)) as pool:
        broken, whole = pool.grade_groups([group(deed, r"\boxed{7}"), group("fine")])
        assert pool.broken == {"bad": {cause: 2}}
    assert [one.reward for one in broken] == [None, None]
    assert [one.outcome for one in broken] == [False, True]
    assert broken[0].verdicts["bad"].reason == reason
    assert whole[0].reward == 1.0


def test_too_many_broken_attempts_stop_the_run() -> None:
    groups = [group("fine", "fine") for _ in range(20)]
    with pytest.raises(UserError, match=r"rewards broke on 4 .*'bad' 4 times.*ZeroDivisionError: a group"):
        grade([spec("bad")], group("raise", ""), *groups, group("raise", ""), max_broken_share=0.07)


def test_an_attempt_whose_worker_was_lost_stays_without_reward_and_outcome() -> None:
    """Whatever the rewards that were not at work when it was lost say of it, and whatever the lost one weighs."""
    specs = [MATH, RewardSpec(use="tests.grading.bad_rewards:bad", weight=0.0), spec("longest")]
    ((lost, fine),) = grade(specs, group("os._exit", "fine"), workers=1)
    assert (lost.reward, lost.outcome) == (None, None)
    assert lost.verdicts["longest"].score == 1.0
    assert (fine.reward, fine.outcome) == (0.5, False)


def test_the_first_failure_of_a_group_reward_is_said_once() -> None:
    with pytest.warns(UserWarning, match="reward 'bad' raised ZeroDivisionError: a group; .* never scored 0") as said:
        grade([spec("bad")], group("raise", ""), group("raise"))
    assert len(said) == 1


def test_as_many_groups_are_in_its_hands_as_it_says() -> None:
    graded = grade([spec("Together")], *[group(name) for name in "abc"])
    assert [one.verdicts["Together"].reason for (one,) in graded] == ["a", "b", "c"]


def test_it_is_shown_what_it_says_it_sees() -> None:
    ((one,),) = grade([spec("SeesTheAnswer")], group("a"))
    assert one.verdicts["SeesTheAnswer"].reason == "a None {}"


def test_stages_that_grade_single_attempts_refuse_it_at_once() -> None:
    with pytest.raises(UserError, match=r"'longest' compares the responses .* only `posttrain pairs`"):
        Grader([spec("longest")])


def test_an_async_one_is_refused() -> None:
    with pytest.raises(UserError, match="grades groups and is async"):
        grade([spec("asynchronous")])


def test_names_are_in_the_order_of_the_recipe_and_must_differ() -> None:
    with GroupGradingPool([spec("longest"), MATH], GradingSection()) as pool:
        assert pool.names == ["longest", "math"]
    with pytest.raises(UserError, match="two rewards share a name"):
        GroupGradingPool(
            [
                MATH,
                spec(
                    "longest",
                ),
                RewardSpec(use=f"{HERE}:bad", name="math"),
            ],
            GradingSection(),
        )
