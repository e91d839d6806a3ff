"""The servers of the checkout system as one thing: up, down, status, environment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from compose.stack import certificates, paths, users
from compose.stack.environment import SERVICE_PORTS, is_external, outside, service_environment
from compose.stack.errors import StackError
from compose.stack.kafka import Kafka
from compose.stack.launching import Launcher, choose_ports
from compose.stack.ports import HOST, free_port, is_free
from compose.stack.postgres import ADMIN, ROLES, Postgres
from compose.stack.processes import find, is_alive, memory_bytes, stop
from compose.stack.processes import kill as kill_at_once
from compose.stack.provider import Provider
from compose.stack.registry import Registry
from compose.stack.servers import Server, Site
from compose.stack.state import ProcessId, State, StateFile

# Postgres first, as the registry needs it; then the slowest, so that the others start beside it.
SERVERS: tuple[Server, ...] = (Postgres(), Registry(), Kafka(), Provider())

# longer than a start with its downloads takes on a slow line
_LOCK_LIMIT_S = 1200.0
_STOP_LIMIT_S = 20.0


class ServerStatus(NamedTuple):
    """A server as it is now."""

    name: str
    state: str  # running, stopped, or external: somebody else's, named in the environment
    pid: int | None
    port: int | None
    memory_bytes: int | None


def say(line: str) -> None:
    """Tell the user something that isn't the command's result."""
    print(line, file=sys.stderr)


class Stack:
    """The servers of one data folder. Two objects or processes may use the same folder: a lock orders them."""

    def __init__(
        self,
        data_dir: Path,
        *,
        cache_dir: Path | None = None,
        echo: Callable[[str], None] = say,
        environ: Mapping[str, str],
    ) -> None:
        # resolved: a server's working directory is compared with it
        self.data_dir = data_dir.expanduser().resolve()
        self._cache_dir = cache_dir or paths.cache_dir(environ)
        self._echo = echo
        self._environ = environ
        self._file = StateFile(self.data_dir)

    def up(self, *, owner: ProcessId | None = None, secure: bool = False) -> Mapping[str, str]:
        """Start what isn't running and give the services' environment.

        With an `owner` the servers are that process's, unless they run already for somebody's `up` without one.
        secure: with TLS, logins and rights; servers that run already stay as they were started. Raises StackError; what
        this call had started is stopped then.
        """
        with self._file.lock(_LOCK_LIMIT_S):
            state = self._file.load()
            _claim(state, owner)
            _close(state, secure=secure)
            site = self._site(state)
            servers = [server for server in SERVERS if not is_external(server.name, site.environ)]
            for server in servers:
                server.install(site)
            self._choose_ports(state, servers)
            state.ensure_passwords((ADMIN, *ROLES, *(users.names() if state.secure else ())))
            if state.secure:
                certificates.ensure(self.data_dir)
            # before a server takes any of it for good
            self._file.save(state)
            self._start(site, servers)
            return service_environment(state, self.data_dir, site.environ)

    def _site(self, state: State) -> Site:
        return Site(self.data_dir, self._cache_dir, state, outside(state, self._environ), self._echo)

    def _choose_ports(self, state: State, servers: list[Server]) -> None:
        if not any(is_alive(process) for process in state.servers.values()):
            # while servers run, services may as well, and then it's they who hold these ports
            for name in SERVICE_PORTS:
                if name not in state.ports or not is_free(state.ports[name]):
                    state.ports[name] = free_port(state.ports.values())
        for server in servers:
            choose_ports(state.ports, server, alive=is_alive(state.servers.get(server.name)))

    def _start(self, site: Site, servers: list[Server]) -> None:
        launcher = Launcher(site, self._file)
        try:
            launcher.start(servers)
        except BaseException:
            self._stop(site.state, launcher.started)
            raise

    def down(self, *, owner: ProcessId | None = None) -> None:
        """Stop every server that runs; with an `owner` only if they are that process's."""
        if not self._file.exists():
            return
        with self._file.lock(_LOCK_LIMIT_S):
            state = self._file.load()
            if owner is None or state.owner == owner:
                self._stop(state, [server.name for server in SERVERS])

    def _stop(self, state: State, names: list[str]) -> None:
        """Stop those who use Postgres first, side by side, then Postgres."""
        for last in (False, True):
            group = [server for server in SERVERS if server.name in names and (server.name == "postgres") is last]
            known = [server for server in group if server.name in state.servers]
            stop([(state.servers[server.name], server.stop_signal) for server in known], _STOP_LIMIT_S)
        for name in names:
            state.servers.pop(name, None)
        self._file.save(state)

    def start_server(self, name: str) -> None:
        """Start one server on the port and data that it had; raises StackError, also where the port is taken."""
        server = _server(name)
        with self._file.lock(_LOCK_LIMIT_S):
            site = self._site(self._file.load())
            if is_alive(site.state.servers.get(name)):
                return
            for port in (site.state.ports.get(port) for port in server.ports):
                if port is None:
                    raise StackError(f"{name} has never run in {self.data_dir}: start the whole stack first")
                if not is_free(port):
                    raise StackError(f"{name} can't start: somebody else listens on {HOST}:{port} by now")
            Launcher(site, self._file).start([server])

    def stop_server(self, name: str, *, kill: bool = False) -> None:
        """Stop one server; with `kill` at once (SIGKILL), as a crash would."""
        server = _server(name)
        with self._file.lock(_LOCK_LIMIT_S):
            state = self._file.load()
            if kill and name in state.servers:
                kill_at_once(state.servers[name])
            self._stop(state, [server.name])

    def env(self, principal: str = users.DEVELOPER) -> Mapping[str, str]:
        """The environment of a process; raises StackError when this folder's stack has never been up."""
        if not self._file.exists():
            raise StackError(
                f"no stack in {self.data_dir}: start one with `checkout stack up`, or name its --data folder"
            )
        state = self._file.load()
        return service_environment(state, self.data_dir, outside(state, self._environ), principal)

    def status(self) -> list[ServerStatus]:
        """Every server as it is now."""
        state = self._file.load()
        return [self._status(server, state) for server in SERVERS]

    def _status(self, server: Server, state: State) -> ServerStatus:
        if is_external(server.name, outside(state, self._environ)):
            return ServerStatus(server.name, "external", None, None, None)
        port = state.ports.get(server.ports[0])
        process = find(state.servers.get(server.name))
        if process is None:
            return ServerStatus(server.name, "stopped", None, port, None)
        return ServerStatus(server.name, "running", process.pid, port, memory_bytes(process))


def _server(name: str) -> Server:
    for server in SERVERS:
        if server.name == name:
            return server
    raise StackError(f"no server is called {name}: there are {', '.join(server.name for server in SERVERS)}")


def _close(state: State, *, secure: bool) -> None:
    """Settle whether the servers are secured; raises StackError where they run already, and are open."""
    if not any(is_alive(process) for process in state.servers.values()):
        state.secure = secure
    elif secure and not state.secure:
        raise StackError("the servers of this folder run, and they are open: stop them first (`checkout stack down`)")


def _claim(state: State, owner: ProcessId | None) -> None:
    """Settle whose the servers are; raises StackError when another process that still runs has them."""
    if not any(is_alive(process) for process in state.servers.values()):
        state.owner = owner
    elif owner is None:
        state.owner = None
    elif state.owner is not None and state.owner != owner:
        if is_alive(state.owner):
            raise StackError(
                f"the servers in this folder belong to process {state.owner.pid}: name another --data folder"
            )
        state.owner = owner
