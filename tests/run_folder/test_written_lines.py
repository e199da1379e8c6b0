"""Lines of metrics and samples, and which process writes them."""

import json
from pathlib import Path

import pytest

from posttrain.run_folder.files import json_safe
from tests.run_folder.conftest import lines, manifest, started


def test_metrics_are_one_json_object_a_line_with_null_for_what_is_not_finite(folder: Path, data: Path) -> None:
    with started(folder, data) as run:
        run.append_metrics(1, {"loss": 0.5, "kl": float("nan"), "entropy": float("-inf"), "rollout/weights_in_sync": 1})
        run.append_metrics(2, {"loss": 0.25})
    first, second = lines(folder / "metrics.jsonl")
    assert (first["step"], first["loss"], first["kl"], first["entropy"]) == (1, 0.5, None, None)
    assert (second["step"], second["loss"]) == (2, 0.25)
    assert 0 <= first["time"] <= second["time"]


def test_metrics_are_on_disk_before_the_call_returns(folder: Path, data: Path) -> None:
    run = started(folder, data)
    run.append_metrics(1, {"loss": 0.5})
    assert lines(folder / "metrics.jsonl")[0]["loss"] == 0.5


def test_sample_with_any_text_stays_one_line(folder: Path, data: Path) -> None:
    answer = 'a\nb\r\u2028c\u2029d\x85e\x0b "정답" \ud800'
    with started(folder, data) as run:
        run.append_samples([{"step": 1, "answer": answer, "reward": float("nan"), "prompt": [{"role": "user"}]}])
    text = (folder / "samples.jsonl").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1
    assert "정답" in text
    assert json.loads(text) == {"step": 1, "answer": answer, "reward": None, "prompt": [{"role": "user"}]}


def test_scalars_of_other_libraries_become_numbers() -> None:
    class Scalar:
        def item(self) -> float:
            return float("nan")

    assert json_safe({"a": Scalar(), 1: (1, 2.5, Path("x"))}) == {"a": None, "1": [1, 2.5, "x"]}


# --- several processes ---


def test_other_ranks_write_nothing_and_are_never_refused(folder: Path, data: Path) -> None:
    with started(folder, data, is_main=False) as run:
        run.append_metrics(1, {"loss": 1.0})
        run.append_samples([{"step": 1}])
        run.truncate_metrics(0)
        run.finish({"a": 1})
    assert not run.is_main
    assert not folder.exists()
    with started(folder, data), started(folder, data, is_main=False) as other:
        assert other.facts() == {}
    with pytest.raises(RuntimeError), started(folder, data, is_main=False):
        raise RuntimeError
    assert manifest(folder)["status"] == "finished"


@pytest.mark.parametrize(("rank", "is_main"), [(None, True), ("0", True), ("1", False)])
def test_rank_zero_is_the_one_that_writes(
    folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch, rank: str | None, is_main: bool
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert started(folder, data, is_main=None).is_main is is_main
    assert folder.exists() is is_main
