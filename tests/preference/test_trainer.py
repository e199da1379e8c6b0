import gc
import inspect

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3MoeConfig, Qwen3MoeForCausalLM
from trl import DPOTrainer
from trl.trainer import dpo_trainer

from posttrain.errors import UserError
from posttrain.models.attention import SEGMENTS
from posttrain.objectives import group_weights
from posttrain.preference.config import SimPERConfig
from posttrain.preference.trainer import SimPERTrainer

PAIRS = [
    {"prompt_ids": [10, 11, 12], "chosen_ids": [20, 21, 22, 23, 24], "rejected_ids": [30, 31]},
    {"prompt_ids": [13], "chosen_ids": [25], "rejected_ids": [32, 33, 34, 35, 36, 37, 38]},
    {"prompt_ids": [14, 15, 16, 17, 18, 19], "chosen_ids": [26, 27], "rejected_ids": [39, 40, 41]},
    {"prompt_ids": [11, 14], "chosen_ids": [20, 27, 23], "rejected_ids": [38, 31, 30]},
]

GROUPS = [
    {"prompt_ids": [10, 11], "completions": [[20], [21, 22, 23], [24, 25]], "weights": [1.0, -0.5, -0.5]},
    {"prompt_ids": [12], "completions": [[26, 27], [28]], "weights": [-1.0, 1.0]},
    {"prompt_ids": [13], "completions": [[29], [30], [31, 32], [33]], "weights": [1.0, 0.0, -1.0, 0.0]},
]
LABELLED = [
    pair | {"mode": mode, "language": language}
    for pair, mode, language in zip(PAIRS, ["reasoning"] * 4, ["en", "ko", "ko", None], strict=True)
]


def make_trainer(model, tokenizer, folder, pairs=PAIRS, peft_config=None, trainer_class=SimPERTrainer, **settings):
    defaults = {
        "per_device_train_batch_size": len(pairs),
        "per_device_eval_batch_size": len(pairs),
        "max_steps": 1,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
    }
    return trainer_class(
        model=model,
        args=SimPERConfig(output_dir=str(folder), **defaults | settings),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
        peft_config=peft_config,
    )


def plain_prob(model, prompt_ids, completion_ids):
    """exp(mean log-probability) of one completion, alone and unpadded."""
    ids = torch.tensor([prompt_ids + completion_ids])
    logps = model(input_ids=ids).logits[0, :-1].log_softmax(dim=-1)
    picked = logps.gather(1, ids[0, 1:, None])[:, 0]
    return picked[len(prompt_ids) - 1 :].mean().exp()


def plain_loss(model, pairs):
    sides = [(pair["prompt_ids"], pair["chosen_ids"], pair["rejected_ids"]) for pair in pairs]
    return torch.stack([plain_prob(model, x, bad) - plain_prob(model, x, good) for x, good, bad in sides]).mean()


def plain_group_loss(model, groups):
    losses = []
    for group in groups:
        probs = torch.stack([plain_prob(model, group["prompt_ids"], ids) for ids in group["completions"]])
        losses.append(-2 / len(probs) * (torch.tensor(group["weights"]) * probs).sum())
    return torch.stack(losses).mean()


def batch_of(trainer):
    return trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])


def gradient_of(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("attention", [SEGMENTS, "sdpa"])  # the prompt once, or once for each side
@pytest.mark.parametrize(("data", "plain"), [(PAIRS, plain_loss), (GROUPS, plain_group_loss)])
def test_loss_and_gradient_are_those_of_every_response_alone(model, tokenizer, tmp_path, attention, data, plain):
    model.set_attn_implementation(attention)
    trainer = make_trainer(model, tokenizer, tmp_path, pairs=data)
    loss = trainer.compute_loss(trainer.model, batch_of(trainer))
    gradient = gradient_of(model, loss)
    model.set_attn_implementation("eager")
    expected = plain(model, data)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-7)
    for name, grad in gradient_of(model, expected).items():
        torch.testing.assert_close(gradient[name], grad, rtol=1e-3, atol=1e-6)


