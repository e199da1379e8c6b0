"""Checkpoints on the disk: sealed, verified, rotated; and what the trainers' saving builds on upstream."""

import errno
import inspect
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerState

from posttrain.errors import UserError
from posttrain.preference.peers import PairDPOTrainer, PairSimPOTrainer
from posttrain.preference.trainer import SimPERTrainer
from posttrain.rl.trainer import AGAPOTrainer
from posttrain.run_folder.checkpoints import CheckpointFolder
from posttrain.run_folder.seals import find_damage, seal
from posttrain.saving import WholeCheckpoints, on_main
from posttrain.sft.trainer import UnifiedSFTTrainer

PLAIN = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth")
FACTS: dict[str, Any] = {"world_size": 1}


def write(folder: Path, names: Iterable[str] = PLAIN) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    return folder


@pytest.fixture
def checkpoints(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoints")


def save(checkpoints: CheckpointFolder, step: int) -> Path:
    with checkpoints.written(step):
        checkpoints.prepare(step)
        write(checkpoints.aside / f"checkpoint-{step}")
        checkpoints.place(step, FACTS)
    return checkpoints.of_step(step)


def names(checkpoints: CheckpointFolder) -> list[str]:
    return sorted(path.name for path in checkpoints.path.iterdir())


# --- the seal ---


def test_manifest_has_step_facts_and_every_file_with_size_and_checksum(tmp_path: Path) -> None:
    folder = write(tmp_path / "checkpoint-7", (*PLAIN, "global_step7/mp_rank_00_model_states.pt"))
    seal(folder, 7, {"world_size": 1, "versions": {"torch": "2"}})
    content = json.loads((folder / "MANIFEST.json").read_text())
    assert (content["step"], content["world_size"], content["versions"]) == (7, 1, {"torch": "2"})
    assert sorted(content["files"]) == sorted([*PLAIN, "global_step7/mp_rank_00_model_states.pt"])
    # printf 'content of optimizer.pt' | sha256sum
    digest = "2ced04064de9e88589a13c8caaa354349d378105269be4b99c729ab81f88216d"
    assert content["files"]["optimizer.pt"] == {"bytes": 23, "sha256": digest}
    assert find_damage(folder, checksums=True) is None


@pytest.mark.parametrize("lost", PLAIN)
def test_a_checkpoint_that_could_not_be_resumed_is_not_sealed(tmp_path: Path, lost: str) -> None:
    folder = write(tmp_path / "checkpoint-7", [name for name in PLAIN if name != lost])
    with pytest.raises(RuntimeError, match="the trainer wrote a checkpoint without"):
        seal(folder, 7, FACTS)
    assert not (folder / "MANIFEST.json").exists()


@pytest.mark.parametrize(
    "files",
    [
        ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt"),
        ("model-00001-of-00002.safetensors", "optimizer.pt", "scheduler.pt"),
        ("pytorch_model_fsdp_0/__0_0.distcp", "optimizer_0/__0_0.distcp", "scheduler.pt"),
        ("pytorch_model_fsdp.bin", "optimizer.bin", "scheduler.pt"),
        ("global_step7/mp_rank_00_model_states.pt", "global_step7/zero_pp_rank_0_mp_rank_00_optim_states.pt"),
    ],
)
def test_what_ddp_adapters_fsdp_and_zero_write_is_whole_with_the_random_state_of_every_rank(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    folder = write(tmp_path / "checkpoint-7", (*files, "trainer_state.json", "rng_state_0.pth"))
    with pytest.raises(RuntimeError, match=r"without rng_state_1\.pth, but "):
        seal(folder, 7, {"world_size": 2})
    write(folder, ["rng_state_1.pth"])
    seal(folder, 7, {"world_size": 2})
    assert find_damage(folder, checksums=True) is None


def test_damage_is_found_by_size_or_by_content_and_named(checkpoints: CheckpointFolder) -> None:
    path = save(checkpoints, 7)
    (path / "scheduler.pt").write_text("CONTENT OF scheduler.pt")
    assert find_damage(path, checksums=False) is None
    assert find_damage(path, checksums=True) == "scheduler.pt has another checksum"
    (path / "optimizer.pt").write_text("content")
    assert find_damage(path, checksums=False) == "optimizer.pt has 7 bytes, 23 were written"
    (path / "model.safetensors").unlink()
    assert find_damage(path, checksums=True) == "model.safetensors is missing"
    for content in ("", "[]", "{}", '{"step": 7}'):
        (path / "MANIFEST.json").write_text(content)
        assert str(find_damage(path, checksums=True)).startswith("MANIFEST.json cannot be read: ")


def test_a_checkpoint_under_the_name_of_another_step_is_not_taken(checkpoints: CheckpointFolder) -> None:
    save(checkpoints, 7).rename(checkpoints.of_step(9))
    assert checkpoints.newest().path is None
    assert checkpoints.newest().broken == ["checkpoint-9.broken is broken"]


# --- the folder ---


def test_newest_is_by_step_and_names_that_are_none_are_left_alone(checkpoints: CheckpointFolder) -> None:
    assert checkpoints.newest() == (None, [])
    for step in (9, 10, 2):
        save(checkpoints, step)
    (checkpoints.path / "checkpoint-x").mkdir()
    (checkpoints.path / "checkpoint-11").mkdir()
    found = checkpoints.newest()
    assert found.path == checkpoints.of_step(10)
    assert found.broken == ["checkpoint-11 is broken, MANIFEST.json is missing (it is checkpoint-11.broken now)"]
    (checkpoints.path / "checkpoint-11").mkdir()
    assert checkpoints.newest().broken[0].endswith("(it is checkpoint-11.broken-2 now)")
    assert (checkpoints.path / "checkpoint-x").is_dir()


def test_rotation_keeps_the_newest_whole_ones_and_the_best(checkpoints: CheckpointFolder) -> None:
    for step in (2, 4, 6, 8, 10):
        save(checkpoints, step)
    (checkpoints.of_step(8) / "optimizer.pt").unlink()
    checkpoints.rotate(None)
    checkpoints.rotate(0)
    assert len(names(checkpoints)) == 5
    checkpoints.rotate(2, kept=[checkpoints.of_step(2)])
    assert names(checkpoints) == ["checkpoint-10", "checkpoint-2", "checkpoint-6", "checkpoint-8"]
    checkpoints.rotate(1)
    assert names(checkpoints) == ["checkpoint-10", "checkpoint-8"]


def test_a_step_that_is_saved_again_replaces_what_was_there(checkpoints: CheckpointFolder) -> None:
    (save(checkpoints, 4) / "optimizer.pt").unlink()
    assert find_damage(save(checkpoints, 4), checksums=True) is None
    assert names(checkpoints) == ["checkpoint-4"]


TORCH_SAYS = "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), RuntimeError(TORCH_SAYS)])
def test_a_write_that_fails_is_one_line_and_leaves_nothing(checkpoints: CheckpointFolder, error: Exception) -> None:
    save(checkpoints, 2)
    checkpoints.prepare(4)
    write(checkpoints.aside / "checkpoint-4", PLAIN[:2])
    problem = r"checkpoint-4 could not be written to .*; checkpoint-2 is kept"
    with pytest.raises(UserError, match=problem), checkpoints.written(4):
        raise error
    assert names(checkpoints) == ["checkpoint-2"]


def test_an_error_that_is_not_of_the_disk_is_not_hidden(checkpoints: CheckpointFolder) -> None:
    with pytest.raises(RuntimeError, match="shape mismatch"), checkpoints.written(4):
        raise RuntimeError("shape mismatch")


def test_less_free_space_than_the_next_checkpoint_takes_is_refused(
    checkpoints: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(checkpoints, 2)
    os.truncate(path / "optimizer.pt", 10**9)  # a hole in the file: it takes no space
    free = SimpleNamespace(free=1.1e9)
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    with pytest.raises(UserError, match=r"checkpoint-4 needs 1\.2 GB in .*, 1\.1 GB are free; checkpoint-2 is kept"):
        checkpoints.prepare(4)
    free.free = 1.3e9
    checkpoints.prepare(4)


# --- the trainers ---


@pytest.mark.parametrize("trainer", [UnifiedSFTTrainer, AGAPOTrainer, SimPERTrainer, PairDPOTrainer, PairSimPOTrainer])
def test_every_trainer_saves_whole_checkpoints(trainer: type) -> None:
    for hook in ("_save_checkpoint", "_get_output_dir"):
        assert getattr(trainer, hook) is getattr(WholeCheckpoints, hook)
    wrapped = "super()._run_epoch(**" in inspect.getsource(trainer._run_epoch)  # type: ignore[attr-defined]
    assert WholeCheckpoints in trainer.__mro__
    assert wrapped or trainer._run_epoch is WholeCheckpoints._run_epoch  # type: ignore[attr-defined]


@pytest.mark.parametrize(("best_step", "is_there"), [(4, True), (2, True), (3, False)])
def test_the_best_checkpoint_is_named_where_it_will_be(tmp_path: Path, best_step: int, is_there: bool) -> None:
    """That of step 4 is being written, that of step 2 is there, that of step 3 was never saved."""
    folder = CheckpointFolder(tmp_path)
    being_written = folder.aside / "checkpoint-4"
    being_written.mkdir(parents=True)
    folder.of_step(2).mkdir()
    saver: Any = WholeCheckpoints()
    saver.args, saver.state = SimpleNamespace(should_save=True), TrainerState(best_global_step=best_step)
    saver._mend_best(folder, 4)
    expected = str(folder.of_step(best_step)) if is_there else None
    assert saver.state.best_model_checkpoint == expected
    if is_there:
        assert json.loads((being_written / "trainer_state.json").read_text())["best_model_checkpoint"] == expected


def test_a_refusal_of_the_main_process_is_one_of_every_process() -> None:
    def refuse() -> None:
        raise UserError("no")

    assert on_main(SimpleNamespace(is_main_process=True), lambda: 3) == 3
    with pytest.raises(UserError, match="no"):
        on_main(SimpleNamespace(is_main_process=True), refuse)


# --- tripwires: what we build on upstream is still there ---


def test_upstream_asks_where_to_write_and_runs_epochs_with_named_arguments() -> None:
    from transformers import Trainer
    from transformers.trainer_callback import TrainerState

    assert list(inspect.signature(Trainer._get_output_dir).parameters) == ["self", "trial"]
    assert list(inspect.signature(Trainer._save_checkpoint).parameters) == ["self", "model", "trial"]
    saving = inspect.getsource(Trainer._save_checkpoint)
    assert "run_dir = self._get_output_dir(trial=trial)" in saving
    assert 'f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"' in saving
    assert "output_dir=run_dir" in saving.partition("rotate_checkpoints(")[2]
    loop = inspect.getsource(Trainer._inner_training_loop)
    assert "self._run_epoch(\n                model=model," in loop
    assert "if self.control.should_training_stop:\n                break" in loop
    assert {"best_global_step", "best_model_checkpoint"} <= vars(TrainerState()).keys()
