"""Two processes on the same global batch end where one does: torchrun (DDP over gloo) and DeepSpeed, on CPU."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from posttrain.run_folder.checkpoints import CheckpointFolder
from posttrain.training import _whole_copy

pytestmark = pytest.mark.slow
Launch = Callable[..., Path]

POSTTRAIN = ("-m", "posttrain")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
LEAVES_ITS_GROUP = (str(Path(__file__).with_name("leaves_its_group.py")),)
STORED_ROLLOUTS = (str(Path(__file__).with_name("stored_rollouts.py")),)
HALF_OF_4 = "trainer.per_device_train_batch_size=2"
NOT_TWICE = "trainer.gradient_accumulation_steps=1"
DOMAINS = ("long_chains", "short_chains")

# float32 sums in another order; the weights themselves are about 0.1 and an update moves them by 1e-3 a step.
TOLERANCE = 1e-5


def accelerate(config: str) -> tuple[str, ...]:
    path = Path(__file__).parents[2] / "recipes" / "accelerate" / f"{config}.yaml"
    return ("-m", "accelerate.commands.launch", "--config_file", str(path), "--main_process_port", "0")


def weights(model_folder: Path) -> torch.Tensor:
    """All weights in one vector, as plain transformers reads them."""
    model, report = AutoModelForCausalLM.from_pretrained(model_folder, output_loading_info=True)
    assert not any(report.values())  # no missing, unexpected or mismatched weight
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_model(run: Path, alone: Path, start: Path) -> None:
    got, expected, before = weights(run / "model"), weights(alone / "model"), weights(start)
    assert (expected - before).abs().max() > 100 * TOLERANCE  # it has learnt something
    torch.testing.assert_close(got, expected, rtol=0, atol=TOLERANCE)


def assert_same_metrics(run: Path, alone: Path, names: tuple[str, ...]) -> None:
    lines, expected = metrics(run), metrics(alone)
    assert [line["step"] for line in lines] == [line["step"] for line in expected]
    for line, other in zip(lines, expected, strict=True):
        assert line.keys() == other.keys()
        for name in set(names) & other.keys():
            assert line[name] == pytest.approx(other[name], rel=1e-4, abs=1e-9), name


@pytest.fixture(scope="module")
def sft_alone(launch: Launch) -> Path:
    return launch(*accelerate("single"), *POSTTRAIN, "sft", "sft.yaml", run="sft-alone")


def test_sft_counts_the_tokens_of_both_processes_and_ends_at_the_same_weights(
    launch: Launch, sft_alone: Path, model_folder: Path
) -> None:
    run = launch(*TORCHRUN, *POSTTRAIN, "sft", "sft.yaml", HALF_OF_4, run="sft-ddp")
    for line, other in zip(metrics(run), metrics(sft_alone), strict=True):
        for name in ("step", "tokens/reasoning", "tokens/non_reasoning", "tokens/ratio"):
            assert line[name] == other[name]
    assert_same_metrics(run, sft_alone, ("loss", "grad_norm", "loss/reasoning", "loss/non_reasoning"))
    assert_same_model(run, sft_alone, model_folder)


@pytest.mark.parametrize("launcher", ["torchrun", "zero2", "zero3"])
def test_sft_killed_in_both_processes_goes_on_at_the_next_row(
    launcher: str, launch: Launch, sft_alone: Path, model_folder: Path
) -> None:
    """Rows are read by worker processes; what a kill after step 2 leaves is made of a run that was left alone."""
    saving = ("trainer.save_strategy=steps", "trainer.save_steps=2", "trainer.save_total_limit=3")
    words = (*POSTTRAIN, "sft", "sft.yaml", HALF_OF_4, "trainer.dataloader_num_workers=1", *saving)
    command = (*(TORCHRUN if launcher == "torchrun" else accelerate(launcher)), *words)
    run = launch(*command, run=f"sft-killed-{launcher}")
    uninterrupted, checkpoints = metrics(run), CheckpointFolder(run / "checkpoints")
    for later in (4, 6):
        shutil.rmtree(checkpoints.of_step(later))
    assert checkpoints.newest() == (checkpoints.of_step(2), [])
    written = checkpoints.of_step(2).stat().st_ino
    shutil.rmtree(run / "model")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))

    launch(*command, "--resume", run=run.name)
    assert checkpoints.of_step(2).stat().st_ino == written  # not made again
    for line, other in zip(metrics(run), uninterrupted, strict=True):
        for name in ("step", "loss", "tokens/reasoning", "tokens/non_reasoning"):
            assert line[name] == other[name]
    assert_same_model(run, sft_alone, model_folder)


@pytest.fixture(scope="module")
def packs(demo_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Rows of two domains in packs, and an evaluation of a single pack, which two processes cannot share."""
    lines = sorted(demo_files["sft_round2"].read_text().splitlines(keepends=True), key=len)
    held_out = tmp_path_factory.mktemp("held_out") / "rows.jsonl"
    held_out.write_text("".join(next(line for line in lines if f'"{domain}"' in line) for domain in DOMAINS))
    return (
        f"data.sources.0.path={demo_files['sft_round2']}",
        f"validation={{sources: [{{path: {held_out}}}]}}",
        "data.pack_tokens=256",
        "trainer.per_device_train_batch_size=1",
        "trainer.eval_strategy=steps",
        "trainer.eval_steps=3",
    )


