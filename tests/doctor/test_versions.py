"""The versions, against requirements of packages that are made up on a path of their own."""

from importlib.metadata import version
from pathlib import Path

import pytest

from posttrain import __version__
from posttrain.doctor.finding import Finding
from posttrain.doctor.versions import check_versions


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that comes before all others."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(site: Path, name: str, version: str, *requirements: str) -> None:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir()
    lines = [f"Requires-Dist: {requirement}" for requirement in requirements]
    head = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", "Requires-Python: >=3.11"]
    (folder / "METADATA").write_text("\n".join([*head, *lines, ""]))


def found() -> dict[str, Finding]:
    return {finding.what: finding for finding in check_versions()}


def test_the_versions_of_this_environment_are_the_tested_ones() -> None:
    assert {finding.what for finding in check_versions() if finding.state != "ok"} == set()


@pytest.mark.parametrize(
    ("requirement", "installed", "state", "told", "advice"),
    [
        ("trl>=1.16,<1.17", "1.16.3", "ok", "1.16.3", ""),
        ("trl>=1.16,<1.17", "1.17.0", "fix", "1.17.0; tested with <1.17,>=1.16", 'pip install "trl<1.17,>=1.16"'),
        ("trl==1.16.0", "1.16.0+local", "ok", "1.16.0+local", ""),
        ('trl<1.17; extra == "rl"', "1.17.0", "warning", "1.17.0; tested with <1.17", 'pip install "trl<1.17"'),
    ],
)
def test_a_version_is_compared_with_what_the_package_asks_for(
    site: Path, requirement: str, installed: str, state: str, told: str, advice: str
) -> None:
    install(site, "posttrain", __version__, requirement)
    install(site, "trl", installed)
    assert found()["trl"] == (state, "trl", told, advice)


def test_a_required_package_that_is_missing_is_to_be_installed_and_an_optional_one_is_not_told(site: Path) -> None:
    install(site, "posttrain", __version__, "no-such-package>=2", 'none-such>=1; extra == "x"')
    lines = found()
    assert lines["no-such-package"] == ("fix", "no-such-package", "not installed", 'pip install "no-such-package>=2"')
    assert "none-such" not in lines


def test_a_stale_installation_is_told(site: Path) -> None:
    install(site, "posttrain", "0.0.1")
    assert found()["posttrain"][:3] == ("warning", "posttrain", f"{__version__}, installed as 0.0.1")


def test_a_python_that_is_too_old_is_to_be_replaced(site: Path) -> None:
    install(site, "posttrain", __version__)
    file = site / f"posttrain-{__version__}.dist-info" / "METADATA"
    file.write_text(file.read_text().replace(">=3.11", ">=3.99"))
    assert found()["python"].state == "fix"
    assert "tested with >=3.99" in found()["python"].found


def test_a_torchvision_for_another_torch_is_to_be_removed(site: Path) -> None:
    install(site, "torchvision", "9.0", "torch==99.0", "numpy")
    line = found()["torchvision"]
    assert line.state == "fix"
    assert f"for torch==99.0, and torch is {version('torch')}" in line.found
    assert "pip uninstall -y torchvision" in line.advice


def test_a_torchvision_for_this_torch_is_left_alone(site: Path) -> None:
    install(site, "torchvision", "9.0", f"torch=={version('torch').partition('+')[0]}")
    assert "torchvision" not in found()
