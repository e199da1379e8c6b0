"""Links between the Markdown files lead somewhere, as GitHub and as Sphinx read them."""

import re
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, PROJECT

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without its blocks of code and its code in sentences, where brackets mean something else."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", lambda code: "" if "](" in code[0] else code[0], text)


def anchors(page: Path) -> list[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    slugs: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slugs.append(re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-"))
    return slugs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_within_the_project_lead_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(PROJECT), f"{link}: outside of the project"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_no_two_headings_of_a_page_have_one_anchor(page: Path) -> None:
    if page.name != "CHANGELOG.md":  # its releases have the same parts
        assert len(anchors(page)) == len(set(anchors(page)))


def test_index_names_every_page_once() -> None:
    index = PROJECT / "docs" / "index.md"
    listed = [(index.parent / link).resolve() for link in re.findall(r"(?m)^- \[.*?\]\(([^)]+)\)", index.read_text())]
    assert sorted(listed) == [page for page in PAGES if page != index]
