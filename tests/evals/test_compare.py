"""Two evaluations on disk, as a stage writes them, told apart from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.cli import main
from posttrain.errors import UserError
from posttrain.evals.compare import compare_runs


def evaluation(
    run: Path, label: str, outcomes: dict[str, list[list[bool | None]]], *, benchmark: str = "sums", gold: str = "7"
) -> Path:
    """A run folder whose answers have these outcomes: by decoding, then by question, then by sample."""
    run.mkdir()
    records = [
        record(decoding, benchmark, number, sample, outcome, gold)
        for decoding, questions in outcomes.items()
        for number, samples in enumerate(questions)
        for sample, outcome in enumerate(samples)
    ]
    (run / "samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    (run / "eval.json").write_text(json.dumps({"label": label}))
    return run


def record(decoding: str, benchmark: str, number: int, sample: int, outcome: bool | None, gold: str) -> dict[str, Any]:
    where = {"decoding": decoding, "benchmark": benchmark, "question": number, "sample": sample}
    return {**where, "fingerprint": f"{benchmark} {number} {gold}", "outcome": outcome}


RIGHT, WRONG = [True], [False]


def test_the_better_model_is_named_by_benchmark_and_decoding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = evaluation(tmp_path / "a", "SFT", {"greedy": [WRONG] * 10 + [RIGHT] * 2, "T=1": [RIGHT] * 3 + [WRONG] * 9})
    second = evaluation(tmp_path / "b", "AGAPO", {"greedy": [RIGHT] * 12, "T=1": [RIGHT] * 3 + [WRONG] * 9})
    assert main(["compare", str(first), str(second)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "greedy"
    assert lines[1].startswith("  sums: 16.7% and 100.0%: AGAPO is better than SFT by 83.3 points [")
    assert lines[1].endswith("(12 questions, p = 0.002, McNemar's exact test)")
    assert lines[2:4] == ["T=1", "  sums: 25.0% and 25.0%: SFT and AGAPO do equally well at each of 12 questions"]
    assert lines[4] == "2 comparisons: where there is no difference, 5% of them look clear"


def test_two_modes_of_one_run_are_compared_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(evaluation(tmp_path / "a", "SFT", {"direct": [[False, False]] * 8, "thinks": [[True, False]] * 8}))
    assert main(["compare", run, run, "--decodings", "direct", "thinks"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "direct and thinks\n  sums: 0.0% and 50.0%: 'thinks' is better than 'direct' by 50.0 points [50.0, 50.0]"
    )
    assert "permutation test over questions" in said


def test_models_of_one_label_are_told_apart_by_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = evaluation(tmp_path / "a", "model", {"greedy": [WRONG] * 8})
    second = evaluation(tmp_path / "b", "model", {"greedy": [RIGHT] * 8})
    compare_runs(first, second)
    assert f"{second} is better than {first} by 100.0 points" in capsys.readouterr().out


def test_only_questions_that_both_sides_can_judge_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = evaluation(tmp_path / "a", "A", {"greedy": [[None], RIGHT, RIGHT], "open": [[None]] * 3})
    second = evaluation(tmp_path / "b", "B", {"greedy": [RIGHT, RIGHT, [None]], "open": [[None]] * 3})
    compare_runs(first, second)
    said = capsys.readouterr().out
    assert "A and B do equally well at each of 1 question\n" in said
    assert "no question can be called right or wrong on both sides" in said


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"outcomes": {"greedy": [RIGHT] * 3}}, r"did not answer the same questions of sums \(4 and 3 of them\)"),
        ({"gold": "8"}, r"did not answer the same questions of sums \(number 0 differs\)"),
        ({"benchmark": "words"}, "have no benchmark in common: sums and words"),
        ({"outcomes": {"T=1": [RIGHT] * 4}}, "have no decoding of the same name: greedy and T=1"),
    ],
)
def test_what_is_not_the_same_is_refused(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    first = evaluation(tmp_path / "a", "A", {"greedy": [RIGHT] * 4})
    second = evaluation(tmp_path / "b", "B", **({"outcomes": {"greedy": [RIGHT] * 4}} | other))
    with pytest.raises(UserError, match=said):
        compare_runs(first, second)


def test_what_is_no_evaluation_is_refused(tmp_path: Path) -> None:
    run = evaluation(tmp_path / "a", "A", {"greedy": [RIGHT]})
    with pytest.raises(UserError, match=r"has no samples.jsonl, so it is not an evaluation"):
        compare_runs(run, tmp_path)
    with pytest.raises(UserError, match="twice: it is the same; name two of its decodings"):
        compare_runs(run, run)
    with pytest.raises(UserError, match="has no decoding 'greedi', did you mean 'greedy'"):
        compare_runs(run, run, ("greedy", "greedi"))
    (run / "samples.jsonl").write_text('{"decoding": "greedy", "outcome": true}\n')
    with pytest.raises(UserError, match="evaluate again"):
        compare_runs(run, tmp_path / "a", ("greedy", "other"))
