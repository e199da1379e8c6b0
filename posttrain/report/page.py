"""Write the report: one HTML page that holds its style, its script, its charts and its data, and asks no network."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from posttrain.errors import UserError
from posttrain.report import conversations
from posttrain.report.charts import run_dashes, stage_charts
from posttrain.report.evaluation_charts import budget_chart, group_charts, heat_maps
from posttrain.report.figures import Chart, Figure
from posttrain.report.gate_charts import gate_charts
from posttrain.report.health import asked_ratio, findings
from posttrain.report.load import StageRun
from posttrain.report.modes import mode_table
from posttrain.report.provenance import provenance
from posttrain.report.summary import summary
from posttrain.report.table import COLUMNS, decoding_names, row_blocks
from posttrain.report.words import listing
from posttrain.runs import write_text_atomically

HERE = Path(__file__).parent


def write_report(stages: Sequence[StageRun], *, title: str, out: Path) -> Path:
    """Write the page over `stages`, in their order, to the file `out`; its folder is made.

    The page appears whole or not at all: it is written aside and moved into place.

    Raises:
        UserError: there are no stages, or two share a name.
    """
    names = [stage.name for stage in stages]
    if not names or len(set(names)) < len(names):
        raise UserError(f"got the stages {names}, need at least one and no name twice; change `stages:` of the report")
    # A model can emit half a surrogate pair, which no encoding writes: it becomes a question mark.
    page = _render(stages, title).encode("utf-8", errors="replace").decode("utf-8")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(out, page)
    return out


def _render(stages: Sequence[StageRun], title: str) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,  # models wrote much of this page
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        text=conversations.text,
        verdict=conversations.verdict,
        facts=conversations.facts,
        about=_about,
        breakable=lambda path: Markup("/<wbr>").join(path.split("/")),
    )
    figures: list[Figure] = []

    def place(chart: Chart) -> str:
        """Keep the figure for the end of the page; its position is the id of the element it is drawn into."""
        figures.append(chart.figure)
        return f"chart-{len(figures) - 1}"

    health = [findings(stage) for stage in stages]
    shown = conversations.interleave(stages)
    scripts = [get_plotlyjs(), _read("page.js")]
    return environment.get_template("page.html.jinja").render(
        title=title,
        summary=summary(stages),
        num_warnings=sum(not finding.is_fine for found in health for finding in found),
        stages=stages,
        columns=COLUMNS,
        blocks=row_blocks(stages),
        has_pipelines=len({stage.pipeline for stage in stages}) > 1,
        has_evaluation=bool(decoding_names(stages)),
        modes=mode_table(stages),
        groups=group_charts(stages),
        budgets=budget_chart(stages),
        heat_maps=heat_maps(stages),
        gates=gate_charts(stages),
        curves=_curves(stages),
        conversations=shown,
        filters=conversations.filters(shown),
        health=health,
        provenance=provenance(stages),
        place=place,
        figures=figures,
        style=Markup(_read("page.css")),
        scripts=[(Markup(script), _hash(script)) for script in scripts],
    )


def _curves(stages: Sequence[StageRun]) -> list[tuple[str, str, list[Chart]]]:
    """(heading, whose dash is whose, charts) of each stage that logged any; runs of one place share them."""
    places: dict[str, list[StageRun]] = {}
    for stage in stages:
        places.setdefault(stage.place or stage.name, []).append(stage)
    curves = []
    for alike in places.values():
        logged = [stage for stage in alike if stage.metrics]
        ratios = [ratio for stage in logged if (ratio := asked_ratio(stage)) is not None]
        if charts := stage_charts(logged, asked_ratios=ratios):
            said = ", ".join(f"{dash}: {name}" for name, dash in run_dashes(logged).items())
            curves.append((listing([stage.name for stage in logged]), said, charts))
    return curves


def _about(name: str, stages: Sequence[StageRun]) -> str:
    """What stands under a decoding's name: its settings, and how many answers each number rests on."""
    decodings = [decoding for stage in stages if (decoding := stage.decoding(name))]
    said = [f"{key} {value}" for decoding in decodings[:1] for key, value in decoding.settings.items()]
    numbers = sorted({decoding.groups["all"].num_answers for decoding in decodings if "all" in decoding.groups})
    if numbers:
        said.append(f"{numbers[0]} answers" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} answers")
    return ", ".join(said)


def _hash(script: str) -> str:
    """The script as the page's content security policy names it: ours run, nothing else does."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
