import pytest
from rich.console import Console

from posttrain.report.evaluation import Decoding, Evaluation, Group, Interval
from posttrain.report.load import StageRun
from posttrain.report.table import markdown_table, row_blocks, stage_rows, terminal_table


@pytest.fixture
def make_stage(tmp_path):
    def make(name, **decodings):
        """`decodings`: name -> (accuracy, low, high, mean thinking tokens)."""
        evaluated = {}
        for decoding, (mean, low, high, tokens) in decodings.items():
            metrics = {"accuracy": Interval(mean, low, high), "thinking_tokens": Interval(tokens, tokens, tokens)}
            evaluated[decoding] = Decoding(decoding, "reasoning", {}, {"all": Group(600, metrics)})
        evaluation = Evaluation(name, "model", 600, evaluated) if decodings else None
        return StageRun(name, tmp_path, {}, evaluation=evaluation)

    return make


def printed(stages):
    console = Console(width=100, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(terminal_table(stages))
    return capture.get()


def test_a_delta_is_taken_against_the_stage_before_and_is_clear_only_when_intervals_are_apart(make_stage):
    stages = [
        make_stage("SFT", greedy=(0.465, 0.425, 0.505, 46.2)),
        make_stage("AGAPO", greedy=(0.749, 0.714, 0.784, 48.9)),
        make_stage("SimPER", greedy=(0.742, 0.707, 0.777, 39.4)),
    ]
    first, second, third = (row.cells[0] for row in stage_rows(stages))
    assert (first.mean, first.interval, first.delta, first.is_clear) == ("46.5", "[42.5, 50.5]", "", False)
    assert (second.mean, second.interval, second.delta, second.is_clear) == ("74.9", "[71.4, 78.4]", "+28.4", True)
    assert (third.delta, third.is_clear) == ("−0.7", False)


def test_a_stage_without_the_decoding_has_no_row_and_is_no_baseline(make_stage):
    stages = [make_stage("a", x=(0.1, 0.0, 0.2, 5.0)), make_stage("b"), make_stage("c", x=(0.3, 0.25, 0.35, 4.0))]
    rows = stage_rows(stages)
    assert [row.stage for row in rows] == ["a", "c"]
    assert [cell.delta for cell in rows[1].cells[:2]] == ["+20.0", "−1.0"]


def test_a_quantity_that_was_not_measured_leaves_its_cell_empty(make_stage):
    assert stage_rows([make_stage("a", x=(0.1, 0.0, 0.2, 5.0))])[0].cells[2:] == (None, None)


def test_rows_come_in_blocks_of_one_decoding_in_order_of_appearance(make_stage):
    stages = [make_stage("a", x=(0.1, 0.0, 0.2, 5.0)), make_stage("b", y=(0.1, 0.0, 0.2, 5.0), x=(0.1, 0.0, 0.2, 5.0))]
    blocks = [(name, [row.stage for row in rows]) for name, rows in row_blocks(stages)]
    assert blocks == [("x", ["a", "b"]), ("y", ["b"])]


def test_the_markdown_table_is_this_one(make_stage):
    stages = [make_stage("SFT", greedy=(0.465, 0.425, 0.505, 46.24)), make_stage("a|b", greedy=(0.5, 0.4, 0.6, 40.0))]
    assert markdown_table(stages) == (
        "| Decoding | Stage | Accuracy % | Thinking tokens | Right mode % | Right language % |\n"
        "| --- | --- | ---: | ---: | ---: | ---: |\n"
        "| greedy | SFT | 46.5 [42.5, 50.5] | 46.2 | – | – |\n"
        "|  | a\\|b | 50.0 [40.0, 60.0] | 40.0 | – | – |"
    )


def test_the_terminal_table_fits_100_columns_and_cuts_no_number(stages):
    text = printed(stages)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for _, rows in row_blocks(stages):
        for row in rows:
            line = f"{row.cells[0].mean} {row.cells[0].interval}"
            assert any(row.stage in each and line in each for each in text.splitlines())


def test_perfect_scores_and_long_chains_still_fit_100_columns(make_stage):
    stages = [
        make_stage("SimPER stage 1", **{"non-reasoning, greedy": (1.0, 0.994, 1.0, 31024.0)}),
        make_stage("SimPER stage 2", **{"non-reasoning, greedy": (1.0, 0.994, 1.0, 12.0)}),
    ]
    text = printed(stages)
    assert "100.0 [99.4, 100.0]" in text
    assert "31,024" in text
    assert max(map(len, text.splitlines())) <= 100


def test_runs_without_any_evaluation_make_a_table_that_says_so(make_stage):
    assert "not evaluated" in printed([make_stage("SFT")])
    assert "| not evaluated | SFT | – | – | – | – |" in markdown_table([make_stage("SFT")])


def test_names_are_printed_as_they_are_and_not_as_markup(make_stage):
    assert "[bold]x" in printed([make_stage("[bold]x")])
