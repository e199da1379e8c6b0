import json

import pytest

from posttrain.errors import UserError
from posttrain.report.load import KEPT_PER_CELL, load_stage


def test_a_missing_run_says_what_is_missing_and_what_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"stage 'SFT'.*no run folder .*nowhere.*posttrain STAGE RECIPE run="):
        load_stage("SFT", tmp_path / "nowhere", None)


def test_a_folder_that_is_no_run_names_both_missing_files(tmp_path):
    with pytest.raises(UserError, match=r"no manifest\.json and no recipe\.yaml"):
        load_stage("SFT", tmp_path, None)


def test_a_missing_evaluation_names_the_command_that_makes_it(make_run, tmp_path):
    with pytest.raises(UserError, match=r"has no eval\.json.*posttrain eval RECIPE run="):
        load_stage("SFT", make_run("SFT"), tmp_path / "eval")


def test_a_half_written_last_line_is_skipped(make_run):
    run = make_run("AGAPO")
    whole = load_stage("AGAPO", run, None)
    for name in ("metrics.jsonl", "samples.jsonl"):
        with (run / name).open("ab") as file:
            file.write('{"step": 46, "reward": 0.7, "answer": "정'.encode()[:-1])
    cut = load_stage("AGAPO", run, None)
    assert cut.metrics == whole.metrics
    assert cut.samples == whole.samples


def test_a_broken_line_in_the_middle_is_named(make_run):
    run = make_run("SFT")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([*lines[:6], "garbage\n", *lines[6:]]))
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 7 is not a JSON object"):
        load_stage("SFT", run, None)


def test_a_run_without_metrics_and_samples_loads(make_run):
    run = make_run("SFT")
    (run / "metrics.jsonl").unlink()
    (run / "samples.jsonl").unlink()
    stage = load_stage("SFT", run, None)
    assert (stage.metrics, stage.samples, stage.evaluation) == ([], [], None)


def test_a_broken_manifest_is_a_user_error(make_run):
    run = make_run("SFT")
    (run / "manifest.json").write_text('{"stage": ')
    with pytest.raises(UserError, match=r"manifest\.json is not JSON"):
        load_stage("SFT", run, None)


@pytest.mark.parametrize("content", ["[]", "{}", '{"decodings": [{"name": "x"}]}', '{"decodings": [1]}'])
def test_a_file_that_is_no_evaluation_is_a_user_error(make_run, make_evaluation, content):
    evaluation = make_evaluation("SFT")
    (evaluation / "eval.json").write_text(content)
    with pytest.raises(UserError, match=r"eval\.json"):
        load_stage("SFT", make_run("SFT"), evaluation)


def test_an_interval_that_was_not_measured_is_absent(make_run, make_evaluation):
    evaluation = make_evaluation("SFT")
    content = json.loads((evaluation / "eval.json").read_text())
    content["decodings"][0]["groups"]["all"]["accuracy"] = {"mean": None, "low": None, "high": None}
    (evaluation / "eval.json").write_text(json.dumps(content))
    decoding = load_stage("SFT", make_run("SFT"), evaluation).decoding("reasoning, greedy")
    assert decoding.metric("accuracy") is None
    assert decoding.metric("thinking_tokens").mean == 46.2
    assert decoding.metric("accuracy", "fr") is None


def test_a_value_that_is_no_finite_number_becomes_a_gap(make_run):
    run = make_run("SFT")
    (run / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 2}\n{"step": 2, "loss": null}\n{"step": 3, "loss": NaN}\n{"step": 4}\n'
    )
    assert load_stage("SFT", run, None).series("loss") == [(1, 2.0), (2, None), (3, None)]


def test_samples_are_a_bounded_spread_of_early_and_late_ones(make_run):
    run = make_run("AGAPO")
    rows = [{"step": step, "mode": "reasoning", "language": "en", "outcome": step % 2 == 0} for step in range(1000)]
    (run / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = load_stage("AGAPO", run, None).samples
    assert len(samples) == 2 * 2 * KEPT_PER_CELL
    assert {sample["step"] for sample in samples} == {0, 1, 2, 3, 996, 997, 998, 999}
    assert {sample["source"] for sample in samples} == {"training"}


def test_samples_of_the_evaluation_come_first(stages):
    sources = [sample["source"] for sample in stages[0].samples]
    assert set(sources) == {"evaluation", "training"}
    assert sources == sorted(sources)
