import pytest

from posttrain.preference.pair_report import PairRow, make_report
from posttrain.preference.pairs import Pair, PairOutcome


def row(chosen, rejected, reason, *, mode="reasoning", language="en", rejected_outcome=False, reused=False):
    return PairRow(
        query=0,
        prompt="[]",
        prompt_ids=[1],
        chosen_ids=[1] * chosen,
        rejected_ids=[1] * rejected,
        chosen_text="",
        rejected_text="",
        chosen_outcome=True,
        rejected_outcome=rejected_outcome,
        mode=mode,
        language=language,
        reason=reason,
        reused=reused,
    )


def test_report_by_hand():
    rows = [
        row(10, 30, "longer", rejected_outcome=True),
        row(20, 10, "wrong", language="ko"),
        row(30, 50, "wrong", mode="non_reasoning", language=None, rejected_outcome=None),
        row(20, 30, "longer", rejected_outcome=True, reused=True),
    ]
    kept = PairOutcome((Pair(0, 1, "wrong"),), None, num_identical=2)
    skipped = [PairOutcome((), "no_correct"), PairOutcome((), "no_correct"), PairOutcome((), "identical", 1)]
    report = make_report(rows, [kept, *skipped])
    assert report.queries == 4
    assert report.skipped == {"no_correct": 2, "identical": 1}
    assert report.identical == 3
    assert (report.pairs, report.reused) == (4, 1)
    assert report.reasons == {"wrong": 2, "longer": 1}  # of the new ones
    assert report.chosen_length == pytest.approx(20)
    assert report.rejected_length == pytest.approx(30)
    assert report.length_gap == pytest.approx(10)
    assert report.both_correct == pytest.approx(0.5)
    assert report.modes == {"reasoning": 0.75, "non_reasoning": 0.25}
    assert report.languages == {"en": 0.5, "ko": 0.25, "unknown": 0.25}


def test_report_of_no_pair_at_all():
    report = make_report([], [PairOutcome((), "no_correct")])
    assert report.pairs == 0
    assert report.chosen_length == 0
    assert report.skipped == {"no_correct": 1}
