import pytest

from posttrain.report import health
from posttrain.report.evaluation import Decoding, Evaluation, Group, Interval
from posttrain.report.health import asked_ratio, findings
from posttrain.report.load import StageRun, load_stage
from tests.report.conftest import profile


@pytest.fixture
def said(tmp_path):
    """`said(rows, manifest=...)`: text -> is_fine of every finding on a run with these metrics."""

    def judge(rows=(), *, manifest=None, recipe="", evaluation=None):
        stage = StageRun("s", tmp_path, manifest or {}, recipe, list(rows), evaluation=evaluation)
        return {finding.text: finding.is_fine for finding in findings(stage)}

    return judge


def curve(key, values):
    return [{"step": step, key: value} for step, value in enumerate(values, start=1)]


def evaluated(**metrics):
    groups = {"all": Group(600, {name: Interval(mean, mean, mean) for name, mean in metrics.items()})}
    return Evaluation("s", "model", 600, {"greedy": Decoding("greedy", "reasoning", {}, groups)})


def test_nothing_is_said_about_data_that_is_not_there(said):
    assert said() == {}


@pytest.mark.parametrize("refused", [{}, {"chosen_wrong": 3, "same_text": 1}])
def test_pairs_are_summed_up_and_rewards_that_prefer_wrong_responses_are_called_out(said, refused):
    made = {
        "pairs": 10,
        "queries": 12,
        "reused": 2,
        "reasons": {"longer": 6, "wrong": 2},
        "chosen_length": 40.0,
        "rejected_length": 60.0,
        "both_correct": 0.75,
        "refused": refused,
    }
    found = said(manifest={"stage": "pairs", "notes": {"pairs": made}})
    assert (
        found.items()
        >= {
            "10 pairs of 12 queries, 2 reused; rejected: 6 longer, 2 wrong": True,
            "40 tokens chosen, 60 rejected; both sides right in 75.0 % of the pairs": True,
        }.items()
    )
    warnings = [text for text, is_fine in found.items() if not is_fine]
    assert warnings == (["the highest reward went to a wrong response at 3 queries"] if refused else [])


def test_weights_in_sync_are_reported_with_the_largest_mismatch(said):
    rows = [
        {"step": step, "rollout/weights_in_sync": 1, "rollout/mismatch_kl": kl}
        for step, kl in ((1, 0.0003), (2, 0.0002))
    ]
    assert said(rows) == {"weights in sync at every step: largest mismatch KL 0.0003 nats a token": True}


@pytest.mark.parametrize(
    ("recipe", "limit"),
    [("model: {dtype: bfloat16}", "0.005"), ("{model: {dtype: float32}, trainer: {max_mismatch_kl: 0.001}}", "0.001")],
)
def test_a_mismatch_above_the_limit_of_the_recipe_is_told_with_both_numbers(said, recipe, limit):
    text = f"rollout and trainer disagree, most at step 2: largest mismatch KL 0.02 nats a token, limit {limit}"
    assert said(curve("rollout/mismatch_kl", [0.0, 0.02, 0.0]), recipe=recipe) == {text: False}


def test_stale_weights_are_called_by_name(said):
    text = "rollout and trainer disagree, as with stale weights: at 2 steps, first at step 2 of 3"
    assert said(curve("rollout/weights_in_sync", [1, 0, 0])) == {text: False}


def test_a_gradient_spike_names_its_step_and_size(said):
    assert said(curve("grad_norm", [1.0] * 30 + [8.0] + [1.0] * 9)) == {
        "gradient norm spiked at step 31: 8, 8 times the median, limit 5": False
    }


def test_large_gradients_while_warming_up_are_no_spike(said):
    assert said(curve("grad_norm", [9.0, 8.0] + [1.0] * 38)) == {
        "gradient norm without spikes: median 1, largest 9": True
    }


def test_numbers_that_are_not_finite_are_reported(said):
    assert said(curve("grad_norm", [1.0, None, 1.0]))["gradient norm was not a finite number at step 2"] is False


@pytest.mark.parametrize(("ratio", "is_fine"), [(1.5, True), (1.56, True), (1.8, False), (1.2, False)])
def test_the_token_ratio_is_held_against_the_recipe(said, ratio, is_fine):
    recipe = "mixer: {args: {shares: {reasoning: 3, non_reasoning: 2}}}"
    text = f"realised token ratio {ratio:.2f}, asked for 1.50{'' if is_fine else '; more than 5.0 % off'}"
    assert said(curve("tokens/ratio", [9.0, ratio]), recipe=recipe) == {text: is_fine}


def test_shares_of_domains_leave_the_asked_ratio_as_it_is(tmp_path):
    recipe = "mixer: {args: {shares: {reasoning: {share: 3, domains: {math: 2, code: 1}}, non_reasoning: 2}}}"
    assert asked_ratio(StageRun("s", tmp_path, {}, recipe)) == 1.5


