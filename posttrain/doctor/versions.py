"""The installed versions against those that this one was tested with: its own requirements, as they were installed."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement

from posttrain import __version__
from posttrain.doctor.finding import Finding, fix, ok, warning

SHOWN = ("torch", "transformers", "trl", "accelerate", "peft", "deepspeed", "datasets")  # the others only if wrong
TORCH_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")


def check_versions() -> Iterator[Finding]:
    """Python, this package, and all it asks for; an optional package only where it is installed."""
    try:
        asked = [Requirement(text) for text in requires("posttrain") or ()]
        wanted_python, installed = metadata("posttrain")["Requires-Python"], version("posttrain")
    except PackageNotFoundError:
        yield fix("posttrain", f"{__version__}, not installed", "in the project's folder: pip install -e .")
        return
    yield _python(wanted_python)
    if installed == __version__:
        yield ok("posttrain", __version__)
    else:
        yield warning("posttrain", f"{__version__}, installed as {installed}", "install it again: pip install -e .")
    as_tested = 0
    for requirement in asked:
        finding = _package(requirement)
        if finding is not None and (finding.advice or requirement.name in SHOWN):
            yield finding
        as_tested += finding is not None and not finding.advice and requirement.name not in SHOWN
    yield ok("other packages", f"{as_tested} of the versions asked for")
    yield from _torch_companions()


def _python(wanted: str) -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.release()}, {platform.machine()}"
    if Requirement(f"python{wanted}").specifier.contains(platform.python_version(), prereleases=True):
        return ok("python", found)
    return fix("python", f"{found}; tested with {wanted}", f"make an environment with Python {wanted}")


def _package(requirement: Requirement) -> Finding | None:
    """None: an optional package that is not there, or one that is not for this machine."""
    name, wanted = requirement.name, requirement.specifier
    is_required = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    install = f'pip install "{name}{wanted}"'
    try:
        found = version(name)
    except PackageNotFoundError:
        return fix(name, "not installed", install) if is_required else None
    if wanted.contains(found, prereleases=True):
        return ok(name, found)
    say = fix if is_required else warning
    return say(name, f"{found}; tested with {wanted}", install)


def _torch_companions() -> Iterator[Finding]:
    """With a torchvision for another torch no model of transformers can be imported, and nothing here needs one."""
    for name in TORCH_COMPANIONS:
        try:
            asked = [Requirement(text) for text in requires(name) or ()]
            torch, found = version("torch"), version(name)
        except PackageNotFoundError:
            continue
        for requirement in asked:
            if requirement.name == "torch" and not requirement.specifier.contains(torch, prereleases=True):
                wrong = f"{found}, which is for torch{requirement.specifier}, and torch is {torch}"
                yield fix(name, wrong, f"nothing here needs it: pip uninstall -y {name}")
