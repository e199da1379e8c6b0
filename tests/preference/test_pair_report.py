import pytest

from posttrain.preference.pair_report import PairRow, make_report
from posttrain.preference.pair_table import make_examples, show_report
from posttrain.preference.pairs import Pair, PairOutcome


def row(
    chosen,
    rejected,
    reason,
    *,
    mode="reasoning",
    language="en",
    domain="math",
    outcomes=(True, False),
    in_language=(None, None),
    answers=("7", "8"),
    reused=False,
):
    return PairRow(
        query=0,
        prompt='[{"role": "user", "content": "?"}]',
        prompt_ids=[1],
        chosen_ids=[1] * chosen,
        rejected_ids=[1] * rejected,
        chosen_untrained=0,
        rejected_untrained=0,
        chosen_text=f"so</think>\n\n{answers[0]}[|endofturn|]",
        rejected_text=f"hence</think>\n\n{answers[1]}[|endofturn|]",
        chosen_outcome=outcomes[0],
        rejected_outcome=outcomes[1],
        chosen_in_language=in_language[0],
        rejected_in_language=in_language[1],
        mode=mode,
        language=language,
        domain=domain,
        reason=reason,
        reused=reused,
    )


def is_reasoning(row: PairRow) -> bool:
    """As under a template that opens the thinking."""
    return row["mode"] == "reasoning"


def test_report_by_hand():
    rows = [
        row(10, 30, "longer", outcomes=(True, True), answers=(" 7", "７"), in_language=(True, True)),
        row(20, 10, "wrong", language="ko", domain=None, in_language=(True, False)),
        row(30, 50, "wrong", mode="non_reasoning", language=None, outcomes=(True, None), in_language=(None, False)),
        row(20, 70, "longer", outcomes=(False, False), in_language=(False, None), reused=True),
        row(10, 10, "preference", outcomes=(None, True), language="ko"),
        row(20, 30, "wrong", outcomes=(None, False)),
        row(10, 12, "longer", outcomes=(True, None)),
        row(12, 20, "longer", outcomes=(True, None)),
    ]
    kept = PairOutcome((Pair(0, 1, "wrong"),), None, {"same_tokens": 2, "same_text": 1})
    skipped = [
        PairOutcome((), "no_correct"),
        PairOutcome((), "no_correct"),
        PairOutcome((), "refused", {"same_text": 4}),
    ]
    report = make_report(rows, [kept, *skipped], is_open=is_reasoning)
    assert report.queries == 4
    assert report.skipped == {"no_correct": 2, "refused": 1}
    assert report.refused == {"same_text": 5, "same_tokens": 2}
    assert (report.pairs, report.reused) == (8, 1)
    assert report.reasons == {"wrong": 3, "longer": 3, "preference": 1}  # of the new ones
    assert report.chosen_length == pytest.approx(132 / 8)
    assert report.rejected_length == pytest.approx(232 / 8)
    assert report.length_gap == pytest.approx(100 / 8)  # 20, -10, 20, 50, 0, 10, 2, 8
    assert report.median_length_gap == 9
    assert report.chosen_longer == 1 / 8  # sides of one length are none
    assert report.both_correct == 1 / 8  # what nobody could judge is neither correct nor wrong
    assert report.both_wrong == 1 / 8
    assert report.same_answer == 1 / 8
    assert report.chosen_in_language == pytest.approx(2 / 3)
    assert report.rejected_in_language == pytest.approx(1 / 3)
    assert report.domains == {"math": 7 / 8, "unknown": 1 / 8}
    assert report.modes == {"reasoning": 7 / 8, "non_reasoning": 1 / 8}
    assert report.languages == {"en": 5 / 8, "ko": 2 / 8, "unknown": 1 / 8}


def test_sides_that_were_cut_off_in_their_thinking_give_the_same_answer_which_is_none():
    cut = row(10, 30, "longer")
    cut |= {"chosen_text": "so it is", "rejected_text": "hence it must be"}
    assert make_report([cut], [], is_open=lambda _: True).same_answer == 1
    assert make_report([cut], [], is_open=lambda _: False).same_answer == 0


def test_report_of_no_pair_at_all():
    report = make_report([], [PairOutcome((), "no_correct")], is_open=is_reasoning)
    assert report.pairs == 0
    assert report.chosen_length == 0
    assert report.chosen_in_language is None
    assert report.skipped == {"no_correct": 1}


def test_examples_are_at_most_ten_and_of_every_reason():
    rows = [row(10, 30, "longer") for _ in range(80)] + [row(10, 30, "wrong") for _ in range(20)]
    assert [one["reason"] for one in make_examples(rows)] == ["longer"] * 8 + ["wrong"] * 2
    assert len(make_examples(rows[:3])) == 3
    assert make_examples([]) == []


def test_report_is_shown_with_its_examples_on_lines_that_can_be_read(capsys):
    rows = [row(10, 30, "longer", answers=("7", "x" * 500 + " the end"))]
    rows[0]["prompt"] = '[{"role": "user", "content": "What is 3 + [b]4[/b]?"}]'
    outcomes = [PairOutcome((Pair(0, 1, "longer"),), None, {"same_text": 3})]
    show_report(make_report(rows, outcomes, is_open=is_reasoning), make_examples(rows))
    said = capsys.readouterr().out
    assert "candidates refused: same_text" in said
    assert "question  What is 3 + [b]4[/b]?" in said
    assert "the end[|endofturn|]" in said
    assert max(map(len, said.splitlines())) <= 120
