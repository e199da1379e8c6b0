import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import posttrain.report
from posttrain.report.charts import stage_charts
from posttrain.report.evaluation_charts import budget_chart, group_charts, heat_maps
from posttrain.report.load import StageRun, load_stage
from tests.report.conftest import profile, write_evaluation


@pytest.fixture
def profiled(tmp_path):
    return load_stage("profile", write_evaluation(tmp_path / "profile", "SFT", content=profile()), None)


@pytest.fixture
def charts_of(tmp_path):
    return lambda rows, **options: {
        chart.title: chart for chart in stage_charts([StageRun("s", tmp_path, {}, "", rows)], **options)
    }


def test_only_what_was_logged_is_drawn(charts_of):
    charts = charts_of([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    assert list(charts) == ["Loss"]
    trace = charts["Loss"].figure["data"][0]
    assert (trace["x"], trace["y"]) == ([1, 2], [2.0, 1.0])


def test_a_value_that_is_not_finite_is_a_gap_and_a_curve_of_gaps_is_no_chart(charts_of):
    charts = charts_of([{"step": 1, "loss": 2.0, "kl": None}, {"step": 2, "loss": None, "kl": None}])
    assert list(charts) == ["Loss"]
    assert charts["Loss"].figure["data"][0]["y"] == [2.0, None]


def test_every_domain_has_a_curve_in_the_chart_of_its_mode(charts_of):
    domains = ["agents", "code", "logic", "math"]
    rows = [{"step": 1, "loss": 2.0, **{f"loss/non_reasoning/{domain}": 1.0 for domain in domains}}]
    charts = charts_of(rows)
    assert list(charts) == ["Loss", "Loss, non-reasoning"]
    traces = charts["Loss, non-reasoning"].figure["data"]
    assert [trace["name"] for trace in traces] == domains
    assert len({(trace["line"]["color"], trace["line"]["dash"]) for trace in traces}) == 4


def test_group_shares_are_stacked_between_0_and_1(charts_of):
    rows = [{"step": 1, "groups/all_correct": 0.2, "groups/mixed": 0.5, "groups/all_wrong": 0.3}]
    figure = charts_of(rows)["Groups"].figure
    assert {trace["stackgroup"] for trace in figure["data"]} == {"one"}
    assert [trace["y"] for trace in figure["data"]] == [[0.2], [0.5], [0.3]]
    assert figure["layout"]["yaxis"]["range"] == [0, 1]


def test_a_long_curve_keeps_its_raw_values_under_a_moving_median(charts_of):
    values = [1.0] * 200
    values[100] = 50.0
    raw, smooth = charts_of([{"step": step, "loss": value} for step, value in enumerate(values)])["Loss"].figure["data"]
    assert raw["y"][100] == 50.0
    assert set(smooth["y"]) == {1.0}


def test_the_asked_token_ratio_is_a_level_in_its_chart_only(charts_of):
    charts = charts_of([{"step": 1, "loss": 2.0, "tokens/ratio": 1.4}], asked_ratios=[1.5])
    assert [shape["y0"] for shape in charts["Token ratio"].figure["layout"]["shapes"]] == [1.5]
    assert "shapes" not in charts["Loss"].figure["layout"]


def test_bars_carry_percentages_and_both_sides_of_the_interval(stages):
    accuracy, language = group_charts(stages)["reasoning, greedy"]
    assert [trace["name"] for trace in accuracy.figure["data"]] == [stage.name for stage in stages]
    trace = accuracy.figure["data"][0]
    assert trace["x"] == ["English", "Korean", "Spanish"]
    interval = stages[0].decoding("reasoning, greedy").metric("accuracy", "en")
    assert trace["y"][0] == pytest.approx(100 * interval.mean, rel=1e-4)
    assert trace["error_y"]["array"][0] == pytest.approx(100 * (interval.high - interval.mean), rel=1e-4)
    assert trace["error_y"]["arrayminus"][0] == pytest.approx(100 * (interval.mean - interval.low), rel=1e-4)
    assert language.title == "Answers in the question's language, by language"


def test_several_benchmarks_have_bars_and_one_alone_has_none(stages, profiled):
    titles = [chart.title for chart in group_charts([profiled])["reasoning"]]
    assert "Accuracy, by benchmark" in titles
    assert not [each for charts in group_charts(stages).values() for each in charts if "benchmark" in each.title]


def test_the_budget_curve_is_accuracy_over_thinking_tokens_from_the_smallest_budget_to_none(profiled):
    (trace,) = budget_chart([profiled]).figure["data"]
    assert trace["x"] == [8, 16, 32, 39.1]
    assert trace["y"] == [31, 42, 66, 75]
    assert [text.split("<br>")[1] for text in trace["text"]] == ["budget 8", "budget 16", "budget 32", "no budget"]


def test_evaluations_without_a_sweep_or_cells_have_no_such_charts(stages):
    assert budget_chart(stages) is None
    assert heat_maps(stages) == []


def test_the_heat_map_has_the_accuracy_of_each_length_and_depth(profiled):
    chart = heat_maps([profiled])[-1]
    (trace,) = chart.figure["data"]
    assert chart.note == "needle, reasoning; accuracy in %"
    assert (trace["x"], trace["y"]) == (["1024", "2048", "4096"], ["0.0", "0.5", "1.0"])
    assert trace["z"][2] == [54.5, 34.0, 0.0]  # 1 - length / 5000 - 1 / 4


def test_cells_with_a_task_too_have_a_heat_map_for_each_task(profiled):
    evaluation, name = profiled.evaluation, "reasoning"
    decoding = evaluation.decodings[name]
    cells = [
        cell._replace(at={"task": task, **cell.at}) for task in ("needle", "qa") for cell in decoding.cells["needle"]
    ]
    evaluation = replace(evaluation, decodings={name: replace(decoding, cells={"ruler": cells[:-1]})})
    first, second = heat_maps([replace(profiled, evaluation=evaluation)])
    assert [first.note, second.note] == [f"ruler, {task}, {name}; accuracy in %" for task in ("needle", "qa")]
    assert first.figure["layout"]["xaxis"]["title"]["text"] == "length"
    assert first.figure["data"][0]["z"][:2] == second.figure["data"][0]["z"][:2]
    assert second.figure["data"][0]["z"][2] == [54.5, 34.0, None]


def test_runs_that_are_compared_share_a_chart_and_what_is_stacked_stands_side_by_side(tmp_path):
    rows = [{"step": 1, "loss": 2.0, "kl": 0.1, "groups/mixed": 0.5}]
    charts = stage_charts([StageRun("a/rl", tmp_path, {}, "", rows), StageRun("b/rl", tmp_path, {}, "", rows[:1])])
    assert [chart.title for chart in charts] == ["Groups, a/rl", "Groups, b/rl", "KL to the reference", "Loss"]
    traces = charts[-1].figure["data"]
    assert [(trace["hovertemplate"], trace["line"]["dash"]) for trace in traces] == [
        ("%{y:.3~g}<extra>all, a/rl</extra>", "solid"),
        ("%{y:.3~g}<extra>all, b/rl</extra>", "dash"),
    ]
    assert len({trace["line"]["color"] for trace in traces}) == 1


def test_the_share_of_right_answers_is_drawn_by_language_where_there_are_several(charts_of):
    charts = charts_of(
        [{"step": 1, "outcome/language/ko": 0.5, "outcome/language/en": 0.6, "outcome/domain/math": 1.0}]
    )
    assert list(charts) == ["Share correct by language"]
    assert [trace["name"] for trace in charts["Share correct by language"].figure["data"]] == ["English", "Korean"]


def test_stages_without_evaluation_have_no_bars(make_run, tmp_path):
    assert group_charts([StageRun("s", tmp_path, {})]) == {}


def test_every_colour_is_a_variable_of_the_style_sheet(stages, profiled):
    figures = [chart.figure for stage in stages for chart in stage_charts([stage], asked_ratios=[1.5])]
    figures += [chart.figure for charts in group_charts([*stages, profiled]).values() for chart in charts]
    figures += [budget_chart([profiled]).figure, *(chart.figure for chart in heat_maps([profiled]))]
    text = json.dumps(figures)
    style = (Path(posttrain.report.__file__).parent / "page.css").read_text()
    defined = re.findall(r"(--[\w-]+):", style)
    assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= set(defined)
    assert not re.search(r'"#|rgb|"(red|blue|green|black|white)"', text)
