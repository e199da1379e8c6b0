from posttrain.report.conversations import LONGEST_TEXT, facts, filters, interleave, text, verdict
from posttrain.report.load import StageRun


def stage(tmp_path, name, *samples):
    return StageRun(
        name, tmp_path, {}, samples=[{"source": "training", "mode": "reasoning", **each} for each in samples]
    )


def test_stages_take_turns(tmp_path):
    shown = interleave([stage(tmp_path, "a", {"step": 1}, {"step": 2}, {"step": 3}), stage(tmp_path, "b", {"step": 9})])
    assert [(each["stage"], each["step"]) for each in shown] == [("a", 1), ("b", 9), ("a", 2), ("a", 3)]


def test_an_outcome_is_right_wrong_or_not_judged(tmp_path):
    shown = interleave([stage(tmp_path, "a", {"outcome": True}, {"outcome": False}, {"outcome": None}, {})])
    assert [each["judged"] for each in shown] == ["right", "wrong", "not judged", "not judged"]


def test_a_filter_is_offered_only_where_there_is_a_choice(tmp_path):
    rows = [{"language": "en", "outcome": True}, {"language": "ko", "outcome": True}]
    offered = filters(interleave([stage(tmp_path, "a", *rows)]))
    assert [(each.label, each.key, each.choices) for each in offered] == [
        ("Language", "language", [("en", "English"), ("ko", "Korean")])
    ]


def test_facts_of_a_rollout_and_of_an_evaluated_answer():
    rollout = {"source": "training", "mode": "non_reasoning", "language": "es", "step": 7, "num_tokens": 12}
    rollout |= {"is_truncated": True, "group_type": "all_wrong", "reward": 0.0, "advantage": -0.1}
    said = [
        "non-reasoning",
        "Spanish",
        "training step 7",
        "12 tokens",
        "cut off",
        "group all wrong",
        "reward 0",
        "advantage −0.1",
    ]
    assert facts(rollout) == said
    assert facts({"source": "evaluation", "mode": "reasoning", "decoding": "T=0.6", "reward": None}) == ["T=0.6"]


def test_a_verdict_says_score_reading_and_reason():
    assert verdict({"score": 1.0, "outcome": True, "extracted": "8", "reason": "equal"}) == "1 · read “8” · equal"
    assert (
        verdict({"score": None, "outcome": None, "extracted": None, "reason": "no reference"})
        == "cannot be judged · no reference"
    )


def test_endless_text_is_cut_and_says_so():
    assert text("x" * (LONGEST_TEXT + 5)).endswith("\n… 5 more characters in samples.jsonl")
    assert text("x" * LONGEST_TEXT) == "x" * LONGEST_TEXT


def test_content_that_is_no_text_is_written_as_json():
    assert text([{"type": "text", "text": "한"}]) == '[\n  {\n    "type": "text",\n    "text": "한"\n  }\n]'
    assert text(None) == ""
