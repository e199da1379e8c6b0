from pathlib import Path

import pytest

from posttrain.run_folder.heartbeat import HEARTBEAT, read_beat, write_beat


def test_a_beat_says_the_step_and_is_told_from_the_one_before(tmp_path: Path) -> None:
    write_beat(tmp_path, 3)
    first = read_beat(tmp_path)
    write_beat(tmp_path, 3)
    second = read_beat(tmp_path)
    assert first is not None
    assert second is not None
    assert (first.step, second.step) == (3, 3)
    assert second.monotonic > first.monotonic
    assert [path.name for path in tmp_path.iterdir()] == [HEARTBEAT]


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "7", '{"step": 3}'])
def test_what_cannot_be_read_is_no_beat(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / HEARTBEAT).write_text(content)
    assert read_beat(tmp_path) is None
