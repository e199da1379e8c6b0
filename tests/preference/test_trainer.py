import gc
import inspect

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, Qwen3MoeConfig, Qwen3MoeForCausalLM
from trl import DPOTrainer

from posttrain.errors import UserError
from posttrain.preference.config import SimPERConfig
from posttrain.preference.trainer import SimPERTrainer

PAIRS = [
    {"prompt_ids": [10, 11, 12], "chosen_ids": [20, 21, 22, 23, 24], "rejected_ids": [30, 31]},
    {"prompt_ids": [13], "chosen_ids": [25], "rejected_ids": [32, 33, 34, 35, 36, 37, 38]},
    {"prompt_ids": [14, 15, 16, 17, 18, 19], "chosen_ids": [26, 27], "rejected_ids": [39, 40, 41]},
    {"prompt_ids": [11, 14], "chosen_ids": [20, 27, 23], "rejected_ids": [38, 31, 30]},
]


def make_trainer(model, tokenizer, folder, pairs=PAIRS, peft_config=None, **settings):
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
    return SimPERTrainer(
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


def batch_of(trainer):
    return trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])


def test_loss_and_gradient_are_those_of_every_side_alone(model, tokenizer, tmp_path):
    trainer = make_trainer(model, tokenizer, tmp_path)
    loss = trainer.compute_loss(trainer.model, batch_of(trainer))
    loss.backward()
    gradient = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    expected = plain_loss(model, PAIRS)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-7)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(gradient[name], weight.grad, rtol=1e-3, atol=1e-6)


def test_logged_figures_are_means_over_pairs(model, tokenizer, tmp_path):
    trainer = make_trainer(model, tokenizer, tmp_path)
    trainer.model.train()
    trainer.compute_loss(trainer.model, batch_of(trainer))
    logged = {name: values[0] for name, values in trainer._metrics["train"].items()}
    with torch.no_grad():
        chosen = torch.stack([plain_prob(model, pair["prompt_ids"], pair["chosen_ids"]) for pair in PAIRS])
        rejected = torch.stack([plain_prob(model, pair["prompt_ids"], pair["rejected_ids"]) for pair in PAIRS])
    assert logged == {
        "prob/chosen": pytest.approx(chosen.mean().item(), rel=1e-4),
        "prob/rejected": pytest.approx(rejected.mean().item(), rel=1e-4),
        "margin": pytest.approx((chosen - rejected).mean().item(), rel=1e-4),
        "ordering_accuracy": pytest.approx((chosen > rejected).float().mean().item()),
        "length/chosen": pytest.approx((5 + 1 + 2 + 3) / 4),
        "length/rejected": pytest.approx((2 + 7 + 3 + 3) / 4),
    }


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
def test_a_step_does_not_depend_on_how_the_batch_is_cut(tokenizer, tmp_path, model_folder):
    from transformers import AutoModelForCausalLM

    weights = []
    for size in (4, 2, 1):
        model = AutoModelForCausalLM.from_pretrained(model_folder)
        cut = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 4 // size}
        make_trainer(model, tokenizer, tmp_path, optim="sgd", learning_rate=0.5, max_grad_norm=0, **cut).train()
        weights.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    before = AutoModelForCausalLM.from_pretrained(model_folder)
    start = torch.cat([weight.detach().flatten() for weight in before.parameters()])
    assert (weights[0] - start).abs().max() > 1e-4
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(weights[2], weights[0], rtol=0, atol=1e-6)


def models_in_memory():
    gc.collect()
    return sum(isinstance(thing, PreTrainedModel) and hasattr(thing, "lm_head") for thing in gc.get_objects())


def test_there_is_no_reference_model(model, tokenizer, tmp_path, monkeypatch):
    def load(*_args, **_kwargs):
        raise AssertionError("a second model is loaded")

    monkeypatch.setattr("trl.trainer.dpo_trainer.create_model_from_path", load)
    before = models_in_memory()
    trainer = make_trainer(model, tokenizer, tmp_path)
    trainer.train()
    assert trainer.ref_model is None
    assert models_in_memory() == before
    assert not {"ref_chosen_logps", "ref_rejected_logps"} & set(trainer.train_dataset.column_names)


def test_other_pairs_can_be_evaluated_after_training(model, tokenizer, tmp_path):
    trainer = make_trainer(model, tokenizer, tmp_path)
    trainer.train()
    metrics = trainer.evaluate(Dataset.from_list(PAIRS[:2]))
    assert metrics["eval_loss"] == pytest.approx(plain_loss(model, PAIRS[:2]).item(), rel=1e-4)


def test_long_responses_are_not_cut(model, tokenizer, tmp_path):
    long = [{"prompt_ids": [10], "chosen_ids": [20] * 1500, "rejected_ids": [30]}]
    trainer = make_trainer(model, tokenizer, tmp_path, pairs=long)
    assert batch_of(trainer)["input_ids"].shape == (2, 1501)


@pytest.mark.parametrize("column", ["prompt_ids", "chosen_ids", "rejected_ids"])
def test_an_empty_side_is_refused_with_its_row(model, tokenizer, tmp_path, column):
    with pytest.raises(UserError, match=rf"train pairs:2: {column} is empty"):
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
    batch = batch_of(trainer)
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    expected = plain_loss(model, PAIRS) + 0.5 * model(**inputs, output_router_logits=True).aux_loss
    torch.testing.assert_close(trainer.compute_loss(model, batch), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("hook", "parameters"),
    [
        ("_prepare_dataset", ["self", "dataset", "processing_class", "args", "dataset_name"]),
        ("_precompute_ref_logps", ["self", "dataset", "name", "batch_size"]),
        ("_compute_loss", ["self", "model", "inputs", "return_outputs"]),
    ],
)
def test_upstream_still_has_the_hooks(hook, parameters):
    assert list(inspect.signature(getattr(DPOTrainer, hook)).parameters) == parameters


def test_upstream_still_keeps_metrics_and_flags_where_we_use_them(model, tokenizer, tmp_path):
    trainer = make_trainer(model, tokenizer, tmp_path)
    assert set(trainer._metrics) == {"train", "eval"}
    assert trainer.aux_loss_enabled is False
    assert trainer.loss_is_scaled_for_ga is False
    assert "precompute_ref_logps" in vars(trainer)
    assert set(batch_of(trainer)) == {"input_ids", "attention_mask", "completion_mask"}