def test_without_a_mixer_the_token_ratio_is_only_told(said):
    assert said(curve("tokens/ratio", [1.5])) == {"realised token ratio, reasoning to non-reasoning, 1.50": True}


@pytest.mark.parametrize("recipe", ["", "mixer: null", "mixer: {args: {shares: {a: 1}}}", "[", "- 1"])
def test_a_recipe_that_asks_for_no_ratio_has_none(tmp_path, recipe):
    assert asked_ratio(StageRun("s", tmp_path, {}, recipe)) is None


def test_a_reward_that_falls_is_instability_when_the_gradients_spike_too(said):
    rewards = [0.4 + 0.03 * step for step in range(10)] + [0.3] * 10
    fell = "reward was 0.655 around step 9 and ended at 0.3, below 80.0 % of its best"
    assert said(curve("reward", rewards)) == {f"reward fell: {fell}": False}
    norms = [1.0] * 12 + [20.0] + [1.0] * 7
    rows = [
        {"step": step + 1, "reward": reward, "grad_norm": norm}
        for step, (reward, norm) in enumerate(zip(rewards, norms, strict=True))
    ]
    assert said(rows)[f"RL instability: {fell}"] is False


def test_a_reward_that_rises_is_fine(said):
    assert said(curve("reward", [0.2, 0.4, 0.6])) == {"reward rose from 0.2 to 0.6": True}


def test_mode_adherence_is_the_worst_decodings(said):
    assert said(evaluation=evaluated(mode_adherence=0.998)) == {"mode adherence 99.8 %, limit 95.0 % (greedy)": True}
    assert said(evaluation=evaluated(mode_adherence=0.6)) == {
        "mode collapse: adherence only 60.0 %, limit 95.0 % (greedy)": False
    }


def test_truncation_is_only_told_when_it_hurts(said):
    assert said(evaluation=evaluated(truncated=0.01)) == {}
    text = "truncation: 30.0 % of the answers ran out of tokens, limit 5.0 % (greedy)"
    assert said(evaluation=evaluated(truncated=0.3)) == {text: False}


def test_answers_that_go_in_circles_are_degeneration(said):
    assert said(evaluation=evaluated(looping=0.01)) == {}
    text = "degeneration: 3.0 % of the answers go in circles, limit 2.0 % (greedy)"
    assert said(evaluation=evaluated(looping=0.03)) == {text: False}


@pytest.mark.slow
def test_the_limits_are_those_that_training_and_evaluation_go_by():
    from posttrain.evals import results
    from posttrain.rl.rollout_checks import MAX_MISMATCH_KL

    assert pytest.approx((results.COLLAPSED, results.TRUNCATED, results.LOOPING)) == (
        1 - health.ADHERENCE,
        health.TRUNCATION,
        health.LOOPING,
    )
    assert {str(dtype).removeprefix("torch."): limit for dtype, limit in MAX_MISMATCH_KL.items()} == health.MISMATCH_KL


def test_what_a_budget_cut_short_is_no_fault_of_the_model(said, make_evaluation):
    content = profile()
    content["decodings"][0]["groups"]["all"]["mode_adherence"] = {"mean": 0.1, "low": 0.1, "high": 0.1}
    evaluation = load_stage("profile", make_evaluation("SFT", content=content), None).evaluation
    assert not [text for text in said(evaluation=evaluation) if "collapse" in text]


@pytest.mark.parametrize(
    ("manifest", "text", "is_fine"),
    [
        ({"status": "finished", "seconds": 370.0}, "finished after 6 min 10 s", True),
        ({"status": "finished", "seconds": 370.0, "resumed": [{}]}, "finished after 6 min 10 s, resumed 1 time", True),
        (
            {"status": "failed", "seconds": 5, "notes": {"error": "OSError: full"}},
            "failed after 5 s: OSError: full",
            False,
        ),
        ({"status": "interrupted", "seconds": None}, "interrupted", False),
    ],
)
def test_how_a_run_ended_is_told(said, manifest, text, is_fine):
    assert said(manifest=manifest) == {text: is_fine}


def test_both_probabilities_falling_together_wants_a_look(said):
    rows = [{"step": step, "prob/chosen": 0.8 / step, "prob/rejected": 0.7 / step} for step in (1, 2)]
    assert list(said(rows).values()) == [False]


def test_what_wants_a_look_comes_first(said):
    rows = curve("grad_norm", [1.0] * 30 + [8.0])
    assert list(said(rows, manifest={"status": "finished"}).values()) == [False, True]


def test_a_skipped_update_is_called_out_once_with_where_its_rows_are(said):
    rows = curve("loss", [2.0, None, 1.0, None, 0.5])
    rows[1]["guard/skipped"] = rows[3]["guard/skipped"] = 1.0
    warnings = [text for text, is_fine in said(rows).items() if not is_fine]
    text = (
        "update skipped, as loss or gradient was not finite: 2 steps, first at step 2; the rows are in culprits.jsonl"
    )
    assert warnings == [text]
