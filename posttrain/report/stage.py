"""The report stage: one page about several runs, and the same table in the terminal."""

from pathlib import Path

from posttrain.recipe import ReportRecipe
from posttrain.report.load import load_stage
from posttrain.report.page import write_report
from posttrain.report.table import markdown_table, terminal_table
from posttrain.runs import write_text_atomically
from posttrain.terminal import console, say


def run_stage(recipe: ReportRecipe, *, resume: bool) -> None:
    """Write `report.html` and `table.md` into the run folder; made anew from the runs each time."""
    del resume  # a report reads finished runs: there is nothing to go on with
    stages = [
        load_stage(stage.name, Path(stage.run), Path(stage.eval) if stage.eval else None) for stage in recipe.stages
    ]
    folder = Path(recipe.run)
    folder.mkdir(parents=True, exist_ok=True)
    page = write_report(stages, title=recipe.title, out=folder / "report.html")
    write_text_atomically(folder / "table.md", markdown_table(stages) + "\n")
    console.print(terminal_table(stages))
    say(f"report: {page}")
