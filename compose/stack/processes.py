"""Processes that outlive the one that started them: start, recognise again later, stop, kill."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from compose.stack.errors import StackError
from compose.stack.state import ProcessId

POLL_S = 0.02
_KILL_LIMIT_S = 10.0
_LOG_LIMIT_BYTES = 5_000_000
# A process's creation time is counted from the boot, whose time moves a little when the clock is set.
_CLOCK_TOLERANCE_S = 2.0

# Our own children stay zombies until somebody asks for their exit code: `is_alive` asks.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Account:
    """A user of this machine, by numbers."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Launch:
    """What it takes to start a server. No secret belongs in `argv`: everybody can list it."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: Path
    account: Account | None = None


def spawn(launch: Launch, log: Path) -> ProcessId:
    """Start a server in a session of its own, so that a terminal's Ctrl-C doesn't reach it."""
    _rotate(log)
    account = launch.account
    with log.open("ab") as output:
        child = subprocess.Popen(
            launch.argv,
            cwd=launch.cwd,
            env=dict(launch.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
    _CHILDREN[child.pid] = child
    return identify(child.pid)


def run(launch: Launch, limit_s: float, pass_fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever its exit code; raises OSError, and StackError after `limit_s`."""
    account = launch.account
    try:
        return subprocess.run(
            launch.argv,
            cwd=launch.cwd,
            env=dict(launch.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            pass_fds=pass_fds,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"{launch.argv[0]} hasn't come to an end after {limit_s:.0f} s") from error


def _rotate(log: Path) -> None:
    """Put a log that has grown large aside; one older log is kept."""
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))


def identify(pid: int) -> ProcessId:
    """The lasting identity of a process that runs now (or has just ended and nobody asked for its exit code)."""
    try:
        return ProcessId(pid=pid, created=psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return ProcessId(pid=pid, created=time.time())


def find(process: ProcessId | None) -> psutil.Process | None:
    """The running process of this identity, or None: ended, a zombie, or a pid that is another's by now."""
    if process is None:
        return None
    child = _CHILDREN.get(process.pid)
    if child is not None and child.poll() is not None:
        del _CHILDREN[process.pid]
        return None
    try:
        found = psutil.Process(process.pid)
        same = abs(found.create_time() - process.created) < _CLOCK_TOLERANCE_S
        return found if same and not _is_dead(found) else None
    except psutil.NoSuchProcess:
        return None


def _is_dead(process: psutil.Process) -> bool:
    """Whether nothing but the entry in the process table is left: a zombie whose other threads ended as well."""
    return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1


def is_alive(process: ProcessId | None) -> bool:
    """Whether the process of this identity still runs."""
    return find(process) is not None


def send(process: ProcessId, number: int) -> None:
    """Send a signal, unless the process has ended."""
    if (found := find(process)) is not None:
        with suppress(psutil.NoSuchProcess):  # it ended in between
            found.send_signal(number)


def wait_for(condition: Callable[[], bool], limit_s: float) -> bool:
    """Wait until the condition holds; False when it didn't within `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def kill(process: ProcessId) -> None:
    """End a process and its children at once (SIGKILL), and wait until they are gone."""
    if (found := find(process)) is None:
        return
    family = [process, *(identify(child.pid) for child in _children(found))]
    for member in family:
        send(member, signal.SIGKILL)
    wait_for(lambda: not any(is_alive(member) for member in family), _KILL_LIMIT_S)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def stop(processes: Iterable[tuple[ProcessId, int]], limit_s: float) -> None:
    """Ask processes to end, each by its signal, all at once; kill those that still run after `limit_s`."""
    asked = list(processes)
    for process, number in asked:
        send(process, number)
    wait_for(lambda: not any(is_alive(process) for process, _ in asked), limit_s)
    for process, _ in asked:
        kill(process)


def memory_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and its children, with the pages that they share counted once."""
    own, shared = 0, 0
    for member in (process, *_children(process)):
        with suppress(psutil.NoSuchProcess):  # it ended in between, and has no memory any more
            memory = member.memory_info()
            common = getattr(memory, "shared", 0)  # Linux only
            own, shared = own + memory.rss - common, max(shared, common)
    return own + shared


def base_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """What a server needs to know of the user's environment; nothing else of it is handed on."""
    names = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SYSTEMROOT")
    return {name: environ[name] for name in names if name in environ}


def running_as_root() -> bool:
    """Whether this process is root's."""
    return os.geteuid() == 0
