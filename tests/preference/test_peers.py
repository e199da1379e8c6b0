import math

import pytest
import torch
from datasets import Dataset
from trl.experimental.cpo import CPOConfig

from posttrain.preference.peers import SIMPO_DEFAULTS, PairSimPOTrainer

PAIRS = [
    {"prompt_ids": [10, 11, 12], "chosen_ids": [20, 21, 22, 23, 24], "rejected_ids": [30, 31]},
    {"prompt_ids": [13], "chosen_ids": [25], "rejected_ids": [32, 33, 34] * 400},
]


def mean_logp(model, prompt_ids, completion_ids):
    ids = torch.tensor([prompt_ids + completion_ids])
    logps = model(input_ids=ids).logits[0, :-1].log_softmax(dim=-1)
    return logps.gather(1, ids[0, 1:, None])[len(prompt_ids) - 1 :].mean().item()


def test_simpo_is_that_of_its_paper_on_our_ids_and_cuts_nothing(model, tokenizer, tmp_path):
    settings = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": [], **SIMPO_DEFAULTS}
    trainer = PairSimPOTrainer(
        model=model, args=CPOConfig(**settings), train_dataset=Dataset.from_list(PAIRS), processing_class=tokenizer
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    losses = []
    for pair in PAIRS:
        gap = mean_logp(model, pair["prompt_ids"], pair["chosen_ids"])
        gap -= mean_logp(model, pair["prompt_ids"], pair["rejected_ids"])
        losses.append(math.log1p(math.exp(-(2.0 * gap - 1.0))))  # -log sigmoid(beta * gap - gamma)
    assert trainer.compute_loss(model, batch).item() == pytest.approx(sum(losses) / 2, rel=1e-4)
