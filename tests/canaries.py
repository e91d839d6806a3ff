"""Strings that must be nowhere, and the places where they are looked for."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from uuid import uuid4

from sqlalchemy import create_engine, text

from compose.fleet import die_with_parent
from schemas.choreography import SERVICES
from tests.system import System, wait_for

_OWN: Final = {("payment", "payment_methods"), ("payment", "payments")}
"""(service, table) where a provider's token may stand, in the column `token`."""
_COMMAND_S: Final = 60


def canary(name: str) -> str:
    """A string that is nowhere by chance."""
    return f"canary{name}{uuid4().hex[:12]}"


class Places:
    """Everything that was said, by where it was said."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add(self, place: str, said: object) -> None:
        """Something was said here; more than once, it is all kept."""
        self.texts[place] = self.texts.get(place, "") + (said if isinstance(said, str) else repr(said)) + "\n"

    def files(self, kind: str, paths: Iterable[Path]) -> None:
        """Logs."""
        for path in paths:
            self.add(f"{kind} {path.name}", path.read_text(errors="backslashreplace"))

    def page(self, name: str, url: str, accept: str = "*/*") -> None:
        """What a page says now, whatever its status; a server that is away says nothing."""
        try:
            with urlopen(Request(url, headers={"Accept": accept}), timeout=10) as answer:
                self.add(name, answer.read().decode() + str(answer.headers))
        except HTTPError as answer:
            self.add(name, answer.read().decode() + str(answer.headers))
        except URLError as away:
            self.add(name, str(away))

    def pages(self, system: System, when: str) -> None:
        """What every service says of itself."""
        for service in SERVICES:
            for path in ("healthz", "readyz", "metrics"):
                port = system.env[f"{service.upper()}_METRICS_PORT"]
                self.page(f"/{path} of {service}, {when}", f"http://127.0.0.1:{port}/{path}")

    def command(self, environ: Mapping[str, str], *arguments: str, name: str = "") -> str:
        """What a command prints, on both ways; what it says on the first."""
        command = [str(Path(sys.executable).with_name(arguments[0])), *arguments[1:]]
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, check=False, timeout=_COMMAND_S, input=""
        )
        self.add(f"output of {name or ' '.join(arguments)}", f"{done.returncode} {done.stdout} {done.stderr}")
        return done.stdout

    def records(self, system: System, names: Iterable[str]) -> None:
        """What lies on topics: keys, values, and headers."""
        for message in system.messages(*names):
            topic = str(message.topic()).removeprefix(system.servers.topic_prefix)
            self.add(f"values on {topic}", message.value())
            self.add(f"keys and headers on {topic}", (message.key(), message.headers()))

    def tables(self, system: System) -> None:
        """Every row of every table; the one column where a token belongs is left out."""
        tables = (
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
        )
        for service in SERVICES:
            for (table,) in system.rows(service, tables):
                row = "to_jsonb(t) - 'token'" if (service, table) in _OWN else "to_jsonb(t)"
                found = [str(each[0]) for each in system.rows(service, f"SELECT CAST({row} AS text) FROM {table} AS t")]
                self.add(f"table {table} of {service}", "\n".join(found))

    def where(self, strings: Mapping[str, str]) -> dict[str, list[str]]:
        """Name of a canary -> the places where it is."""
        found = {
            name: [place for place, said in self.texts.items() if string in said or string.encode().hex() in said]
            for name, string in strings.items()
        }
        return {name: places for name, places in found.items() if places}


def ended(folder: Path, name: str, environ: Mapping[str, str], *arguments: str, until: str = "") -> str:
    """What a process said that ended by itself, or was aborted as soon as it had said `until`."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
    try:
        if until:
            wait_for(lambda: until in log.read_text(errors="replace"), f"{name} to say {until}: {log}")
            os.kill(process.pid, signal.SIGABRT)
        assert process.wait(_COMMAND_S) != 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return log.read_text(errors="replace")


def execute(url: str, sql: str) -> None:
    """Change something as the server's administrator."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.execute(text(sql))
    engine.dispose()


def ask(url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """POST JSON."""
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urlopen(request, timeout=10) as answer:
        assert answer.status < 300
