import json
import shutil
from pathlib import Path

import pytest

from posttrain.cli import main
from posttrain.errors import UserError
from posttrain.report.discover import find_stages
from posttrain.report.table import stage_rows
from tests.report.conftest import write_pipeline


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return write_pipeline(tmp_path / "demo")


def test_a_pipelines_stages_come_in_the_order_in_which_they_were_started_each_with_its_evaluation(pipeline):
    stages = find_stages([pipeline])
    assert [stage.name for stage in stages] == ["sft", "rl", "pref-stage1", "pref-stage2", "profile"]
    labels = [stage.evaluation.label for stage in stages]
    assert labels == ["SFT", "AGAPO", "SimPER stage 1", "SimPER stage 2", "profile"]


def test_a_folder_that_was_moved_keeps_its_evaluations_with_its_stages(pipeline, tmp_path):
    moved = pipeline.rename(tmp_path / "elsewhere")
    assert [stage.evaluation.label for stage in find_stages([moved])][:2] == ["SFT", "AGAPO"]


def test_a_single_run_is_a_report_and_finds_no_evaluation_beside_it(pipeline):
    (stage,) = find_stages([pipeline / "rl"])
    assert (stage.name, stage.place, stage.evaluation) == ("rl", "rl", None)


def test_runs_that_are_named_themselves_are_one_pipeline_and_those_of_a_kind_share_their_charts(pipeline):
    named = [pipeline / name for name in ("pref-stage2", "eval-sft", "sft", "pref-stage1")]
    stages = find_stages(named)
    assert [stage.name for stage in stages] == ["sft", "pref-stage1", "pref-stage2"]
    assert [stage.evaluation is not None for stage in stages] == [True, False, False]
    assert {stage.pipeline for stage in stages} == {""}
    assert [stage.place for stage in stages] == ["sft", "pref", "pref"]


def test_two_pipelines_are_told_apart_by_name_and_compared_stage_by_stage(pipeline, tmp_path):
    stages = find_stages([pipeline, write_pipeline(tmp_path / "other", seed=1)])
    assert [stage.name for stage in stages][:2] == ["demo/sft", "demo/rl"]
    assert [stage.place for stage in stages if stage.name.endswith("/rl")] == ["rl", "rl"]
    first = {row.stage: row.cells[0].delta for row in stage_rows(stages) if row.decoding == "reasoning, greedy"}
    assert first["other/sft"] == ""  # compared with no stage of the other pipeline
    assert first["other/rl"] == first["demo/rl"] == "+28.4"


def test_a_folder_named_twice_is_there_once(pipeline):
    assert len(find_stages([pipeline / "sft", pipeline / "sft"])) == 1


def test_an_evaluation_that_is_still_running_does_not_stop_the_report(pipeline):
    (pipeline / "eval-rl" / "eval.json").unlink()
    stages = {stage.name: stage for stage in find_stages([pipeline])}
    assert stages["rl"].evaluation is None
    assert stages["eval-rl"].evaluation is None


@pytest.mark.parametrize(("name", "message"), [("nowhere", "there is no folder"), ("empty", "has no run")])
def test_a_folder_without_runs_is_a_user_error(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        find_stages([tmp_path / name])


def test_the_command_writes_the_page_into_a_single_folder(pipeline, capsys):
    assert main(["report", str(pipeline)]) == 0
    page = (pipeline / "report.html").read_text()
    assert "<title>demo</title>" in page
    assert "46.5 [42.5, 50.5]" in capsys.readouterr().out


def test_the_command_writes_a_comparison_where_it_is_told_to(pipeline, tmp_path):
    other = write_pipeline(tmp_path / "other", seed=1)
    out = tmp_path / "pages" / "both.html"
    assert main(["report", str(pipeline), str(other), "--out", str(out)]) == 0
    assert "<title>demo and other</title>" in out.read_text()
    assert list(out.parent.iterdir()) == [out]  # nothing is left of what was written aside


def test_two_folders_without_out_go_to_the_working_directory(pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(pipeline / "sft"), str(pipeline / "rl")]) == 0
    assert (tmp_path / "report.html").is_file()


def test_out_with_a_recipe_and_out_that_is_a_folder_are_user_errors(pipeline, tmp_path, capsys):
    recipe = tmp_path / "report.yaml"
    recipe.write_text(f"stage: report\nrun: {tmp_path}/report\ntitle: t\nstages: [{{name: s, run: {pipeline}/sft}}]\n")
    assert main(["report", str(recipe), "--out", str(tmp_path / "page.html")]) == 2
    assert "--out is for run folders" in capsys.readouterr().err
    assert main(["report", str(pipeline), "--out", str(tmp_path)]) == 2
    assert "is a folder, need a file" in capsys.readouterr().err


def test_runs_of_an_older_version_make_a_report(pipeline):
    path = pipeline / "eval-sft" / "eval.json"
    content = json.loads(path.read_text())
    for decoding in content["decodings"]:
        for key in ("thinking_budget", "latency", "tokens_per_second"):
            del decoding[key]
        for group in decoding["groups"].values():
            for key in ("thinks", "looping", "budget_reached"):
                del group[key]
    path.write_text(json.dumps(content))
    shutil.rmtree(pipeline / "profile")
    assert find_stages([pipeline])[0].decoding("reasoning, greedy").metric("accuracy").mean == 0.465
