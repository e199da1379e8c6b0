"""The reward model on a tiny classifier of random weights."""

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from posttrain.errors import UserError
from posttrain.grading.groups import GroupGradingPool
from posttrain.preference.reward_model import RewardModel
from posttrain.recipe import GradingSection, RewardSpec
from rewards.contract import make_attempt

ANSWERS = ["3+4?", "The answer is \\boxed{7}.", "정답은 \\boxed{7} 입니다.", "What is 3+4? " * 5]


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    return save(tokenizer, tmp_path_factory.mktemp("reward_model"))


def save(tokenizer, folder, **changes):
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        **{"num_labels": 1, **changes},
    )
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def group(*answers, **fields):
    return [make_attempt({"answer": answer, **fields}, {}) for answer in answers]


def number(folder, tokenizer, answer):
    """What the model says of one text alone."""
    model = LlamaForSequenceClassification.from_pretrained(folder).eval()
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        return model(input_ids=ids).logits.item()


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_scores_are_expected_shares_of_wins_whatever_the_batch(folder, tokenizer, batch_size):
    numbers = [number(folder, tokenizer, answer) for answer in ANSWERS]
    wins = [[1 / (1 + math.exp(there - here)) for there in numbers] for here in numbers]
    expected = [(sum(row) - 0.5) / 3 for row in wins]  # without the comparison with itself
    verdicts = RewardModel(folder, batch_size=batch_size)(group(*ANSWERS))
    assert [verdict.score for verdict in verdicts] == pytest.approx(expected, abs=1e-5)
    assert [verdict.outcome for verdict in verdicts] == [None] * 4
    assert sum(verdict.score for verdict in verdicts) == pytest.approx(2)  # half a point for each comparison and side
    assert f"reward model: {numbers[0]:.4g}"[:18] in verdicts[0].reason


def test_thinking_changes_nothing(folder):
    plain, thought = (RewardModel(folder)(group(*ANSWERS, thinking=text)) for text in (None, "a long thought " * 50))
    assert plain == thought


def test_empty_and_cut_answers_lose_and_the_only_answer_wins(folder):
    attempts = [*group("fine", " "), *group("half of", is_truncated=True)]
    assert [verdict.score for verdict in RewardModel(folder)(attempts)] == [1.0, 0.0, 0.0]
    assert [verdict.score for verdict in RewardModel(folder)(group("fine"))] == [None]
    assert RewardModel(folder)([]) == []


@pytest.mark.parametrize(("max_length", "limit"), [(None, 256), (40, 40), (9999, 256)])
def test_what_is_longer_than_the_model_reads_is_not_judged(folder, max_length, limit):
    verdicts = RewardModel(folder, max_length=max_length)(group("3+4?", "The answer.", "7" * 300))
    assert [verdict.score is None for verdict in verdicts] == [False, False, True]
    assert verdicts[2].reason.endswith(f"tokens, the reward model reads {limit}")


def test_what_fills_the_reward_model_to_the_last_token_is_judged(folder):
    refused = RewardModel(folder, max_length=1)(group("one", "the other"))
    lengths = [int(verdict.reason.split()[0]) for verdict in refused]
    fitting = RewardModel(folder, max_length=max(lengths))(group("one", "the other"))
    assert [verdict.score is None for verdict in fitting] == [False, False]


def test_it_is_a_reward_of_a_recipe_and_says_where_it_runs(folder):
    spec = RewardSpec(use="posttrain.preference.reward_model:RewardModel", args={"path": folder, "device": "cpu"})
    with GroupGradingPool([spec], GradingSection(workers=0)) as pool:
        (graded,) = pool.grade_groups([group(*ANSWERS)])
        assert pool.descriptions == {"RewardModel": {"model": folder, "device": "cpu"}}
    assert [one.reward for one in graded] == [verdict.score for verdict in RewardModel(folder)(group(*ANSWERS))]


def test_numbers_that_are_not_finite_are_an_error(tokenizer, tmp_path):
    path = save(tokenizer, tmp_path)
    model = LlamaForSequenceClassification.from_pretrained(path)
    torch.nn.init.constant_(model.score.weight, math.nan)
    model.save_pretrained(path)
    with pytest.raises(ValueError, match="need finite numbers"):
        RewardModel(path)(group("a", "b"))


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ({"path": "{two}"}, "has 2 outputs; need a classifier with one"),
        ({"path": "{bare}"}, "has no chat template"),
        ({"path": "/no/such/folder"}, "no reward model could be loaded from '/no/such/folder'"),
        ({"path": "x", "dtype": "int8"}, "dtype='int8', need float32, bfloat16 or float16"),
        ({"path": "x", "batch_size": 0}, "batch_size=0, need at least 1"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sampled(tokenizer, tmp_path, args, problem):
    paths = {"two": save(tokenizer, tmp_path / "two", num_labels=2), "bare": save(tokenizer, tmp_path / "bare")}
    (tmp_path / "bare" / "chat_template.jinja").unlink()
    spec = RewardSpec(
        use="posttrain.preference.reward_model:RewardModel", args={**args, "path": args["path"].format(**paths)}
    )
    with pytest.raises(UserError, match=problem):
        GroupGradingPool([spec], GradingSection(workers=0))
