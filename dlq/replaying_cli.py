"""`dlq replay` and `dlq cancel`."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from uuid_utils.compat import uuid7

from dlq import options, picking
from dlq.acting_options import By, Ids, Why, Yes, author, named
from dlq.asking import confirm, stopping
from dlq.console import console, print_json, say, warn
from dlq.deeds import Author
from dlq.failing import DlqError, one_line
from dlq.jobs import cancel, interrupted, job_of, jobs_in, read_jobs
from dlq.ledger import State
from dlq.letters import DeadLetter
from dlq.options import Json, Topic, filter_from
from dlq.plan import MAX_REPLAYS, Plan, make_plan
from dlq.replay import Replay, Result, Status
from dlq.request import BUDGET, Request
from dlq.settings import DlqSettings, read_settings
from dlq.telling import plan_json, plan_lines, result_json, result_lines, status_line

_INTERRUPTED: Final = 130
_WAIT_LIMIT_S: Final = 60.0

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan; send nothing.")]
Rate = Annotated[float | None, typer.Option("--rate", min=0.1, metavar="N", help="Letters per second, at most.")]
Ramp = Annotated[bool, typer.Option("--ramp", help="1, 5, 25, 125 letters/s, as long as outcomes come back well.")]
Budget = Annotated[
    float | None,
    typer.Option("--budget", min=0, max=100, metavar="PCT", help="With --ramp: failures that are well (default: 10)."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many letters.")]
MaxReplays = Annotated[
    int, typer.Option("--max-replays", min=1, metavar="N", help="Refuse what was replayed so often.")
]
Resume = Annotated[str, typer.Option("--resume", metavar="JOB", help="Go on with a job, with its own filter.")]
Wait = Annotated[
    bool | None,
    typer.Option("--wait/--no-wait", help="Wait for the outcomes (default: on a terminal and with --json)."),
]
WaitLimit = Annotated[float, typer.Option("--wait-limit", min=0, metavar="S", help="Wait so many seconds at most.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """The options that don't choose letters."""

    dry_run: bool
    yes: bool
    as_json: bool
    wait_s: float
    by: Author


def add_commands(app: typer.Typer) -> None:
    """Add `replay` and `cancel` to `app`."""
    app.command("replay")(replay_command)
    app.command("cancel")(cancel_command)


def replay_command(  # noqa: PLR0913 - the filters, and how
    ids: Ids = None,
    *,
    service: options.Service = None,
    disposition: options.Disposition = None,
    fingerprint: options.Fingerprint = None,
    checkout: options.Checkout = None,
    state: options.StateName = None,
    since: options.Since = None,
    until: options.Until = None,
    match: options.Match = None,
    topic: Topic = None,
    dry_run: DryRun = False,
    rate: Rate = None,
    ramp: Ramp = False,
    budget: Budget = None,
    limit: Limit = None,
    max_replays: MaxReplays = MAX_REPLAYS,
    resume: Resume = "",
    wait: Wait = None,
    wait_limit: WaitLimit = _WAIT_LIMIT_S,
    yes: Yes = False,
    why: Why = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    """Send letters back to their service, each exactly once, and hear what becomes of them."""
    if budget is not None and not ramp:
        raise typer.BadParameter("a budget is what a ramp looks at: say --ramp too", param_hint="--budget")
    with one_line("replay"):
        wanted = filter_from(service, disposition, fingerprint, checkout, state, since, until, match)
        request = Request(
            filter=wanted, topics=tuple(topic or ()), limit=limit, max_replays=max_replays,
            rate=rate, ramp=ramp, budget=BUDGET if budget is None else budget / 100,
        )  # fmt: skip
        waits = (as_json or sys.stdout.isatty()) if wait is None else wait
        settings = read_settings()
        acts = author(by, why, settings)
        how = _How(dry_run=dry_run, yes=yes, as_json=as_json, wait_s=wait_limit if waits else 0.0, by=acts)
        code = _replay(settings, request, ids or (), resume, how)
    raise typer.Exit(code)


def cancel_command(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="As `dlq replay` and `dlq audit` name it.")],
    *,
    why: Why = "",
    by: By = "",
) -> None:
    """Stop a replay, wherever it runs, before its next chunk."""
    with one_line("cancel"):
        settings = read_settings()
        cancel(settings, job_of(read_jobs(settings), job_id), author(by, why, settings))
        say(f"job {job_id} is cancelled; `dlq replay --resume {job_id}` goes on")


def _replay(settings: DlqSettings, asked: Request, ids: Sequence[str], resume: str, how: _How) -> int:
    """0 when everything planned was sent and nothing failed again, 1 when not, 130 when it was stopped."""
    jobs = jobs_in(picking.trail(settings, None))
    request = _resumed(job_of(jobs, resume).request(), asked, ids) if resume else asked
    letters = picking.read(settings, request.topics, sorted(request.filter.services), request.filter.match)
    for sentence in interrupted(jobs, [each.entry for each in letters if each.entry]):
        if resume not in sentence or not resume:
            warn(sentence)
    request = replace(request, filter=named(letters, ids, request.filter))
    chosen = request.chosen(letters)
    plan = make_plan(chosen, letters, max_replays=request.max_replays, limit=request.limit, resumed=resume)
    if how.dry_run or not plan.send:
        _tell_plan(plan, how)
        return 1 if ids and plan.refused and not how.dry_run else 0
    if not how.yes:
        _lines(plan_lines(plan), err=True)
    confirm(f"{len(plan.send):,} letters are to be sent.", yes=how.yes)
    return _run(settings, resume or str(uuid7()), request.closed(letters), chosen, how)


def _resumed(before: Request, asked: Request, ids: Sequence[str]) -> Request:
    """The job's own request; a new pace may be given."""
    if asked.filter or ids or asked.topics or asked.limit:
        raise DlqError("--resume goes on with the job's own filter: give no other, no IDs and no --limit")
    paced = asked.rate is not None or asked.ramp
    return replace(before, rate=asked.rate, ramp=asked.ramp, budget=asked.budget) if paced else before


def _tell_plan(plan: Plan, how: _How) -> None:
    if how.as_json:
        print_json(plan_json(plan))
    else:
        _lines(plan_lines(plan))


def _run(settings: DlqSettings, job: str, request: Request, chosen: list[DeadLetter], how: _How) -> int:
    warn(f"job {job}")
    with stopping(warn) as stop, _bar() as tell:
        replay = Replay(
            settings, job, request, chosen, by=how.by.by, why=how.by.why, stop=stop, tell=tell
        )  # fmt: skip
        result = replay.run(how.wait_s)
    if how.as_json:
        print_json(result_json(result))
    else:
        _lines(result_lines(result, waited=how.wait_s > 0))
    if result.end:
        warn(result.end)
    return _code(result, stop)


def _code(result: Result, stop: threading.Event) -> int:
    if stop.is_set():
        return _INTERRUPTED
    return 1 if result.end or result.status.outcomes[State.FAILED_AGAIN] else 0


@contextmanager
def _bar() -> Iterator[Callable[[Status], Any]]:
    """A progress bar on stderr, on a terminal only."""
    shown = console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda status: bar.update(
            task, total=status.planned, completed=status.sent, description=status_line(status)
        )


def _lines(lines: Iterator[str], *, err: bool = False) -> None:
    for line in lines:
        say(line, err=err)
