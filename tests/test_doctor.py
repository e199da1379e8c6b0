import subprocess
import sys
from pathlib import Path

import pytest

from posttrain import doctor
from posttrain.doctor import WIDTH
from rewards._sandbox.process import Tier


def test_doctor_says_what_there_is_in_80_columns() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "posttrain", "doctor"], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= WIDTH
    for what in ("python", "torch", "devices", "sandbox A", "sandbox B", "sandbox: auto"):
        assert f"  {what} " in done.stdout


def test_doctor_does_not_import_the_trainers() -> None:
    code = "import sys; from posttrain.doctor import examine; examine(); print('trl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("faults", "advice"),
    [
        ({Tier.BUBBLEWRAP: None, Tier.LANDLOCK: None}, ["runs in A"]),
        (
            {Tier.BUBBLEWRAP: "no", Tier.LANDLOCK: None},
            ["runs in B", "apt install", "seccomp=unconfined", "Ubuntu 24.04"],
        ),
        ({Tier.BUBBLEWRAP: "no", Tier.LANDLOCK: "no"}, ["refuses", "apt install", "Landlock among"]),
    ],
)
def test_doctor_tells_how_to_get_a_better_sandbox(
    faults: dict[Tier, str | None],
    advice: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "fault", faults.get)
    doctor.examine()
    text = " ".join(capsys.readouterr().out.split())
    for words in advice:
        assert words in text
