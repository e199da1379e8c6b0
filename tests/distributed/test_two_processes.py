"""Two processes on the same global batch end where one does: torchrun (DDP over gloo) and DeepSpeed, on CPU.

Every way to share out a model is launched once, for all stages: importing the libraries is most of what a run costs
here. One process takes the stages in the reverse order, so that what one of them left behind could not go unnoticed.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from posttrain.modelling.export import export_checkpoint
from posttrain.run_folder.checkpoints import CheckpointFolder
from posttrain.run_folder.seals import SEAL, read_seal, seal
from posttrain.training import _whole_copy
from tests.distributed.conftest import DOMAINS

pytestmark = pytest.mark.slow
Launch = Callable[..., str]
RunOf = Callable[[str, str], Path]  # of a sharding and a name in RUNS

HALF_OF_4 = "trainer.per_device_train_batch_size=2"
NOT_TWICE = "trainer.gradient_accumulation_steps=1"
ADAPTERS = ("lora={r: 4, target_modules: all-linear}", "trainer.learning_rate=1e-2")
AHEAD = ("trainer.staleness=1", "trainer.num_iterations=1", 'rewards=[{use: "even:even_text"}]')
SAVING = ("trainer.save_strategy=steps", "trainer.save_steps=2", "trainer.save_total_limit=3")

# What is run, and how each of two processes takes half of its batch.
RUNS: dict[str, tuple[tuple[str, ...], str]] = {
    "sft": (("sft", "sft.yaml"), HALF_OF_4),
    "sft-adapters": (("sft", "sft.yaml", *ADAPTERS, *SAVING), HALF_OF_4),
    "packs": (("sft", "packs.yaml"), NOT_TWICE),
    "rl": (("rl", "rl.yaml"), NOT_TWICE),
    "rl-adapters": (("rl", "rl.yaml", *ADAPTERS), NOT_TWICE),
    "ahead": (("rl", "rl.yaml", *AHEAD), NOT_TWICE),
    "ahead-adapters": (("rl", "rl.yaml", *AHEAD, *ADAPTERS, *SAVING), NOT_TWICE),
    "pref": (("pref", "pref.yaml"), HALF_OF_4),
    "pref-adapters": (("pref", "pref.yaml", *ADAPTERS), HALF_OF_4),
}
# What is killed and resumed: rows are read by worker processes; rollouts are on their way at the kill.
KILLED = {
    "workers": ("sft", "sft.yaml", HALF_OF_4, "trainer.dataloader_num_workers=1", *SAVING),
    "ahead-adapters": (*RUNS["ahead-adapters"][0], NOT_TWICE),
}

# float32 sums in another order; the weights themselves are about 0.1 and an update moves them by 1e-3 a step.
TOLERANCE = 1e-5


def accelerate(config: str) -> tuple[str, ...]:
    path = Path(__file__).parents[2] / "recipes" / "accelerate" / f"{config}.yaml"
    return ("-m", "accelerate.commands.launch", "--config_file", str(path), "--main_process_port", "0")


LAUNCHERS = {
    "alone": accelerate("single"),
    "ddp": ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
    "zero2": accelerate("zero2"),
    "zero3": accelerate("zero3"),
}
SHARDINGS = tuple(LAUNCHERS)[1:]


@pytest.fixture(scope="module")
def run_of(launch: Launch, workplace: Path) -> RunOf:
    """The folder of a finished run; the first of a sharding starts all of it."""

    def commands(sharding: str) -> list[Sequence[str]]:
        if sharding == "alone":
            return [[*words, f"run={name}-alone"] for name, (words, _) in reversed(RUNS.items())]
        shared = [[*words, half, f"run={name}-{sharding}"] for name, (words, half) in RUNS.items()]
        return [*shared, [*KILLED["workers"], f"run=workers-{sharding}"]]

    @cache
    def launched(sharding: str) -> str:
        return launch(LAUNCHERS[sharding], *commands(sharding))

    def run(sharding: str, name: str) -> Path:
        said, manifest = launched(sharding), workplace / f"{name}-{sharding}" / "manifest.json"
        assert manifest.is_file(), said
        assert json.loads(manifest.read_text())["status"] == "finished", said
        return manifest.parent

    return run


def leave_what_a_kill_leaves(run: Path, copy: Path) -> None:
    """After step 2, of a run that was left alone."""
    shutil.copytree(run, copy)
    checkpoints = CheckpointFolder(copy / "checkpoints")
    for later in (4, 6):
        shutil.rmtree(checkpoints.of_step(later), ignore_errors=True)
    assert checkpoints.newest() == (checkpoints.of_step(2), [])
    shutil.rmtree(copy / "model")
    manifest = copy / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "status": "running"}))


@pytest.fixture(scope="module")
def resumed(launch: Launch, run_of: RunOf) -> RunOf:
    """A run as it ended after a kill, which is a copy: a checkpoint belongs to the folder that its recipe names."""

    @cache
    def launched(sharding: str) -> str:
        runs = {name: run_of(sharding, name) for name in KILLED}
        for run in runs.values():
            leave_what_a_kill_leaves(run.rename(f"{run}-whole"), run)
        said = launch(
            LAUNCHERS[sharding], *([*KILLED[name], "--resume", f"run={run.name}"] for name, run in runs.items())
        )
        for run in runs.values():
            run.rename(f"{run}-killed")
            Path(f"{run}-whole").rename(run)
        return said

    def run(sharding: str, name: str) -> Path:
        said, folder = launched(sharding), Path(f"{run_of(sharding, name)}-killed")
        assert json.loads((folder / "manifest.json").read_text())["status"] == "finished", said
        kept, left = (each / "checkpoints/checkpoint-2" for each in (folder, run_of(sharding, name)))
        assert kept.stat().st_mtime_ns == left.stat().st_mtime_ns  # not made again
        return folder

    return run


def weights(model_folder: Path) -> torch.Tensor:
    """All weights in one vector, as plain transformers reads them."""
    model, report = AutoModelForCausalLM.from_pretrained(model_folder, output_loading_info=True)
    assert not any(report.values())  # no missing, unexpected or mismatched weight
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def ranks(run: Path, what: str) -> list[Any]:
    """What each process of an RL run noted, in the order of the ranks."""
    return [json.loads(file.read_text())[what] for file in sorted(run.glob("rank-*.json"))]


def assert_same_model(run: Path, alone: Path, start: Path) -> None:
    got, expected, before = weights(run / "model"), weights(alone / "model"), weights(start)
    assert (expected - before).abs().max() > 100 * TOLERANCE  # it has learnt something
    torch.testing.assert_close(got, expected, rtol=0, atol=TOLERANCE)


def assert_same_metrics(run: Path, alone: Path, names: tuple[str, ...]) -> None:
    lines, expected = metrics(run), metrics(alone)
    assert [line["step"] for line in lines] == [line["step"] for line in expected]
    assert {name for line in expected for name in line} >= set(names)
    for line, other in zip(lines, expected, strict=True):
        assert line.keys() == other.keys()
        for name in set(names) & other.keys():
            assert line[name] == pytest.approx(other[name], rel=1e-4, abs=1e-9), name


SFT_METRICS = (
    *("loss", "grad_norm", "loss/reasoning", "loss/non_reasoning"),
    *("tokens/reasoning", "tokens/non_reasoning", "tokens/ratio"),
)
PACK_METRICS = (
    *("loss", "grad_norm", "eval_loss", "eval_loss/reasoning"),
    *(f"{what}/reasoning/{domain}" for what in ("loss", "tokens", "eval_loss") for domain in DOMAINS),
)
GROUPS = ("groups/all_correct", "groups/mixed", "groups/all_wrong")
AHEAD_METRICS = ("reward", *GROUPS, "grad_norm", "rollout/staleness", "rollout/lag_kl", "rollout/ess")
RL_METRICS = ("reward", "outcome", *GROUPS, "advantage/std", "grad_norm")
PREF_METRICS = (
    *("loss", "grad_norm", "prob/chosen", "prob/rejected", "ordering_accuracy", "length/chosen", "length/rejected"),
    *("margin/reasoning", "margin/non_reasoning", "ordering_accuracy/en", "prob/chosen/ko"),
)


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("trained", ["sft", "sft-adapters"])
def test_sft_counts_the_tokens_of_both_processes_and_ends_at_the_same_weights(
    trained: str, sharding: str, run_of: RunOf, model_folder: Path
) -> None:
    run, alone = run_of(sharding, trained), run_of("alone", trained)
    for line, other in zip(metrics(run), metrics(alone), strict=True):
        for name in ("step", "tokens/reasoning", "tokens/non_reasoning", "tokens/ratio"):
            assert line[name] == other[name]
    assert_same_metrics(run, alone, SFT_METRICS)
    assert_same_model(run, alone, model_folder)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_sft_packs_shared_by_two_processes_end_at_the_same_weights_and_figures(
    sharding: str, run_of: RunOf, model_folder: Path
) -> None:
    run, alone = run_of(sharding, "packs"), run_of("alone", "packs")
    assert [line["step"] for line in metrics(run) if "eval_loss" in line] == [3, 6]
    assert_same_metrics(run, alone, PACK_METRICS)
    assert_same_model(run, alone, model_folder)


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("trained", ["rl", "rl-adapters"])
def test_rl_judges_groups_over_the_whole_batch_and_ends_at_the_same_weights(
    trained: str, sharding: str, run_of: RunOf, model_folder: Path
) -> None:
    """Of three groups of four, the middle one lies in both processes; each batch serves two updates."""
    run, alone = run_of(sharding, trained), run_of("alone", trained)
    mixed, _, of_each_kind, _ = metrics(alone)
    assert mixed["groups/mixed"] == 1
    assert [of_each_kind[name] for name in GROUPS] == [pytest.approx(1 / 3)] * 3
    assert_same_metrics(run, alone, RL_METRICS)
    # A mean over micro-batches; no response of the first batch is dropped, so they weigh the same however they are cut.
    assert metrics(run)[1]["kl"] == pytest.approx(metrics(alone)[1]["kl"], rel=1e-4)
    assert_same_model(run, alone, model_folder)


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("trained", ["ahead", "ahead-adapters"])
def test_rollouts_sampled_ahead_for_both_processes_are_those_of_one_and_end_at_the_same_weights(
    trained: str, sharding: str, run_of: RunOf, model_folder: Path
) -> None:
    run, alone = run_of(sharding, trained), run_of("alone", trained)
    (given_alone,), given = ranks(alone, "given"), ranks(run, "given")
    assert len(given) == 2
    for batch, *halves in zip(given_alone, *given, strict=True):
        assert [half["step"] for half in halves] == [batch["step"]] * 2
        assert [half["version"] for half in halves] == [max(0, batch["step"] - 1)] * 2
        assert halves[0]["completions"] + halves[1]["completions"] == batch["completions"]
    assert_same_metrics(run, alone, AHEAD_METRICS)
    assert_same_model(run, alone, model_folder)


@pytest.mark.parametrize("sharding", ["alone", *SHARDINGS])
@pytest.mark.parametrize("trained", ["ahead", "ahead-adapters"])
def test_engine_in_a_process_of_its_own_has_gathered_and_merged_weights_at_every_version(
    trained: str, sharding: str, run_of: RunOf
) -> None:
    """Shards would not load; without its adapters the engine would be off by more than a lag of one update."""
    _, one, *later = metrics(run_of(sharding, trained))
    assert "rollout/mismatch_kl" not in one  # the weights of the batch before
    assert [line["rollout/weights_in_sync"] for line in later] == [1.0, 1.0]
    assert max(line["rollout/mismatch_kl"] for line in later) < 1e-9
    assert min(line["rollout/lag_kl"] for line in later) > 1e-5


@pytest.mark.parametrize("sharding", ["ddp", "zero2"])
@pytest.mark.parametrize("trained", ["ahead", "ahead-adapters"])
def test_both_processes_hold_the_same_bits_after_weights_went_to_the_engine(
    trained: str, sharding: str, run_of: RunOf
) -> None:
    """Only one of them hands the weights over; adapters are merged into them for that."""
    one, other = ranks(run_of(sharding, trained), "weights")
    assert one == other


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("trained", ["pref", "pref-adapters"])
def test_preference_averages_over_the_pairs_of_both_processes_and_ends_at_the_same_weights(
    trained: str, sharding: str, run_of: RunOf, model_folder: Path
) -> None:
    run, alone = run_of(sharding, trained), run_of("alone", trained)
    assert_same_metrics(run, alone, PREF_METRICS)
    assert_same_model(run, alone, model_folder)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_sft_killed_in_both_processes_goes_on_at_the_next_row(
    sharding: str, run_of: RunOf, resumed: RunOf, model_folder: Path
) -> None:
    run, uninterrupted = resumed(sharding, "workers"), run_of(sharding, "workers")
    for line, other in zip(metrics(run), metrics(uninterrupted), strict=True):
        for name in ("step", "loss", "tokens/reasoning", "tokens/non_reasoning"):
            assert line[name] == other[name]
    assert_same_model(run, run_of("alone", "sft"), model_folder)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_rl_killed_in_both_processes_goes_on_with_the_rollouts_that_were_on_their_way(
    sharding: str, run_of: RunOf, resumed: RunOf
) -> None:
    run, uninterrupted = resumed(sharding, "ahead-adapters"), run_of(sharding, "ahead-adapters")
    assert ranks(run, "given") == [given[2:] for given in ranks(uninterrupted, "given")]
    assert ranks(run, "weights") == ranks(uninterrupted, "weights")
    assert torch.equal(weights(run / "model"), weights(uninterrupted / "model"))


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("trained", ["workers", "sft-adapters"])
def test_last_checkpoint_is_exported_as_the_model_of_its_run(
    trained: str, sharding: str, run_of: RunOf, tmp_path: Path
) -> None:
    run = run_of(sharding, trained)
    export_checkpoint(run / "checkpoints/checkpoint-6", out=tmp_path / "model")
    torch.testing.assert_close(weights(tmp_path / "model"), weights(run / "model"), rtol=0, atol=1e-7)
    for name in ("chat_template.jinja", "tokenizer.json", "generation_config.json"):
        assert (tmp_path / "model" / name).read_bytes() == (run / "model" / name).read_bytes()


@pytest.mark.parametrize("sharding", ["zero2", "zero3"])
def test_shards_of_zero_without_gathered_weights_are_exported_as_the_model_of_their_run(
    sharding: str, run_of: RunOf, tmp_path: Path
) -> None:
    run, shards = run_of(sharding, "workers"), tmp_path / "checkpoint-6"
    shutil.copytree(run / "checkpoints/checkpoint-6", shards)
    (shards / "model.safetensors").unlink()
    facts = read_seal(shards)
    (shards / SEAL).unlink()
    seal(shards, 6, {"world_size": facts["world_size"]})
    export_checkpoint(shards, out=tmp_path / "model")
    assert torch.equal(weights(tmp_path / "model"), weights(run / "model"))


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
