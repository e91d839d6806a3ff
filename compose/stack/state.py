"""What the stack remembers between two commands: ports, passwords, the cluster's id, and which process is whose."""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, Field, ValidationError

from compose.stack.errors import StackError
from compose.stack.paths import make_dir

_LOCK_POLL_S = 0.05


class ProcessId(BaseModel):
    """A process for good: the pid alone may name somebody else's process after a while."""

    pid: int
    created: float = Field(description="seconds since the epoch")


def _cluster_id() -> str:
    """A Kafka cluster id: 16 random bytes in URL-safe base64 without padding, not starting with a dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        continue  # the storage tool would read it as an option
    return text


class State(BaseModel):
    """The content of `state.json`. It has passwords: it's written with mode 0600 and never printed whole."""

    cluster_id: str = Field(default_factory=_cluster_id)
    ports: dict[str, int] = Field(default_factory=dict)
    passwords: dict[str, str] = Field(default_factory=dict, repr=False)
    servers: dict[str, ProcessId] = Field(default_factory=dict)
    secure: bool = Field(default=False, description="whether the servers ask everybody for a login")
    # the process whose end is the servers' end as well; None: they run until somebody says `down`
    owner: ProcessId | None = None

    def ensure_passwords(self, roles: Iterable[str]) -> None:
        """Make the passwords that are missing: letters, digits, `-` and `_` only, so they need no quoting."""
        for role in roles:
            self.passwords.setdefault(role, secrets.token_urlsafe(24))


class StateFile:
    """`state.json` of one data folder, and the lock that lets one command at a time change the servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "state.json"

    def exists(self) -> bool:
        """Whether this folder has ever held a stack."""
        return self.path.exists()

    def load(self) -> State:
        """The remembered state, or a new one; raises StackError on a file that isn't ours."""
        try:
            return State.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return State()
        except (OSError, ValidationError) as error:
            raise StackError(f"can't read {self.path}: {type(error).__name__}; name another --data folder") from error

    def save(self, state: State) -> None:
        """Write the whole state or nothing, readable by its owner only."""
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(state.model_dump_json(indent=1))
        new.replace(self.path)

    @contextmanager
    def lock(self, limit_s: float) -> Iterator[None]:
        """Hold the folder's lock; raises StackError when somebody else holds it for longer than `limit_s`."""
        # 0700: what the servers write is nobody else's business
        make_dir(self.folder, "CHECKOUT_STACK_DIR (or --data)", mode=0o700)
        with locked(self.folder / "lock", limit_s):
            yield


@contextmanager
def locked(path: Path, limit_s: float) -> Iterator[None]:
    """Hold a lock that ends with this process at the latest (flock), waiting for it up to `limit_s`."""
    deadline = time.monotonic() + limit_s
    with _opened(path) as file:
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise StackError(f"another command has held {path} for {limit_s:.0f} s; is it stuck?")
            time.sleep(_LOCK_POLL_S)
        yield


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a")
    except OSError as error:
        raise StackError(f"can't write to {path.parent} ({error.strerror}): whose folder is it?") from error


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
