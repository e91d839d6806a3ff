"""Waits for the end of the process that owns the servers, then stops them.

Called as `python -m compose.stack.watchdog DIR PID CREATED`, with a pipe from the owner as standard input.
"""

from __future__ import annotations

import select
import sys
from pathlib import Path

from compose.stack.processes import is_alive
from compose.stack.stack import Stack
from compose.stack.state import ProcessId

_LOOK_AGAIN_S = 1.0


def main(arguments: list[str]) -> None:
    """Wait, then stop what is still that owner's: nothing, when it ended in an orderly way."""
    folder, pid, created = arguments
    owner = ProcessId(pid=int(pid), created=float(created))
    _wait_for_end(owner)
    Stack(Path(folder), environ={}).down(owner=owner)


def _wait_for_end(owner: ProcessId) -> None:
    """Standard input is a pipe that the owner holds: it ends with the owner, which may stay a zombie for long.

    A process that the owner forked can hold the pipe as well, so the owner itself is looked at besides.
    """
    while is_alive(owner):
        if select.select([sys.stdin], [], [], _LOOK_AGAIN_S)[0]:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
