"""The page in a real browser: it draws, its filters work, on a wide and a narrow screen, in light and in dark."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from posttrain.report.conversations import interleave
from posttrain.report.discover import find_stages
from posttrain.report.stage import report_folders
from tests.report.browser import CHROMIUM, Browser, open_browser
from tests.report.conftest import HOSTILE, write_pipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]

SCREENS = {
    "wide-light": (1400, False),
    "wide-dark": (1400, True),
    "narrow-light": (400, False),
    "narrow-dark": (400, True),
}
CHARTS = "[...document.querySelectorAll('.chart')].filter(each => each.offsetParent)"
SHOWN = "[...document.querySelectorAll('article')].filter(each => !each.hidden)"
TOLD = "document.querySelector('.filters output').textContent"


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    return [write_pipeline(root / name, seed=seed) for seed, name in enumerate(("first", "second"))]


@pytest.fixture(scope="module")
def page(pipelines: list[Path]) -> Path:
    out = pipelines[0].parent / "report.html"
    report_folders(pipelines, out)
    return out


@pytest.fixture(scope="module")
def samples(pipelines: list[Path]) -> list[dict[str, object]]:
    return interleave(find_stages(pipelines))


class Screen(NamedTuple):
    """The page on one kind of screen."""

    browser: Browser
    width: int
    is_dark: bool


@pytest.fixture(scope="module", params=SCREENS)
def screen(page: Path, request: pytest.FixtureRequest) -> Iterator[Screen]:
    width, is_dark = SCREENS[request.param]
    with open_browser() as browser:
        browser.open(page, width=width, is_dark=is_dark)
        yield Screen(browser, width, is_dark)


@pytest.fixture(scope="module")
def opened(page: Path) -> Iterator[Browser]:
    with open_browser() as browser:
        browser.open(page, width=1400)
        yield browser


@pytest.fixture
def browser(opened: Browser) -> Iterator[Browser]:
    """The wide page with no filter set; every test leaves its console silent."""
    opened.run("document.querySelector('.filters').reset()")
    choose(opened, "stage", "")
    yield opened
    assert opened.complaints() == []


def choose(browser: Browser, key: str, value: str) -> None:
    field = f"document.querySelector('[data-filter={key}]')"
    browser.run(f"{field}.value = {json.dumps(value)}")
    browser.run(f"{field}.dispatchEvent(new Event('input', {{bubbles: true}}))")


def contrast(colour: str, other: str) -> float:
    """WCAG's ratio of two colours as `getComputedStyle` writes them."""

    def luminance(written: str) -> float:
        parts = [int(part) / 255 for part in written.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted([luminance(colour), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_every_chart_is_drawn_in_silence_and_nothing_is_fetched(screen, page, tmp_path):
    browser = screen.browser
    assert browser.run(f"{CHARTS}.length") > 20
    assert browser.run(f"{CHARTS}.filter(each => !each.querySelector('.trace, .hm')).length") == 0
    browser.picture(tmp_path / "page.png", height=900)
    head = (tmp_path / "page.png").read_bytes()[:24]
    assert [int.from_bytes(head[at : at + 4]) for at in (16, 20)] == [screen.width, 900]
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith(("data:", "blob:"))] == [page.as_uri()]


def test_nothing_hangs_over_an_edge_and_no_legend_covers_a_curve(screen):
    browser = screen.browser
    assert browser.run("[innerWidth, document.documentElement.scrollWidth]") == [screen.width, screen.width]
    clipped = f"""{CHARTS}.flatMap(chart => {{
      const box = chart.getBoundingClientRect();
      return [...chart.querySelectorAll("text")].filter(text => {{
        const own = text.getBoundingClientRect();
        return own.width && (own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.bottom + 1);
      }}).map(text => text.textContent);
    }})"""
    assert browser.run(clipped) == []
    covered = f"""{CHARTS}.filter(chart => {{
      const legend = chart.querySelector(".legend");
      const curves = chart.querySelector(".nsewdrag").getBoundingClientRect();
      return legend && legend.getBoundingClientRect().bottom > curves.top + 1;
    }}).length"""
    assert browser.run(covered) == 0
    # What is wider than the screen scrolls in its own frame; the table of results does not even need to.
    assert browser.run(
        "[...document.querySelectorAll('.results')].every(each => each.parentNode.scrollWidth <= innerWidth)"
    )


def test_texts_of_page_and_charts_stand_out_from_the_paper(screen):
    browser = screen.browser
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (contrast(paper, "rgb(0,0,0)") < 2) == screen.is_dark
    for selector in ("body", ".note", "nav a", "small.clear", ".mark.wrong", "button", "article .role"):
        colour = browser.run(f"getComputedStyle(document.querySelector('{selector}')).color")
        assert contrast(colour, paper) >= (3 if selector == ".mark.wrong" else 4.5), selector
    for part in (".xtick text", ".legendtext"):
        assert contrast(browser.run(f"getComputedStyle(document.querySelector('{part}')).fill"), paper) >= 4.5, part


@pytest.mark.parametrize("key", ["stage", "mode", "judged", "group_type", "language", "source"])
def test_each_choice_of_a_filter_keeps_its_samples_and_no_other(browser, samples, key):
    options = browser.run(f"[...document.querySelector('[data-filter={key}]').options].map(each => each.value)")
    assert sorted(options) == sorted({""} | {str(each[key]) for each in samples if each.get(key)})
    for value in options:
        choose(browser, key, value)
        expected = [each for each in samples if not value or each.get(key) == value]
        assert browser.run(TOLD) == f"{min(12, len(expected))} of {len(expected)} shown"
        assert browser.run(f"{SHOWN}.map(each => each.getAttribute('data-{key}'))") == [
            each.get(key, "") for each in expected[:12]
        ]


def test_filters_and_search_work_together_and_more_are_shown_when_asked_for(browser, samples):
    wanted = {"stage": "second/rl", "mode": "reasoning", "judged": "right", "group_type": "mixed"}
    expected = [each for each in samples if all(each.get(key) == value for key, value in wanted.items())]
    assert len(expected) > 3
    for key, value in wanted.items():
        choose(browser, key, value)
    assert browser.run(TOLD).endswith(f"of {len(expected)} shown")
    browser.click("input[type=search]")
    browser.type("ÚLTIMA cifra")
    spanish = [each for each in expected if each["language"] == "es"]
    assert 0 < len(spanish) < len(expected)
    assert browser.run(f"{SHOWN}.map(each => each.dataset.language)") == ["es"] * len(spanish)
    browser.type(" and words nobody said")
    assert browser.run(TOLD) == "none fits"
    browser.run("document.querySelector('.filters').reset()")
    choose(browser, "stage", "")
    browser.click(".more")
    assert browser.run(f"{SHOWN}.length") == 24


def test_a_tab_shows_the_charts_of_its_decoding(browser):
    browser.click("[data-tab='1']")
    assert browser.run("[...document.querySelectorAll('[data-panel]')].map(each => !!each.offsetParent)")[:3] == [
        False,
        True,
        False,
    ]
    assert browser.run("document.querySelectorAll('[data-panel=\"1\"] .trace').length") > 0


def test_a_chart_says_the_value_under_the_mouse(browser):
    browser.hover("#curves .nsewdrag")
    assert "step" in browser.run("document.querySelector('#curves .hoverlayer').textContent")


def test_a_model_that_writes_html_runs_nothing(browser):
    browser.click("input[type=search]")
    browser.type('alert("model")')
    assert browser.run(f"{SHOWN}[0].textContent.includes({json.dumps(HOSTILE)})")
    assert browser.run("document.images.length") == 0


def test_the_browser_hears_errors_and_requests(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<script>console.error('said', 1)</script><script>throw new Error('thrown')</script><img src=gone.png>"
    )
    with open_browser() as browser:
        browser.open(bad, width=400)
        heard, asked = " | ".join(browser.complaints()), browser.requests()
    assert "said 1" in heard
    assert "Uncaught" in heard
    assert "ERR_FILE_NOT_FOUND" in heard
    assert asked == [bad.as_uri(), (tmp_path / "gone.png").as_uri()]
