"""Servers that live as long as a block of code: they end with it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from compose.stack.processes import identify
from compose.stack.stack import Stack, say
from compose.stack.state import ProcessId

_ROOT = Path(__file__).parents[2]


@contextmanager
def running_stack(
    data_dir: Path,
    *,
    cache_dir: Path | None = None,
    echo: Callable[[str], None] = say,
    environ: Mapping[str, str],
    secure: bool = False,
) -> Iterator[Stack]:
    """Start the servers for the block, and stop them after it: also on an exception, Ctrl-C, SIGTERM and SIGKILL.

    Servers that `checkout stack up` left running are used and stay. secure: as of `Stack.up`. Raises StackError when
    they can't be had.
    """
    stack = Stack(data_dir, cache_dir=cache_dir, echo=echo, environ=environ)
    owner = identify(os.getpid())
    with _exit_on_sigterm(), _watchdog(stack.data_dir, owner):
        try:
            stack.up(owner=owner, secure=secure)
            yield stack
        finally:
            stack.down(owner=owner)


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that `finally` runs; where the program handles it already, leave it be."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


@contextmanager
def _watchdog(data_dir: Path, owner: ProcessId) -> Iterator[None]:
    """A process that stops this owner's servers when its standard input ends, which is when we do.

    The system's own "signal at the parent's death" isn't enough: it's lost when a server changes its user, as
    Postgres' does, and it comes when the thread that started the server ends.
    """
    command = (sys.executable, "-m", "compose.stack.watchdog", str(data_dir), str(owner.pid), repr(owner.created))
    # a session of its own: Ctrl-C on the terminal goes to everybody in ours
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, start_new_session=True) as dog:
        try:
            yield
        finally:
            dog.communicate()  # closes its input and waits for it
