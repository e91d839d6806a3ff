"""Starting servers: one after another where they need each other, side by side where they don't."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from compose.stack.errors import StackError
from compose.stack.ports import HOST, free_port, is_free
from compose.stack.processes import POLL_S, is_alive, spawn
from compose.stack.servers import Server, Site
from compose.stack.state import StateFile

_READY_LIMIT_S = 90.0
_LOG_LINES = 12
# Java's stack traces are long, and what went wrong stands between their frames
_STACK_FRAME = re.compile(r"\s+(at |\.\.\. \d+ )")


class Launcher:
    """Starts the servers of one `up`, remembering each in the state file before anything else can happen."""

    def __init__(self, site: Site, file: StateFile) -> None:
        self._site = site
        self._file = file
        self._log_starts: dict[str, int] = {}
        self._began: dict[str, float] = {}
        self._ready: set[str] = set()
        self.started: list[str] = []

    def start(self, servers: Sequence[Server]) -> None:
        """Start what isn't running, in this order; come back when all are ready; raises StackError."""
        for server in servers:
            # a server that is started alone counts on the others
            self._await([need for need in servers if need.name in server.needs])
            self._launch(server)
        self._await(servers)

    def _launch(self, server: Server) -> None:
        site = self._site
        self._began[server.name] = time.monotonic()
        if is_alive(site.state.servers.get(server.name)):
            return
        server.prepare(site)
        log = log_path(site.data, server.name)
        self._log_starts[server.name] = log.stat().st_size if log.exists() else 0
        launch = server.launch(site)
        self.started.append(server.name)
        site.state.servers[server.name] = spawn(launch, log)
        self._file.save(site.state)

    def _await(self, servers: Iterable[Server]) -> None:
        pending = [server for server in servers if server.name not in self._ready]
        while pending := [server for server in pending if not self._becomes_ready(server)]:
            time.sleep(POLL_S)

    def _becomes_ready(self, server: Server) -> bool:
        took_s = time.monotonic() - self._began[server.name]
        if not server.is_ready(self._site):
            if not is_alive(self._site.state.servers[server.name]):
                raise StackError(self._failed(server, "ended instead of starting"))
            if took_s > _READY_LIMIT_S:
                raise StackError(self._failed(server, f"isn't ready after {_READY_LIMIT_S:.0f} s"))
            return False
        server.settle(self._site)
        self._ready.add(server.name)
        if server.name in self.started:
            port = self._site.state.ports[server.ports[0]]
            self._site.echo(f"{server.name}: ready on {HOST}:{port} ({took_s:.1f} s)")
        return True

    def _failed(self, server: Server, what: str) -> str:
        log = log_path(self._site.data, server.name)
        last = tail(log, self._log_starts.get(server.name, 0))
        return f"{server.name} {what}; the end of its log ({log}):\n{last}"


def log_path(data: Path, name: str) -> Path:
    """The log of a server."""
    return data / f"{name}.log"


def tail(log: Path, start: int) -> str:
    """The last lines of what was written to a log since it was `start` bytes long."""
    if not log.exists():
        return "  (no log)"
    content = log.read_bytes()
    # a log that is shorter than it was has been put aside meanwhile
    new = content[start if start <= len(content) else 0 :].decode(errors="replace")
    lines = [line for line in new.splitlines() if line.strip() and not _STACK_FRAME.match(line)]
    return "\n".join(f"  {line}" for line in lines[-_LOG_LINES:]) or "  (empty)"


def choose_ports(ports: dict[str, int], server: Server, alive: bool) -> None:
    """Give a server its ports: those it had, or others where somebody took them while it was down."""
    for name in server.ports:
        if name not in ports or (not alive and not is_free(ports[name])):
            ports[name] = free_port(ports.values())
