"""What a GPU or FSDP2 would change, where no GPU is; FSDP2 itself runs in two processes over gloo."""

import inspect
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import FullyShardedDataParallelPlugin, PartialState
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from datasets import Dataset
from torch import distributed
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.multiprocessing import start_processes
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer.utils import add_fused_lm_head

from posttrain.models.head import TokenScorer
from posttrain.models.reference import shard_reference
from posttrain.placement import PlacedTrainer, arithmetic_of, reshard
from posttrain.preference.peers import PairDPOTrainer, PairSimPOTrainer
from posttrain.preference.trainer import SimPERTrainer
from posttrain.rl import AGAPOConfig, AGAPOTrainer
from posttrain.rl.proven_rollouts import ProvenRollouts
from posttrain.sft import UnifiedSFTTrainer
from posttrain.training import export_model


class Placed(PlacedTrainer, Trainer):
    pass


def test_a_process_that_sees_several_gpus_trains_on_one_with_the_batch_of_the_recipe(tmp_path: Path) -> None:
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=3,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    arguments._n_gpu = 8
    assert arguments.train_batch_size == 24
    with pytest.warns(UserWarning, match=r"8 GPUs are there.*--num_processes 8"):
        made = Placed(torch.nn.Linear(1, 1), arguments, train_dataset=Dataset.from_dict({"x": [1]}))
    assert made._wrap_model(made.model) is made.model
    assert made.get_train_dataloader().batch_sampler.batch_size == 3


@pytest.mark.parametrize("trainer", [UnifiedSFTTrainer, AGAPOTrainer, SimPERTrainer, PairDPOTrainer, PairSimPOTrainer])
def test_every_trainer_is_placed_by_the_same_rules(trainer: type[Any]) -> None:
    assert trainer.create_accelerator_and_postprocess is PlacedTrainer.create_accelerator_and_postprocess


@pytest.mark.parametrize(
    ("flags", "weights", "expected"),
    [
        ({"bf16": True, "fp16": False}, torch.float32, torch.bfloat16),
        ({"bf16": False, "fp16": True}, torch.float32, torch.float16),
        ({"bf16": False, "fp16": False}, torch.bfloat16, torch.bfloat16),
        ({"bf16": False, "fp16": False}, torch.float32, torch.float32),
    ],
)
def test_arithmetic_is_16_bit_where_the_arguments_or_the_weights_say_so(
    flags: dict[str, bool], weights: torch.dtype, expected: torch.dtype
) -> None:
    accelerator = SimpleNamespace(unwrap_model=lambda model: model)
    trainer = SimpleNamespace(
        args=SimpleNamespace(**flags), accelerator=accelerator, model=SimpleNamespace(dtype=weights)
    )
    assert arithmetic_of(trainer) is expected


@pytest.mark.parametrize(("bf16", "refuses"), [(True, False), (False, True)])
def test_engine_and_trainer_may_differ_by_what_the_arithmetic_rounds_not_the_weights(bf16: bool, refuses: bool) -> None:
    trainer: Any = SimpleNamespace(
        args=SimpleNamespace(bf16=bf16, fp16=False, max_mismatch_kl=None),
        accelerator=SimpleNamespace(unwrap_model=lambda model: model),
        model=SimpleNamespace(dtype=torch.float32),
        state=SimpleNamespace(global_step=3),
        _record=lambda name, value: None,
    )
    with pytest.raises(RuntimeError, match="disagree at step 3") if refuses else nullcontext():
        ProvenRollouts._prove_sync(trainer, 1e-3)


def test_processes_wait_longer_for_each_other_than_a_rollout_may_take() -> None:
    """A server samples for one process, and the others wait for it in a collective, which NCCL gives up."""
    settings: dict[str, Any] = {"output_dir": "unused", "use_cpu": True, "bf16": False}
    assert AGAPOConfig(**settings).ddp_timeout == 3600 + 1800
    assert AGAPOConfig(**settings, ddp_timeout=9000).ddp_timeout == 9000
    assert AGAPOConfig(**settings, rollout_timeout_s=None).ddp_timeout == 1800


def test_upstream_still_asks_whether_every_micro_batch_is_shared_out() -> None:
    assert 'plugin_kwargs.get("sync_each_batch"' in inspect.getsource(Trainer._run_epoch)


