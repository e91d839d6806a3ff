"""Wakes the relay when rows were committed: in process by a pipe, from other processes by NOTIFY."""

import os
import select
from typing import Final

from sqlalchemy import text

from outbox.bulk import Database

CHANNEL: Final = "outbox"


class Wake:
    """A flag that a thread can wait for together with a socket."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def set(self) -> None:
        """Wake the waiter, now or when it next waits."""
        try:
            os.write(self._write, b"!")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def wait(self, timeout_s: float, *others: int) -> None:
        """Return when set, when one of the file descriptors `others` is readable, or after `timeout_s`."""
        ready, _, _ = select.select([self._read, *others], [], [], timeout_s)
        if self._read in ready:
            os.read(self._read, 4096)

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._read)
        os.close(self._write)


def notify(db: Database) -> None:
    """Wake a relay of another process at the commit. Once per transaction: NOTIFY takes a global lock at commit."""
    db.execute(text(f"NOTIFY {CHANNEL}"))
