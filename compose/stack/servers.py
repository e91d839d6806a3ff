"""What the stack knows of every server, whichever it is."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compose.stack.ports import HOST
from compose.stack.processes import Launch
from compose.stack.progress import Echo
from compose.stack.state import State

_ANSWER_S = 2


@dataclass(frozen=True)
class Site:
    """Where servers live: their data, their programs, what is remembered of them."""

    data: Path
    cache: Path
    state: State
    environ: Mapping[str, str]
    echo: Echo


class Server(Protocol):
    """One server: how it is installed, started, known to be ready, and stopped."""

    name: str
    # the ports it listens on, by name; the first one is the server's address
    ports: tuple[str, ...]
    # servers that have to be ready before this one starts
    needs: tuple[str, ...]
    stop_signal: int

    def install(self, site: Site) -> None:
        """Get the server's programs; raises StackError."""

    def prepare(self, site: Site) -> None:
        """Make what it needs to start: its folder, its configuration. Done before every start; raises StackError."""

    def launch(self, site: Site) -> Launch:
        """The command that runs it in the foreground."""

    def is_ready(self, site: Site) -> bool:
        """Whether it does its work by now. Called until it says so; never raises because it isn't up."""

    def settle(self, site: Site) -> None:
        """What is left to do once it is ready; changes nothing that is done already."""


def answers(port: int, path: str, tls: ssl.SSLContext | None = None, headers: Mapping[str, str] | None = None) -> bool:
    """Whether a GET of this path answers 200. tls: None where the port speaks HTTP without it."""
    connection = _connection(port, tls)
    try:
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _connection(port: int, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
    if tls is None:
        return http.client.HTTPConnection(HOST, port, timeout=_ANSWER_S)
    return http.client.HTTPSConnection(HOST, port, timeout=_ANSWER_S, context=tls)
