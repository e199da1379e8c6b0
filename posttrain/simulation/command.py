"""`posttrain simulate`: what an RL run would gain by servers of its own and by staleness."""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_simulate(parser: ArgumentParser) -> None:
    """The options; nothing here costs time to import."""
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="an RL run, whose lengths and times are taken")
    parser.add_argument("--servers", type=int, nargs="+", default=[1, 2, 4], metavar="N", help="(default: 1 2 4)")
    parser.add_argument("--staleness", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument(
        "--sync", type=float, default=0.0, metavar="S", help="seconds to hand over weights (default: 0)"
    )
    batch = "responses of a batch (default: the recipe's, of one process)"
    parser.add_argument("--responses", type=int, metavar="N", help=batch)
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="simulated (default: 200)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the lengths (default: 0)")


def run_simulate(args: Namespace) -> None:
    """Print the table.

    Raises:
        UserError: the run has not the figures, or a number makes no sense.
    """
    from rich.markup import escape
    from rich.table import Table

    from posttrain.errors import UserError
    from posttrain.simulation.measured import read_run
    from posttrain.simulation.rollouts import Fleet, generate, simulate
    from posttrain.terminal import console, say

    counts = [*args.servers, args.steps, *([] if args.responses is None else [args.responses])]
    if min(counts) < 1 or min(*args.staleness, args.sync) < 0:
        raise UserError("need at least one server, step and response, and no staleness or sync below 0")
    run = read_run(args.run, responses=args.responses)
    say(
        f"{escape(str(args.run))}: a batch of {run.responses:,} responses takes {run.generation_s:.3g} s, "
        f"all else of a step {run.update_s:.3g} s"
    )
    table = Table(title="steps an hour (trainer busy, servers busy), on machines of their own")
    table.add_column("servers", justify="right")
    table.add_column("stragglers", justify="right")
    for bound in args.staleness:
        table.add_column(f"staleness {bound}", justify="right")
    for servers in args.servers:
        fleet = Fleet(servers, run.responses, run.step_time)
        batches = generate(run.lengths, fleet, responses=run.responses, steps=args.steps, seed=args.seed)
        outcomes = [
            simulate(batches, update_s=run.update_s, sync_s=args.sync, staleness=bound) for bound in args.staleness
        ]
        cells = (f"{each.steps_per_hour:,.1f} ({each.trainer_busy:.0%}, {each.servers_busy:.0%})" for each in outcomes)
        table.add_row(str(servers), f"{batches.straggling:.0%}", *cells)
    console.print(table, soft_wrap=False)
