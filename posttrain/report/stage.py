"""The report stage: one page about several runs, and the same table in the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from posttrain.errors import UserError
from posttrain.recipe import ReportRecipe
from posttrain.report.discover import find_stages
from posttrain.report.load import StageRun, load_stage
from posttrain.report.page import write_report
from posttrain.report.table import markdown_table, terminal_table
from posttrain.report.words import listing
from posttrain.runs import Resume, write_text_atomically
from posttrain.terminal import console, say


def run_stage(recipe: ReportRecipe, *, resume: Resume) -> None:
    """Write `report.html` and `table.md` into the run folder; made anew from the runs each time."""
    del resume  # a report reads finished runs: there is nothing to go on with
    stages = [
        load_stage(stage.name, Path(stage.run), Path(stage.eval) if stage.eval else None) for stage in recipe.stages
    ]
    folder = Path(recipe.run)
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / "table.md", markdown_table(stages) + "\n")
    _write(stages, recipe.title, folder / "report.html")


def report_folders(folders: Sequence[Path], out: Path | None) -> None:
    """Write the page about run folders, or folders that have the runs of a pipeline below them, to `out`.

    Without `out` it is `report.html`, in the folder where there is one, in the working directory else.

    Raises:
        UserError: as in `find_stages`, or `out` is a folder.
    """
    if out is None:
        out = (folders[0] if len(folders) == 1 else Path()) / "report.html"
    if out.is_dir():
        raise UserError(f"--out: {out} is a folder, need a file; {out / 'report.html'}, say")
    _write(find_stages(folders), listing([folder.resolve().name for folder in folders]), out)


def _write(stages: Sequence[StageRun], title: str, out: Path) -> None:
    page = write_report(stages, title=title, out=out)
    console.print(terminal_table(stages))
    say(f"report: {escape(str(page))}")
