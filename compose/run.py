"""`checkout run`: everything on this machine, a sample that shows every ending, a live view, a summary."""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine, text

from compose.acls.rights import AUDITOR, OBSERVER, SETUP
from compose.audit.report import Report, audit, print_report
from compose.console import console as make_console
from compose.ends import Ends
from compose.fleet import Fleet
from compose.publisher import Shop
from compose.sample import plan
from compose.setting_up import set_up
from compose.settings import Servers
from compose.stack.users import DEVELOPER
from compose.tally import Tally
from schemas.choreography import SERVICES, SHOP
from schemas.secret import without_login
from schemas.terminal import json_text
from services.shell.database import engine_of

_NAME_CHARS: Final = 8
_READY_S: Final = 60.0
_POLL_S: Final = 0.1
_OBSERVER_PORT: Final = "6066"
_QUIET_S: Final = 120.0
"""Nothing ended and nothing let go for so long: the run says what is left instead of waiting for ever."""

_LEFT: Final = text(
    "SELECT count(*) FROM checkouts WHERE status IN ('accepted', 'authorized', 'capture_pending', 'capture_failed')"
    " OR (status = 'failed' AND accepted)"
)


class RunError(Exception):
    """The run can't go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    checkouts: int
    exit_when_done: bool
    as_json: bool
    logs: Path
    observer: bool = False


class Logins(NamedTuple):
    """What each principal reaches the servers by; where they ask for no login, everybody by the same.

    environ: a process's whole environment. servers: what is in it, for this process.
    """

    environ: Callable[[str], Mapping[str, str]]
    servers: Callable[[str], Servers]


def run(logins: Logins, options: Options) -> int:
    """Set up, run the sample, report. The exit code: 0 only when all ended as expected and the audit is clean."""
    console = make_console(stderr=options.as_json)
    began = time.monotonic()
    set_up(logins.servers(SETUP), lambda line: console.print(line, style="dim"))
    fleet, ends = _fleet(logins, options), Ends(logins.servers(DEVELOPER))
    try:
        fleet.start()
        _wait(fleet.ready, _READY_S, f"the services are not ready; logs: {options.logs}")
        console.print(f"services: ready; logs in {options.logs}", style="dim")
        if options.observer:
            port = os.environ.get("OBSERVER_WEB_PORT", _OBSERVER_PORT)
            console.print(f"observer: http://127.0.0.1:{port}/live", highlight=False)
        tally = _sample(logins.servers(SHOP), fleet.check, ends, options.checkouts, console)
        code = _report(logins.servers(AUDITOR), tally, console, began, as_json=options.as_json)
        if not options.exit_when_done:
            _stay(logins.servers(DEVELOPER), fleet, console)
        return code
    finally:
        fleet.stop()
        ends.close()


def _fleet(logins: Logins, options: Options) -> Fleet:
    """The services, and the observer where it is asked for: its pages are its health port."""
    environ = logins.environ(DEVELOPER)
    names = (*SERVICES, OBSERVER) if options.observer else SERVICES
    port = {"OBSERVER_METRICS_PORT": environ.get("OBSERVER_WEB_PORT", _OBSERVER_PORT)}
    return Fleet({**environ, **port}, options.logs, names, own={name: logins.environ(name) for name in names})


def sample(servers: Servers, checkouts: int, *, as_json: bool) -> int:
    """Publish the sample to services that run already, and report. The exit code is that of `run`."""
    console, began = make_console(stderr=as_json), time.monotonic()
    with closing(Ends(servers)) as ends:
        tally = _sample(servers, lambda: None, ends, checkouts, console)
    return _report(servers, tally, console, began, as_json=as_json)


def _sample(servers: Servers, check: Callable[[], None], ends: Ends, count: int, console: Console) -> Tally:
    """Publish it and wait for its ends. check: raises when a service that was started for it is gone."""
    tally, name = Tally(), run_name()
    with closing(Shop(servers)) as shop:
        for number, kind in enumerate(plan(count)):
            checkout_id = f"run-{name}-{number:06d}"
            tally.expect(checkout_id, kind)
            kind.publish(shop, checkout_id, number)
    engine = engine_of(servers.database_url("checkout"))
    with _live(tally, engine, console) as show:
        _follow(tally, ends, check, engine, show)
    engine.dispose()
    return tally


def run_name() -> str:
    """What the ids of one run's checkouts have in common: letters only, or some would look like card numbers."""
    return "".join(secrets.choice(ascii_lowercase) for _ in range(_NAME_CHARS))


def _follow(tally: Tally, ends: Ends, check: Callable[[], None], engine: Engine, show: Callable[[], None]) -> None:
    """Until everything ended and everybody has let go of what they held; or nothing moves any more."""
    moved_at, before = time.monotonic(), (0, -1)
    while True:
        for end in ends.heard(_POLL_S):
            tally.hear(end)
        check()
        show()
        left = _left(engine)
        if tally.all_ended and left == 0:
            return
        now = (len(tally.outcomes), left)
        if now != before:
            moved_at, before = time.monotonic(), now
        if time.monotonic() - moved_at > _QUIET_S:
            return


def _left(engine: Engine) -> int:
    with engine.connect() as db:
        return int(db.execute(_LEFT).scalar_one())


@contextmanager
def _live(tally: Tally, engine: Engine, console: Console) -> Any:
    """A progress bar and the states of all checkouts; on something that is no terminal only the result."""
    progress = Progress(
        TextColumn("ended"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"),
        console=console,
    )  # fmt: skip
    task = progress.add_task("", total=len(tally.kinds))

    def show() -> None:
        if console.is_terminal:
            progress.update(task, completed=len(tally.outcomes), description=_states(engine))

    if not console.is_terminal:
        yield show
        return
    with Live(progress, console=console, refresh_per_second=8):
        yield show
        show()


def _states(engine: Engine) -> str:
    with engine.connect() as db:
        rows = db.execute(text("SELECT status, count(*) FROM checkouts GROUP BY status ORDER BY status")).all()
    return "  ".join(f"{status} {count:,}" for status, count in rows)


def _report(servers: Servers, tally: Tally, console: Console, began: float, *, as_json: bool) -> int:
    found = audit(servers)
    seconds = time.monotonic() - began
    console.print(tally.table())
    print_report(found, console)
    if as_json:
        print(json_text(tally.as_json(found, seconds)), flush=True)
    return 0 if _good(tally, found) else 1


def _good(tally: Tally, found: Report) -> bool:
    return tally.as_expected and found.clean and found.under_way == 0


def _stay(servers: Servers, fleet: Fleet, console: Console) -> None:
    """Stay up until Ctrl-C, with the addresses that one needs to look around."""
    registry = without_login(servers.schema_registry_url.get_secret_value())
    console.print(
        f"\nKafka {servers.kafka_bootstrap_servers}, registry {registry}\n"
        'In another terminal: `eval "$(checkout stack env)"`, then `checkout publish FILE`, `checkout show ID`,\n'
        "`checkout audit`, `dlq groups`. Ctrl-C stops everything.",
        highlight=False,
    )
    try:
        while True:
            fleet.check()
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("stopping", style="dim")


def _wait(condition: Callable[[], bool], limit_s: float, otherwise: str) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            raise RunError(otherwise)
        time.sleep(_POLL_S)
