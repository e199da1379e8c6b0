import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from posttrain.errors import UserError
from posttrain.report.load import StageRun, load_stage
from posttrain.report.page import write_report
from posttrain.report.table import stage_rows

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """What a browser would see: elements with attributes, the text of scripts, the visible text."""

    def __init__(self, text):
        super().__init__()
        self.html = text
        self.elements, self.scripts, self.visible, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.visible.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.visible).split())


@pytest.fixture
def page_of(tmp_path):
    return lambda stages, title="Report": Page(
        write_report(stages, title=title, out=tmp_path / "out" / "report.html").read_text()
    )


def test_the_page_asks_no_network_for_anything(page_of, stages):
    page = page_of(stages)
    assert not page.all("link")
    assert not page.all("iframe")
    assert not [attrs for _, attrs in page.elements if "src" in attrs]
    assert all(attrs["href"].startswith("#") for attrs in page.all("a"))
    styles = [attrs.get("style") or "" for _, attrs in page.elements]
    assert not [style for style in styles if "url(" in style]
    policy = next(attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_every_anchor_of_the_menu_exists(page_of, stages):
    page = page_of(stages)
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert {attrs["href"].removeprefix("#") for attrs in page.all("a")} <= ids


def test_the_policy_allows_exactly_the_scripts_of_the_page(page_of, stages):
    page = page_of(stages)
    policy = next(attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    programs = [text for text, attrs in zip(page.scripts, page.all("script"), strict=True) if "type" not in attrs]
    digests = [base64.b64encode(hashlib.sha256(program.encode()).digest()).decode() for program in programs]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert "plotly.js" in programs[0][:200]


def test_text_of_models_is_shown_and_never_run(page_of, make_run, tmp_path):
    run = make_run("AGAPO", num_samples=0)
    verdicts = {HOSTILE: {"score": 0.0, "outcome": False, "extracted": HOSTILE, "reason": HOSTILE}}
    row = {"step": 1, "mode": "reasoning", "language": HOSTILE, "prompt": [{"role": HOSTILE, "content": HOSTILE}]}
    row |= {"thinking": HOSTILE, "answer": HOSTILE, "outcome": False, "verdicts": verdicts}
    (run / "samples.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"language": "en"}) + "\n")
    page = page_of([load_stage(HOSTILE, run, None)], title=HOSTILE)
    assert page.text.count(HOSTILE) >= 10
    assert not page.all("img")
    assert len(page.all("script")) == 3  # figures, plotly, ours
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]


def test_half_a_surrogate_pair_does_not_stop_the_report(page_of, make_run):
    run = make_run("AGAPO", num_samples=0)
    (run / "samples.jsonl").write_text('{"step": 1, "answer": "odd \\ud83d end"}\n')
    assert "odd ? end" in page_of([load_stage("AGAPO", run, None)]).text


def test_every_number_of_the_evaluations_stands_in_the_page(page_of, stages):
    rows = re.findall(r"<tr>.*?</tr>", page_of(stages).html, re.DOTALL)
    plain = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]
    for row in stage_rows(stages):
        accuracy, *others = row.cells
        words = [row.stage, accuracy.mean, accuracy.delta, accuracy.interval]
        words += [word for cell in others for word in (cell.mean, cell.delta)]
        assert " ".join(word for word in words if word) in plain


def test_numbers_are_those_of_eval_json(page_of, stages):
    assert stages[1].decoding("reasoning, greedy").metric("accuracy").mean == 0.749
    page = page_of(stages)
    assert "AGAPO 74.9 +28.4 [71.4, 78.4] 48.9 +2.7 99.8 0.0 89.0 +4.0" in page.text


def test_each_chart_has_its_place_and_its_figure(page_of, stages):
    page = page_of(stages)
    figures = json.loads(page.scripts[0])
    places = [attrs["id"] for _, attrs in page.elements if attrs.get("class") == "chart"]
    assert places == [f"chart-{index}" for index in range(len(figures))]
    assert len(figures) > 20


def test_conversations_carry_what_the_filters_look_at(page_of, stages):
    page = page_of(stages)
    keys = [attrs["data-filter"] for attrs in page.all("select")]
    assert keys == ["stage", "mode", "judged", "group_type", "language", "source"]
    articles = page.all("article")
    assert len(articles) == sum(len(stage.samples) for stage in stages)
    offered = {attrs.get("value") for attrs in page.all("option")}
    assert {article[f"data-{key}"] for article in articles for key in keys} <= offered  # "" is offered as "all"


def test_thinking_is_folded_and_reasons_are_visible(page_of, stages):
    page = page_of(stages)
    thinking = [attrs for attrs in page.all("details") if attrs.get("class") == "thinking"]
    assert thinking
    assert not [attrs for attrs in thinking if "open" in attrs]
    assert "equals the reference" in page.text


def test_health_recipes_versions_and_hashes_are_told(page_of, stages):
    text = page_of(stages).text
    assert "gradient norm spiked at step 212" in text
    assert "weights in sync at every step" in text
    assert "learning_rate: 3.0e-4" in text
    assert "9b74c9897bac770ffc029102a200c5de11d2a4ac7ad4fa2bfae0d4c3f4c5b6a7" in text
    assert "transformers 5.19.0" in text
    assert "took 6 min 10 s" in text


def test_what_all_stages_share_is_said_once_and_what_differs_by_stage(page_of, make_run):
    stages = [load_stage(name, make_run(name), None) for name in ("SFT", "AGAPO")]
    stages[1].manifest["versions"]["torch"] = "2.14.0"
    text = page_of(stages).text
    assert "torch 2.13.0 2.14.0" in text
    assert "transformers 5.19.0 trl 1.16.0" in text


def test_a_single_run_without_evaluation_metrics_or_samples_makes_a_page(page_of, tmp_path):
    text = page_of([StageRun("SFT", tmp_path, {})]).text
    assert "No stage of this report was evaluated" in text
    assert "These runs logged no metrics" in text
    assert "These runs logged no samples" in text


def test_the_same_runs_make_the_same_page(stages, tmp_path):
    first, second = (write_report(stages, title="Report", out=tmp_path / name) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def test_the_page_replaces_an_older_one_and_leaves_nothing_beside_it(stages, tmp_path):
    out = tmp_path / "report" / "report.html"
    for title in ("old title", "new title"):
        assert write_report(stages, title=title, out=out) == out
    assert "new title" in out.read_text()
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("names", [[], ["SFT", "SFT"]])
def test_no_stage_and_a_name_used_twice_are_user_errors(tmp_path, names):
    with pytest.raises(UserError, match="need at least one and no name twice"):
        write_report([StageRun(name, tmp_path, {}) for name in names], title="Report", out=tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
