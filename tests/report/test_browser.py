"""The page in a real browser: it draws, its filters work, on a wide and a narrow screen, in light and in dark."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from posttrain.report.stage import report_folders
from tests.report.browser import CHROMIUM, DRIVER, Browser, open_browser
from tests.report.conftest import write_pipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (apt: chromium-driver)"),
]

SHOWN = """
return [...document.querySelectorAll("article")].filter(each => !each.hidden).map(each => each.getAttribute("data-{}"))
"""
CHOOSE = """
const field = document.querySelector(arguments[0]);
field.value = arguments[1];
field.dispatchEvent(new Event("input", {bubbles: true}));
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    pipelines = [write_pipeline(root / name, seed=seed) for seed, name in enumerate(("first", "second"))]
    report_folders(pipelines, root / "report.html")
    return root / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_chart_is_drawn_within_the_screen_and_the_console_stays_silent(browser, page, tmp_path, width, is_dark):
    browser.open(page, width=width, is_dark=is_dark)
    places = "[...document.querySelectorAll('.chart')].filter(each => each.offsetParent)"
    assert browser.run(f"return {places}.length") > 20
    assert browser.run(f"return {places}.filter(each => !each.querySelector('svg.main-svg')).length") == 0
    assert browser.run("return document.documentElement.scrollWidth") == width
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(","))) < 300) == is_dark
    browser.picture(tmp_path / "page.png", height=900)
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert browser.errors() == []


def test_each_filter_keeps_what_it_names_and_search_keeps_what_has_the_words(browser, page):
    browser.open(page, width=1400)
    keys = browser.run("return [...document.querySelectorAll('[data-filter]')].map(each => each.dataset.filter)")
    assert keys == ["stage", "mode", "judged", "group_type", "language", "source"]
    for key in keys:
        field = f"[data-filter={key}]"
        wanted = browser.run("return document.querySelector(arguments[0]).options[1].value", field)
        browser.run(CHOOSE, field, wanted)
        assert set(browser.run(SHOWN.format(key))) == {wanted}
        browser.run(CHOOSE, field, "")
    browser.run(CHOOSE, "[type=search]", "LAST digit cifra")
    assert browser.run("return document.querySelector('output').textContent") == "none fits"
    browser.run(CHOOSE, "[type=search]", "última cifra")
    assert set(browser.run(SHOWN.format("language"))) == {"es"}
    assert browser.errors() == []


def test_more_conversations_come_when_asked_for(browser, page):
    browser.open(page, width=1400)
    before = len(browser.run(SHOWN.format("stage")))
    browser.run("document.querySelector('.more').click()")
    assert len(browser.run(SHOWN.format("stage"))) == 2 * before


def test_a_tab_shows_the_charts_of_its_decoding(browser, page):
    browser.open(page, width=390)
    browser.run("document.querySelectorAll('[data-tab]')[1].click()")
    drawn = "return [...document.querySelectorAll('[data-panel]')].map(each => !!each.offsetParent)"
    assert [index for index, is_open in enumerate(browser.run(drawn)) if is_open] == [1]
    assert browser.run("return document.querySelectorAll('[data-panel=\"1\"] svg.main-svg').length") > 0
    assert browser.errors() == []


def test_a_model_that_writes_html_runs_nothing(browser, page):
    browser.open(page, width=1400)
    browser.run(CHOOSE, "[type=search]", 'alert("model")')
    assert browser.run(SHOWN.format("stage"))  # there it is, as text
    assert browser.run("return document.images.length") == 0
    assert browser.errors() == []