@pytest.fixture(scope="module")
def packs_alone(launch: Launch, packs: tuple[str, ...]) -> Path:
    return launch(*POSTTRAIN, "sft", "sft.yaml", *packs, run="packs-alone")


FIGURES_OF_PACKS = (
    *("loss", "grad_norm", "eval_loss", "eval_loss/reasoning"),
    *(f"{what}/reasoning/{domain}" for what in ("loss", "tokens", "eval_loss") for domain in DOMAINS),
)


def test_sft_packs_shared_by_two_processes_end_at_the_same_weights_and_figures(
    launch: Launch, packs: tuple[str, ...], packs_alone: Path, model_folder: Path
) -> None:
    run = launch(*TORCHRUN, *POSTTRAIN, "sft", "sft.yaml", *packs, NOT_TWICE, run="packs-ddp")
    lines = metrics(run)
    assert [line["step"] for line in lines if "eval_loss" in line] == [3, 6]
    assert set(FIGURES_OF_PACKS) <= {key for line in lines for key in line}
    assert_same_metrics(run, packs_alone, FIGURES_OF_PACKS)
    assert_same_model(run, packs_alone, model_folder)


def test_sft_packs_are_proven_apart_and_trained_in_shards(
    launch: Launch, packs: tuple[str, ...], packs_alone: Path, model_folder: Path
) -> None:
    run = launch(*accelerate("zero3"), *POSTTRAIN, "sft", "sft.yaml", *packs, NOT_TWICE, run="packs-zero3")
    assert_same_metrics(run, packs_alone, FIGURES_OF_PACKS)
    assert_same_model(run, packs_alone, model_folder)


def test_sft_with_zero3_gathers_its_shards_into_the_same_model(
    launch: Launch, sft_alone: Path, model_folder: Path
) -> None:
    run = launch(*accelerate("zero3"), *POSTTRAIN, "sft", "sft.yaml", HALF_OF_4, run="sft-zero3")
    assert_same_metrics(run, sft_alone, ("loss", "grad_norm", "tokens/reasoning", "tokens/non_reasoning"))
    assert_same_model(run, sft_alone, model_folder)


def test_sft_with_zero2_merges_its_adapters_into_the_same_model(launch: Launch, model_folder: Path) -> None:
    words = ("sft", "sft.yaml", "lora={r: 4, target_modules: all-linear}", "trainer.learning_rate=1e-2")
    alone = launch(*POSTTRAIN, *words, run="lora-alone")
    run = launch(*accelerate("zero2"), *POSTTRAIN, *words, HALF_OF_4, run="lora-zero2")
    assert_same_metrics(run, alone, ("loss", "grad_norm", "tokens/reasoning", "tokens/non_reasoning"))
    assert_same_model(run, alone, model_folder)


