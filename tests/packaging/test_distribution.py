"""The wheel and the sdist, built from a copy of this project and used where no checkout is."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from posttrain import __version__

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
PACKAGES = ("posttrain", "rewards", "data_mixers")
SOURCE = (*PACKAGES, "recipes", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def run(*words: object, folder: Path, **environment: str) -> str:
    """The standard output of a command that succeeds."""
    done = subprocess.run(
        [*map(str, words)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_below(folder: Path) -> set[str]:
    """With what links lead to, without what Python compiled."""
    names = {
        f"{Path(parent).relative_to(folder.parent).as_posix()}/{name}"
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
    }
    return {name for name in names if "__pycache__" not in name}


def files_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, as building leaves files beside the sources; with tests, which must not get in."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCE:
        if (PROJECT / name).is_dir():
            shutil.copytree(
                PROJECT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        else:
            shutil.copy(PROJECT / name, copy)
    (copy / "tests").mkdir()
    (copy / "tests" / "test_x.py").write_text("")
    return copy


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-c", BUILD, "build_sdist", folder, folder=source)
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(source: Path, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sources; after the sdist, as both write beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-c", BUILD, "build_wheel", folder, folder=source)
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel is installed, alone; the packages that it asks for come from this environment."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", folder]
    run(sys.executable, "-m", "pip", "install", *options, wheel, folder=folder)
    return folder


@pytest.fixture(scope="module")
def prepared(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the installed demo has made its data and its model."""
    folder = tmp_path_factory.mktemp("prepared")
    code = (
        "from pathlib import Path; from posttrain.demo import conductor; from posttrain.recipe import load_recipe\n"
        "for _, stage, name, overrides in conductor.STEPS:\n"
        "    load_recipe(conductor.RECIPES / f'{name}.yaml', overrides, stage=stage)\n"
        "conductor.STEPS = ()\n"
        "conductor.run_demo(Path('demo'), 0)\n"
    )
    assert "demo done" in run(sys.executable, "-c", code, folder=folder, PYTHONPATH=str(site))
    return folder


def test_wheel_has_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    expected = {name for package in PACKAGES for name in files_below(PROJECT / package)}
    metadata = f"posttrain-{__version__}.dist-info/"
    assert {name for name in files_in(wheel) if not name.startswith(metadata)} == expected
    assert {f"{metadata}licenses/LICENSE", f"{metadata}entry_points.txt"} <= files_in(wheel)


def test_sdist_builds_the_same_wheel_and_has_no_tests(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        assert not [name for name in archive.getnames() if name.split("/")[1:2] == ["tests"]]
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "out").mkdir()
    run(sys.executable, "-c", BUILD, "build_wheel", tmp_path / "out", folder=tmp_path / f"posttrain-{__version__}")
    (again,) = (tmp_path / "out").iterdir()
    assert again.name == wheel.name
    assert files_in(again) == files_in(wheel)


def test_installed_command_and_packages_are_those_of_the_wheel(site: Path, tmp_path: Path) -> None:
    told = run(site / "bin" / "posttrain", "--version", folder=tmp_path, PYTHONPATH=str(site))
    assert told == f"posttrain {__version__}\n"
    code = f"import {', '.join(PACKAGES)}; print({', '.join(f'{name}.__file__' for name in PACKAGES)})"
    places = run(sys.executable, "-c", code, folder=tmp_path, PYTHONPATH=str(site)).split()
    assert places == [f"{site}/{name}/__init__.py" for name in PACKAGES]


def test_installed_package_knows_the_versions_that_the_project_file_asks_for(site: Path, tmp_path: Path) -> None:
    code = "from importlib.metadata import requires; print(*requires('posttrain'), sep='\\n')"
    told = run(sys.executable, "-c", code, folder=tmp_path, PYTHONPATH=str(site)).splitlines()
    asked = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert {str(Requirement(text)) for text in asked} == {str(Requirement(text)) for text in told if ";" not in text}


def test_installed_package_writes_its_recipes_and_checks_one(site: Path, tmp_path: Path) -> None:
    posttrain = site / "bin" / "posttrain"
    run(posttrain, "recipes", folder=tmp_path, PYTHONPATH=str(site))
    assert files_below(tmp_path / "recipes") == files_below(PROJECT / "recipes")
    recipe = "recipes/exaone-4.0-1.2b/sft.yaml"
    told = run(posttrain, "check", recipe, "--config-only", folder=tmp_path, PYTHONPATH=str(site))
    assert "not checked" in told


def test_installed_demo_prepares_its_data_and_model_and_has_the_recipe_of_every_step(prepared: Path) -> None:
    """The steps themselves take minutes."""
    assert (prepared / "demo" / "base" / "chat_template.jinja").is_file()


def test_installed_package_makes_pairs_with_a_users_reward_and_learns_from_them(site: Path, prepared: Path) -> None:
    (prepared / "mine.py").write_text(
        "from rewards import Attempt, Verdict\n\n\n"
        "def even(attempt: Attempt) -> Verdict:\n"
        "    is_even = len(attempt.thinking + attempt.answer) % 2 == 0\n"
        "    return Verdict(float(is_even), outcome=is_even)\n"
    )
    prompts = (prepared / "demo" / "data" / "pairs_stage1.jsonl").read_text(encoding="utf-8").splitlines()
    (prepared / "few.jsonl").write_text("\n".join(prompts[:8]) + "\n", encoding="utf-8")
    code = (
        "from posttrain import cli; from posttrain.recipe import SHIPPED\n"
        "def call(stage, *words):\n"
        "    recipe = str(SHIPPED / 'demo' / f'{stage}-stage1.yaml')\n"
        "    assert cli.main([stage, recipe, 'root=demo', 'model.path=demo/base', *words]) == 0\n"
        "short = ('engine={name: transformers}', 'decoding.max_new_tokens=16')\n"
        "call('pairs', 'data.sources.0.path=few.jsonl', 'rewards=[{use: \"mine:even\"}]', *short)\n"
        "call('pref', 'trainer.max_steps=1', 'trainer.per_device_train_batch_size=4')\n"
    )
    run(sys.executable, "-c", code, folder=prepared, PYTHONPATH=str(site))
    assert (prepared / "demo" / "pref-stage1" / "model" / "model.safetensors").is_file()


def test_a_users_file_is_checked_against_the_types_of_the_wheel(site: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from data_mixers.by_tokens import ByTokens\n"
        "from posttrain.errors import did_you_mean\n"
        "from rewards.contract import Attempt, Verdict\n\n\n"
        "def mine(attempt: Attempt) -> Verdict:\n"
        "    reveal_type(attempt.answer)\n"
        "    reveal_type(ByTokens)\n"
        "    return Verdict(did_you_mean('a', []))\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "mine.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False
    )
    assert 'Revealed type is "str"' in done.stdout
    assert "ByTokens" in done.stdout
    assert 'has incompatible type "str"; expected "float | None"' in done.stdout
    assert "Found 1 error in 1 file" in done.stdout