def test_float32_weights_of_fsdp2_are_exported_in_the_type_of_the_recipe(
    model_folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    accelerator = SimpleNamespace(
        unwrap_model=lambda model: model,
        get_state_dict=lambda model: model.state_dict(),
        wait_for_everyone=lambda: None,
        is_fsdp2=True,
    )
    trainer = SimpleNamespace(
        model=model,
        model_wrapped=model,
        accelerator=accelerator,
        is_fsdp_enabled=True,
        args=SimpleNamespace(bf16=True, fp16=False),
    )
    run: Any = SimpleNamespace(is_main=True, model_dir=tmp_path / "model")
    export_model(trainer, tokenizer, run)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")
    assert {weight.dtype for weight in loaded.parameters()} == {torch.bfloat16}
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name].bfloat16())


class OnTwoProcesses:
    """Where transformers' trainer would be: accelerate takes DDP for FSDP2 on a CPU, so its parts are put together."""

    def create_accelerator_and_postprocess(self) -> None:
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=True
        )
        plugin.set_mixed_precision("bf16")
        self.accelerator = SimpleNamespace(
            is_fsdp2=True,
            state=SimpleNamespace(fsdp_plugin=plugin),
            gradient_state=SimpleNamespace(plugin_kwargs={}),
            mixed_precision="bf16",
            is_main_process=distributed.get_rank() == 0,
            device=torch.device("cpu"),
            parallelism_config=None,
        )


class PlacedOnTwo(PlacedTrainer, OnTwoProcesses):
    args = SimpleNamespace(n_gpu=1)


def claims(rank: int, model_folder: Path, store: Path) -> None:
    """Run in each of two processes; a claim that fails ends both."""
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    PartialState(cpu=True)
    placed = PlacedOnTwo()
    placed.create_accelerator_and_postprocess()
    accelerator: Any = placed.accelerator
    assert accelerator.gradient_state.plugin_kwargs == {"sync_each_batch": True}
    whole = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16)
    policy = fsdp2_prepare_model(accelerator, fused(model_folder))
    assert policy.dtype == torch.float32  # which says nothing about the arithmetic
    log_probabilities_stay_as_exact_as_they_are_computed(policy, whole)
    weights_can_be_sent_after_a_pass_without_gradients(policy, whole, accelerator)
    reference_is_whole_and_sharded_layer_by_layer(fused(model_folder), whole, accelerator)
    distributed.destroy_process_group()


def fused(model_folder: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return model


def log_probabilities_stay_as_exact_as_they_are_computed(policy: Any, whole: Any) -> None:
    ids, positions = torch.arange(5, 29)[None], torch.arange(10, 20)
    targets, scorer = ids[0, positions + 1], TokenScorer(policy)
    with torch.no_grad():
        expected = whole(ids).logits.float().log_softmax(-1)[0, positions].gather(1, targets[:, None])[:, 0]
    for _ in range(2):
        logps = scorer.score(policy, positions, targets, input_ids=ids).logps_N
        assert (logps - expected).abs().max() < 0.05
        assert not torch.equal(logps, logps.bfloat16().float())
        logps.mean().backward()
        assert all(isinstance(weight.grad, DTensor) for weight in policy.parameters())


def weights_can_be_sent_after_a_pass_without_gradients(policy: Any, whole: Any, accelerator: Any) -> None:
    with torch.no_grad():
        policy(torch.arange(5, 29)[None])
    reshard(policy)
    backend: Any = SimpleNamespace(accelerator=accelerator, _fix_param_name_to_vllm=lambda name, extra_prefixes: name)
    sent = dict(VLLMGeneration._iter_fsdp2_params(backend, policy))
    for name, weight in whole.named_parameters():
        assert torch.equal(sent[name].bfloat16(), weight)


def reference_is_whole_and_sharded_layer_by_layer(model: Any, whole: Any, accelerator: Any) -> None:
    if not accelerator.is_main_process:  # as transformers leaves it where one process of a node reads the weights
        with torch.no_grad():
            for weight in model.parameters():
                weight.zero_()
    reference = shard_reference(model, accelerator)
    assert all(isinstance(layer, FSDPModule) for layer in reference.model.layers)
    assert not reference.training
    assert reference.dtype == torch.bfloat16
    weights = dict(whole.named_parameters())
    for name, weight in reference.named_parameters():
        assert torch.equal(weight.full_tensor(), weights[name])


@pytest.mark.slow
def test_under_fsdp2_log_probabilities_are_exact_weights_can_be_sent_and_references_are_whole(
    model_folder: Path, tmp_path: Path
) -> None:
    start_processes(claims, (model_folder, tmp_path / "store"), nprocs=2, start_method="spawn")


@pytest.fixture(autouse=True)
def no_state_left() -> Iterator[None]:
    yield
    PartialState._reset_state()
