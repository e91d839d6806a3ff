"""Loopback ports: chosen once, remembered, replaced when somebody else took them."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

from compose.stack.errors import StackError

HOST = "127.0.0.1"

# Below the ports that systems give to outgoing connections (Linux from 32768, macOS from 49152). A client
# that reconnects to a stopped server in that range can be given the server's own port, and then holds it.
_RANGE = range(20000, 32000)
_ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # as servers do: connections of a server that just stopped (TIME_WAIT) don't count as taken
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(taken: Collection[int]) -> int:
    """A free loopback port that isn't one of `taken`; raises StackError when there seems to be none."""
    for port in random.sample(_RANGE, _ATTEMPTS):
        if port not in taken and is_free(port):
            return port
    raise StackError(f"no free port on {HOST} between {_RANGE.start} and {_RANGE.stop}")


def accepts(port: int) -> bool:
    """Whether something listens on this loopback port."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False
