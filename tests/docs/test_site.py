"""`make docs`: Sphinx builds the site without a warning, and fails where a link leads nowhere."""

import shutil
from pathlib import Path

import pytest
from sphinx.cmd.build import main

from tests.docs.markdown import PAGES, PROJECT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's Markdown with what it links to."""
    copy = tmp_path_factory.mktemp("project")
    for folder in ("docs", "recipes", "rewards", "data_mixers", "posttrain/chat/templates", "tests"):
        shutil.copytree(PROJECT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for page in [*PAGES, PROJECT / "CITATION.cff"]:
        shutil.copy(page, copy / page.relative_to(PROJECT))
    return copy


def build(copy: Path) -> int:
    folders = ["-c", str(copy / "docs"), "-d", str(copy / "doctrees"), str(copy), str(copy / "build" / "docs")]
    return int(main(["-W", "--keep-going", "-q", *folders]))


def test_site_has_every_page_formulas_and_nothing_from_a_network(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(copy) == 0, capsys.readouterr().err
    site = copy / "build" / "docs"
    for page in PAGES:
        html = (site / page.relative_to(PROJECT).with_suffix(".html")).read_text(encoding="utf-8")
        assert 'src="http' not in html
        assert 'rel="stylesheet" type="text/css" href="http' not in html
    assert (site / "docs" / "recipe.html").read_text(encoding="utf-8").count("<math") > 10
    assert 'href="metrics.html"' in (site / "docs" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("link", ["[x](nowhere.md)", "[x](rl.md#no-such-heading)"])
def test_link_that_leads_nowhere_fails_the_build(copy: Path, link: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = copy / "docs" / "extending.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(f"{text}\n{link}\n", encoding="utf-8")
    try:
        assert build(copy) != 0
        assert "extending.md" in capsys.readouterr().err
    finally:
        page.write_text(text, encoding="utf-8")
