"""`python -m compose.bench`: measures this system, and its peers beside it, on servers of its own."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from compose.bench import costs, figures, growth, peer_figures, plots, relay_figures, report
from compose.bench.figures import Context, Figure
from compose.bench.measuring import Bench, Plan
from compose.bench.rig import Shape
from compose.console import console as make_console
from compose.failing import one_line
from compose.stack import running_stack

FIGURES: Final[Mapping[str, Callable[[Context], list[Figure]]]] = {
    "throughput": peer_figures.throughput,
    "slow-provider": figures.slow_provider,
    "latency": figures.latencies,
    "slow-calls": figures.slow_calls,
    "hot-row": figures.hot_row,
    "relay": relay_figures.relay,
    "scale": figures.scale,
    "costs": costs.costs,
    "load-curve": figures.load_curve,
}
LONG: Final[Mapping[str, Callable[[Context], list[Figure]]]] = {
    "million": growth.million,
    "held-transaction": growth.held_transaction,
}
_ALL: Final = {**FIGURES, **LONG}
_WARM: Final = (Plan(20_000), Plan(6_000, rate=100))
"""The broker's compiler goes by how often a path is taken, and takes minutes of small batches: who is measured first
would pay for it."""

app = typer.Typer(add_completion=False)


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help=f"Of: {', '.join(_ALL)}; none: all that are short.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Of each kind; a figure is their median.")] = 3,
    scale: Annotated[float, typer.Option(min=0.01, help="Of the loads: 0.1 for a quick look.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Where table, JSON and pictures go.")] = Path(".checkout/bench"),
) -> None:
    """Measure; exit 1 when a figure is missed."""
    wanted = names or list(FIGURES)
    unknown = [name for name in wanted if name not in _ALL]
    if unknown:
        raise typer.BadParameter(f"no figure is called {', '.join(unknown)}; known are {', '.join(_ALL)}")
    console = make_console()
    out.mkdir(parents=True, exist_ok=True)
    environ = {**os.environ, "CHECKOUT_STACK_PEAK": "1"}
    with one_line("bench"), running_stack(out.resolve() / "stack", environ=environ) as stack:
        servers = {server.name: server.pid for server in stack.status() if server.pid is not None}
        measured = Bench({**environ, **stack.env()}, servers, out.resolve() / "logs")
        context = Context(measured, runs, scale, Path.cwd(), lambda line: console.print(line, style="dim"))
        for plan in _WARM:
            measured.run(Shape(), replace(plan, checkouts=context.count(plan.checkouts)))
        found = [figure for name in wanted for figure in _ALL[name](context)]
    report.show(found, console)
    console.print(f"all runs: {report.write(found, out)}", highlight=False)
    for picture in plots.draw(found, out):
        console.print(f"picture: {picture}", highlight=False)
    raise typer.Exit(1 if any(figure.good is False for figure in found) else 0)


if __name__ == "__main__":
    sys.exit(app())
