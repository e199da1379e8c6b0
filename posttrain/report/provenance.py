"""Where the numbers come from: one row per fact, one column per stage."""

from collections.abc import Sequence

from posttrain.report.load import StageRun
from posttrain.report.words import NOTHING, duration

SHORT = 12  # characters of a hash that are shown in the table; the whole one stands next to the recipe


def provenance(stages: Sequence[StageRun]) -> list[tuple[str, list[str]]]:
    """(fact, its value per stage): status, times, seed, revision, template, then the versions of the packages."""
    manifests = [stage.manifest for stage in stages]
    rows = [
        ("status", [str(each.get("status") or NOTHING) for each in manifests]),
        ("started", [_moment(each.get("started")) for each in manifests]),
        ("took", [duration(each["seconds"]) if each.get("seconds") else NOTHING for each in manifests]),
        ("seed", [str(each.get("seed", NOTHING)) for each in manifests]),
        ("git revision", [_short(each.get("git_revision")) for each in manifests]),
        ("chat template", [_short(each.get("template_sha256")) for each in manifests]),
    ]
    versions = [each.get("versions") or {} for each in manifests]
    packages = dict.fromkeys(package for each in versions for package in each)
    return rows + [(package, [str(each.get(package, NOTHING)) for each in versions]) for package in packages]


def _short(digest: object) -> str:
    return str(digest)[:SHORT] if digest else NOTHING


def _moment(iso: object) -> str:
    return f"{str(iso)[:16].replace('T', ' ')} UTC" if iso else NOTHING
