import json

from posttrain.report.discover import find_stages
from posttrain.report.gate_charts import gate_charts
from posttrain.report.load import load_stage
from posttrain.report.page import write_report
from tests.report.conftest import write_lines, write_run


def gate(step, right, loss=2.0):
    cells = [
        {"task": "needle", "length": 64, "depth": depth, "right": right if depth else 2, "asked": 2}
        for depth in (0.0, 0.5)
    ]
    return {"step": step, "tokens": 9 * step, "cells": cells, "short_loss": loss, "short_loss_before": 2.0}


def ladder(folder):
    """A context run of two lengths, as its folder lies on disk."""
    write_run(folder, "SFT")
    for number, name in enumerate(("1k", "4k")):
        run = write_run(folder / name, "SFT")
        start = {"step": 0, "tokens": 0, "cells": [], "short_loss": 2.1, "short_loss_before": 2.0}
        write_lines(run / "gate.jsonl", [start, gate(5, 0), gate(10, 2, loss=1.9)])
        manifest = json.loads((run / "manifest.json").read_text())
        (run / "manifest.json").write_text(json.dumps(manifest | {"started": f"2026-03-0{number + 1}T10:00:00+00:00"}))
    return folder


def test_map_is_of_the_last_gate_and_says_how_many_were_right(tmp_path):
    stage = load_stage("1k", ladder(tmp_path / "context") / "1k", None)
    (trace,) = gate_charts([stage])[-1].figure["data"]
    assert (trace["x"], trace["y"], trace["z"]) == (["64"], ["0.0", "0.5"], [[100.0], [100.0]])
    assert trace["hovertext"] == [["2 of 2"], ["2 of 2"]]
    assert gate_charts([stage])[-1].note == "needle, last gate, step 10; accuracy in %"


def test_history_has_a_point_for_each_gate_and_the_short_loss_one_more_for_the_start(tmp_path):
    stage = load_stage("1k", ladder(tmp_path / "context") / "1k", None)
    history, short_loss, _ = gate_charts([stage])
    assert [(trace["x"], trace["y"]) for trace in history.figure["data"]] == [([5, 10], [0.5, 1.0])] * 2
    assert [trace["y"] for trace in short_loss.figure["data"]] == [[2.1, 2.0, 1.9], [2.0, 2.0, 2.0]]


def test_short_loss_that_was_not_watched_is_not_drawn(tmp_path):
    run = ladder(tmp_path / "context") / "1k"
    write_lines(run / "gate.jsonl", [gate(5, 2, loss=None)])
    assert len(gate_charts([load_stage("1k", run, None)])) == 2


def test_context_run_is_shown_by_its_stages_in_their_order(tmp_path):
    stages = find_stages([ladder(tmp_path / "context")])
    assert [stage.name for stage in stages] == ["1k", "4k"]
    page = write_report(stages, title="ladder", out=tmp_path / "report.html").read_text()
    assert page.count('<section id="gate">') == 1


def test_page_without_a_gate_has_no_section_for_it(tmp_path):
    stage = load_stage("SFT", write_run(tmp_path / "sft", "SFT"), None)
    assert gate_charts([stage]) == []
    assert 'id="gate"' not in write_report([stage], title="sft", out=tmp_path / "report.html").read_text()
