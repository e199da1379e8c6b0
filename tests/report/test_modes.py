from posttrain.report.load import StageRun, load_stage
from posttrain.report.modes import mode_table
from tests.report.conftest import profile


def test_each_decoding_has_a_row_with_its_lengths_its_speed_and_its_faults(make_evaluation):
    table = mode_table([load_stage("profile", make_evaluation("SFT", content=profile()), None)])
    written = {decoding: dict(zip(table.heads, cells, strict=True)) for decoding, cells in table.stages["profile"]}
    assert list(written) == [
        "reasoning, budget 8",
        "reasoning, budget 16",
        "reasoning, budget 32",
        "reasoning",
        "non-reasoning",
    ]
    reasoning = {head: cell for (head, _), cell in written["reasoning"].items()}
    assert reasoning == {
        "Accuracy": "75.0",
        "pass@4": "90.0",
        "Majority": "80.0",
        "Thinking": "39.1",
        "Answer": "6.7",
        "Latency": "0.41",
        "Speed": "2,710",
        "Thinks": "100.0",
        "At budget": "0.0",
        "Cut off": "1.0",
        "Loops": "0.5",
    }
    assert written["non-reasoning"]["pass@4", "%"] == "–"


def test_what_no_evaluation_measured_has_no_column(stages, tmp_path):
    assert "pass@4" not in [head for head, _ in mode_table(stages).heads]
    assert mode_table([StageRun("SFT", tmp_path, {})]).stages == {}