def test_rl_judges_groups_over_the_whole_batch_and_ends_at_the_same_weights(launch: Launch, model_folder: Path) -> None:
    """Of three groups of four, the middle one lies in both processes; each batch serves two updates."""
    alone = launch(*STORED_ROLLOUTS, "rl", "rl.yaml", run="rl-alone")
    run = launch(*TORCHRUN, *STORED_ROLLOUTS, "rl", "rl.yaml", NOT_TWICE, run="rl-ddp")
    mixed, _, of_each_kind, _ = metrics(alone)
    assert mixed["groups/mixed"] == 1
    for kind in ("all_correct", "mixed", "all_wrong"):
        assert of_each_kind[f"groups/{kind}"] == pytest.approx(1 / 3)
    names = ("reward", "outcome", "groups/all_correct", "groups/mixed", "groups/all_wrong", "advantage/std")
    assert_same_metrics(run, alone, (*names, "grad_norm"))
    # A mean over micro-batches; no response of the first batch is dropped, so they weigh the same however they are cut.
    assert metrics(run)[1]["kl"] == pytest.approx(metrics(alone)[1]["kl"], rel=1e-4)
    assert_same_model(run, alone, model_folder)


def test_adapters_merge_from_gathered_shards_as_they_do_in_place(model_folder: Path) -> None:
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model_folder),
        LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False),
    )
    copy = _whole_copy(model, model.state_dict())
    merged, expected = copy.merge_and_unload().state_dict(), model.merge_and_unload().state_dict()
    assert merged.keys() == expected.keys()
    for name, weight in merged.items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)


@pytest.fixture(scope="module")
def pref_alone(launch: Launch) -> Path:
    return launch(*POSTTRAIN, "pref", "pref.yaml", run="pref-alone")


PREF_METRICS = (
    *("loss", "grad_norm", "prob/chosen", "prob/rejected", "ordering_accuracy", "length/chosen", "length/rejected"),
    *("margin/reasoning", "margin/non_reasoning", "ordering_accuracy/en", "prob/chosen/ko"),
)


def test_preference_averages_over_the_pairs_of_both_processes_and_ends_at_the_same_weights(
    launch: Launch, pref_alone: Path, model_folder: Path
) -> None:
    run = launch(*TORCHRUN, *LEAVES_ITS_GROUP, "pref", "pref.yaml", HALF_OF_4, run="pref-ddp")
    assert {name for line in metrics(pref_alone) for name in line} >= set(PREF_METRICS)
    assert_same_metrics(run, pref_alone, PREF_METRICS)
    assert_same_model(run, pref_alone, model_folder)


def test_preference_with_zero3_gathers_its_shards_into_the_same_model(
    launch: Launch, pref_alone: Path, model_folder: Path
) -> None:
    run = launch(*accelerate("zero3"), *POSTTRAIN, "pref", "pref.yaml", HALF_OF_4, run="pref-zero3")
    assert_same_metrics(run, pref_alone, PREF_METRICS)
    assert_same_model(run, pref_alone, model_folder)


def test_preference_with_zero2_merges_its_adapters_into_the_same_model(launch: Launch, model_folder: Path) -> None:
    words = ("pref", "pref.yaml", "lora={r: 4, target_modules: all-linear}", "trainer.learning_rate=1e-2")
    alone = launch(*POSTTRAIN, *words, run="pref-lora-alone")
    run = launch(*accelerate("zero2"), *POSTTRAIN, *words, HALF_OF_4, run="pref-lora-zero2")
    assert_same_metrics(run, alone, PREF_METRICS)
    assert_same_model(run, alone, model_folder)
