from posttrain.report.load import StageRun, load_stage
from posttrain.report.summary import summary
from tests.report.conftest import profile, write_evaluation


def test_it_tells_the_whole_way_from_the_first_to_the_last_stage(stages):
    assert summary(stages) == (
        "4 stages: SFT, AGAPO, SimPER stage 1 and SimPER stage 2, run in 24 min 40 s. From SFT to SimPER stage 2, "
        "decoded as “reasoning, greedy”, accuracy went from 46.5 % to 75.1 % "
        "and mean thinking from 46.2 to 39.1 tokens."
    )


def test_a_change_within_the_intervals_is_called_that(stages):
    assert "accuracy went from 74.9 % to 74.2 % (the 95 % intervals overlap)" in summary(stages[1:3])


def test_one_evaluated_stage_tells_its_accuracy(stages):
    assert summary(stages[:1]) == (
        "SFT, run in 6 min 10 s. Decoded as “reasoning, greedy”, 46.5 % of the answers are right "
        "(95 % interval 42.5 to 50.5)."
    )


def test_an_evaluation_that_stands_for_itself_is_no_stage_of_the_pipeline(stages, tmp_path):
    alone = load_stage("profile", write_evaluation(tmp_path / "profile", "SFT", content=profile()), None)
    assert summary([*stages, alone]) == summary(stages)
    assert summary([alone]).startswith("profile, run in 6 min 10 s. Decoded as")


def test_a_run_without_times_and_evaluation_is_only_named(tmp_path):
    assert summary([StageRun("SFT", tmp_path, {})]) == "SFT."