def test_a_pair_is_a_group_of_two(model, tokenizer, tmp_path):
    weights = group_weights(torch.tensor([[0.9, 0.2]]), torch.ones(1, 2, dtype=torch.bool))[0].tolist()
    groups = [
        {
            "prompt_ids": pair["prompt_ids"],
            "completions": [pair["chosen_ids"], pair["rejected_ids"]],
            "weights": weights,
        }
        for pair in PAIRS
    ]
    losses = []
    for data in (PAIRS, groups):
        trainer = make_trainer(model, tokenizer, tmp_path, pairs=data)
        losses.append(trainer.compute_loss(trainer.model, batch_of(trainer)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_untrained_tokens_are_seen_and_bear_no_loss(model, tokenizer, tmp_path):
    pairs = [
        {**PAIRS[0], "chosen_untrained": 3, "rejected_untrained": 1},
        {**PAIRS[2], "chosen_untrained": 0, "rejected_untrained": None},
    ]
    trainer = make_trainer(model, tokenizer, tmp_path, pairs=pairs)
    loss = trainer.compute_loss(trainer.model, batch_of(trainer))
    chosen = plain_prob(model, [10, 11, 12, 20, 21, 22], [23, 24])
    rejected = plain_prob(model, [10, 11, 12, 30], [31])
    torch.testing.assert_close(loss, (rejected - chosen + plain_loss(model, PAIRS[2:3])) / 2, rtol=1e-4, atol=1e-7)


def test_a_side_without_a_trained_token_is_refused_with_its_row(model, tokenizer, tmp_path):
    pairs = [{**PAIRS[0], "chosen_untrained": 4}, {**PAIRS[1], "chosen_untrained": 1}]
    with pytest.raises(UserError, match="train data:2: no token of the chosen side bears loss"):
        make_trainer(model, tokenizer, tmp_path, pairs=pairs)


def logged(trainer, *batches):
    trainer.model.train()
    for batch in batches:
        trainer.compute_loss(trainer.model, batch)
    logs = {}
    trainer.log(logs)
    return {name: value for name, value in logs.items() if name != "epoch"}


def test_logged_figures_are_means_over_pairs_however_they_are_cut(model, tokenizer, tmp_path):
    trainer = make_trainer(model, tokenizer, tmp_path)
    with torch.no_grad():
        chosen = torch.stack([plain_prob(model, pair["prompt_ids"], pair["chosen_ids"]) for pair in PAIRS])
        rejected = torch.stack([plain_prob(model, pair["prompt_ids"], pair["rejected_ids"]) for pair in PAIRS])
    expected = {
        "prob/chosen": pytest.approx(chosen.mean().item(), rel=1e-4),
        "prob/rejected": pytest.approx(rejected.mean().item(), rel=1e-4),
        "margin": pytest.approx((chosen - rejected).mean().item(), rel=1e-4),
        "ordering_accuracy": pytest.approx((chosen > rejected).float().mean().item()),
        "length/chosen": pytest.approx((5 + 1 + 2 + 3) / 4),
        "length/rejected": pytest.approx((2 + 7 + 3 + 3) / 4),
    }
    batch = batch_of(trainer)
    assert logged(trainer, batch) == expected
    assert logged(trainer, batch[:3], batch[3:]) == expected


def test_some_figures_are_logged_for_each_language_and_not_for_the_only_mode(model, tokenizer, tmp_path):
    trainer = make_trainer(model, tokenizer, tmp_path, pairs=LABELLED)
    batch = batch_of(trainer)
    logs = logged(trainer, batch[:2], batch[2:])
    with torch.no_grad():
        chosen, rejected = (
            [plain_prob(model, pair["prompt_ids"], pair[side]).item() for pair in PAIRS]
            for side in ("chosen_ids", "rejected_ids")
        )
    assert logs["prob/chosen/en"] == pytest.approx(chosen[0], rel=1e-4)
    assert logs["prob/chosen/ko"] == pytest.approx((chosen[1] + chosen[2]) / 2, rel=1e-4)
    assert logs["margin/ko"] == pytest.approx((chosen[1] + chosen[2] - rejected[1] - rejected[2]) / 2, rel=1e-4)
    assert logs["ordering_accuracy/en"] == float(chosen[0] > rejected[0])
    assert len([name for name in logs if name.endswith(("/en", "/ko"))]) == 6
    assert not any("reasoning" in name for name in logs)
    assert "margin/en" not in logged(trainer, batch[1:2])  # no pair of it since the last log


@pytest.mark.slow
def test_training_raises_the_chosen_and_lowers_the_rejected_probability(model, tokenizer, tmp_path):
    trainer = make_trainer(model, tokenizer, tmp_path, max_steps=15, learning_rate=3e-3, lr_scheduler_type="constant")
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "prob/chosen" in entry]
    assert logs[-1]["prob/chosen"] > 2 * logs[0]["prob/chosen"]
    assert logs[-1]["prob/rejected"] < logs[0]["prob/rejected"]
    assert logs[-1]["ordering_accuracy"] == 1
    assert logs[-1]["loss"] == pytest.approx(-logs[-1]["margin"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [PAIRS, [*GROUPS, *GROUPS[:1]]])
def test_a_step_does_not_depend_on_how_the_batch_is_cut(tokenizer, tmp_path, model_folder, pairs):
    weights, losses = [], []
    for size in (4, 2, 1):
        model = AutoModelForCausalLM.from_pretrained(model_folder)
        cut = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 4 // size}
        settings = {"optim": "sgd", "learning_rate": 0.5, "max_grad_norm": 0} | cut
        trainer = make_trainer(model, tokenizer, tmp_path, pairs, **settings)
        trainer.train()
        weights.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
        losses.append(trainer.state.log_history[0]["loss"])
    before = AutoModelForCausalLM.from_pretrained(model_folder)
    start = torch.cat([weight.detach().flatten() for weight in before.parameters()])
    assert (weights[0] - start).abs().max() > 1e-4
    assert losses == [pytest.approx(losses[0], rel=1e-5)] * 3
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(weights[2], weights[0], rtol=0, atol=1e-6)


def test_micro_batches_of_a_step_hold_like_numbers_of_tokens(model, tokenizer, tmp_path):
    pairs = [
        {"prompt_ids": [10], "chosen_ids": [20] * k, "rejected_ids": [30] * k} for k in (50, 50, 50, 1, 1, 1, 1, 1)
    ]
    trainer = make_trainer(model, tokenizer, tmp_path, pairs)
    rows = [trainer.train_dataset[i] for i in range(8)]
    batches = iter([trainer.data_collator(rows[start : start + 2]) for start in range(0, 8, 2)])
    parts, number = trainer.get_batch_samples(batches, 4, "cpu")
    assert number == 8
    assert sorted(len(part) for part in parts) == [1, 1, 1, 5]


def models_in_memory():
    gc.collect()
    return sum(isinstance(thing, PreTrainedModel) and hasattr(thing, "lm_head") for thing in gc.get_objects())


@pytest.mark.parametrize("is_sharded", [False, True])
def test_there_is_no_second_model_even_where_upstream_would_load_one_under_fsdp(model, tokenizer, tmp_path, is_sharded):
    class Sharded(SimPERTrainer):
        """Says that it is sharded once upstream has come to its reference, and not while it would set FSDP up."""

        is_fsdp_enabled = property(
            lambda self: is_sharded and hasattr(self, "router_aux_loss_coef"), lambda self, value: None
        )

    before = models_in_memory()
    trainer = make_trainer(model, tokenizer, tmp_path, trainer_class=Sharded)
    assert trainer.ref_model is None
    assert models_in_memory() == before
    assert not {"ref_chosen_logps", "ref_rejected_logps"} & set(trainer.train_dataset.column_names)
    if not is_sharded:
        trainer.train()
        assert models_in_memory() == before


def test_a_model_by_name_is_refused(tokenizer, tmp_path):
    with pytest.raises(TypeError, match="need a loaded model"):
        make_trainer("some/model", tokenizer, tmp_path)


def test_other_pairs_can_be_evaluated_after_training(model, tokenizer, tmp_path):
    trainer = make_trainer(model, tokenizer, tmp_path)
    trainer.train()
    metrics = trainer.evaluate(Dataset.from_list(PAIRS[:2]))
    assert metrics["eval_loss"] == pytest.approx(plain_loss(model, PAIRS[:2]).item(), rel=1e-4)
    assert trainer.state.log_history[-1]["eval_margin"] == pytest.approx(-metrics["eval_loss"], rel=1e-4)


def test_long_responses_are_not_cut(model, tokenizer, tmp_path):
    long = [{"prompt_ids": [10], "chosen_ids": [20] * 1500, "rejected_ids": [30]}]
    trainer = make_trainer(model, tokenizer, tmp_path, pairs=long)
    assert logged(trainer, batch_of(trainer))["length/chosen"] == 1500


def test_an_empty_response_of_a_group_is_refused_with_its_row(model, tokenizer, tmp_path):
    groups = [GROUPS[0], {**GROUPS[1], "completions": [[26], []]}]
    with pytest.raises(UserError, match=r"train data:2: no token of response 2 bears loss"):
        make_trainer(model, tokenizer, tmp_path, pairs=groups)


@pytest.mark.parametrize(
    ("column", "named"),
    [
        ("prompt_ids", "prompt_ids is empty"),
        ("chosen_ids", "no token of the chosen side bears loss"),
        ("rejected_ids", "no token of the rejected side bears loss"),
    ],
)
def test_an_empty_side_is_refused_with_its_row(model, tokenizer, tmp_path, column, named):
    with pytest.raises(UserError, match=rf"train data:2: {named}"):
        make_trainer(model, tokenizer, tmp_path, pairs=[PAIRS[0], {**PAIRS[1], column: []}])


def test_lora_trains_the_adapters_only(model, tokenizer, tmp_path):
    lora = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", r=2)
    trainer = make_trainer(model, tokenizer, tmp_path, peft_config=lora, learning_rate=1e-2)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, weight in trainer.model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)
    assert trainer.ref_model is None


def test_a_mixture_of_experts_keeps_its_balancing_loss(tokenizer, tmp_path):
    config = Qwen3MoeConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=16,
        moe_intermediate_size=16,
        num_experts=4,
        num_experts_per_tok=2,
        router_aux_loss_coef=0.5,
    )
    model = Qwen3MoeForCausalLM(config).eval()
    trainer = make_trainer(model, tokenizer, tmp_path)
    rows = [torch.tensor(pair["prompt_ids"] + pair[side]) for pair in PAIRS for side in ("chosen_ids", "rejected_ids")]
    inputs = {
        "input_ids": pad_sequence(rows, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
    }
    expected = plain_loss(model, PAIRS) + 0.5 * model(**inputs, output_router_logits=True).aux_loss
    torch.testing.assert_close(trainer.compute_loss(model, batch_of(trainer)), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("hook", "parameters"),
    [
        ("_prepare_dataset", ["self", "dataset", "processing_class", "args", "dataset_name"]),
        ("_set_signature_columns_if_needed", ["self"]),
        ("_precompute_ref_logps", ["self", "dataset", "name", "batch_size"]),
        ("get_batch_samples", ["self", "epoch_iterator", "num_batches", "device"]),
        ("compute_loss", ["self", "model", "inputs", "return_outputs", "num_items_in_batch"]),
        ("log", ["self", "logs", "start_time"]),
    ],
)
def test_upstream_still_has_the_hooks(hook, parameters):
    assert list(inspect.signature(getattr(DPOTrainer, hook)).parameters) == parameters


def test_upstream_still_keeps_flags_where_we_use_them(model, tokenizer, tmp_path):
    trainer = make_trainer(model, tokenizer, tmp_path)
    assert trainer.aux_loss_enabled is False
    assert "precompute_ref_logps" in vars(trainer)
    assert DPOTrainer.loss_is_scaled_for_ga is False  # which is what we set otherwise
    assert "create_model_from_path" in vars(dpo_trainer)
