"""Messages that end the process while they are read or decided on: what no `except` can catch.

A process notes in a file which message it has in hand; writing there costs a fraction of a microsecond, and the file
outlives a crash. A process that starts looks for files whose writers are gone, and counts in the database what they had
in hand. A message that was in hand when two processes ended is set aside unread, by whichever process meets it next.

A process that is killed for another reason leaves a count of one behind, which harms no message.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final, Self
from uuid import uuid4

import structlog
from sqlalchemy import Engine, text

from schemas.kafka.record import Place

TIMES: Final = 2
"""Processes that a message may end before it is set aside."""
_HEAD: Final = Struct("<iiq")
"""The number of the topic in the list that follows, from 1 on; 0: nothing is in hand. Partition, offset."""
_BYTES: Final = 64 * 1024

FATAL_V1: Final = (
    """
    CREATE TABLE fatal_messages (
        topic text NOT NULL,
        at_partition integer NOT NULL,
        at_offset bigint NOT NULL,
        deaths integer NOT NULL,
        last_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (topic, at_partition, at_offset)
    )
    """,
)
_COUNT: Final = text(
    "INSERT INTO fatal_messages AS known (topic, at_partition, at_offset, deaths)"
    " VALUES (:topic, :partition, :offset, 1)"
    " ON CONFLICT (topic, at_partition, at_offset) DO UPDATE SET deaths = known.deaths + 1, last_at = now()"
)
_KNOWN: Final = text("SELECT topic, at_partition, at_offset, deaths FROM fatal_messages WHERE deaths >= :times")
_FORGET: Final = text("DELETE FROM fatal_messages WHERE last_at < now() - make_interval(days => :days)")

log = structlog.get_logger("shell.fatal")


class InHand:
    """The file of one process. Use `close` for an orderly end; what is in hand at any other end is counted."""

    def __init__(self, path: Path, file: int) -> None:
        self._path, self._file = path, file
        os.ftruncate(file, _BYTES)
        self._map = mmap.mmap(file, _BYTES)
        self._numbers: dict[str, int] = {}
        self._listed = _HEAD.size

    @classmethod
    def create(cls, folder: Path, group: str) -> Self:
        """A new file, locked as long as this process lives. Raises OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{group}-{uuid4().hex}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        return cls(path, file)

    def mark(self, place: Place | None) -> None:
        """From now on this message is in hand, or none."""
        if place is None:
            _HEAD.pack_into(self._map, 0, 0, 0, 0)
            return
        topic, partition, offset = place
        _HEAD.pack_into(self._map, 0, self._numbers.get(topic) or self._list(topic), partition, offset)

    def _list(self, topic: str) -> int:
        """The number of a topic from now on; 0, which protects nobody, where there is no room for its name."""
        line = topic.encode("utf-8", "replace") + b"\n"
        if self._listed + len(line) > _BYTES:
            return 0
        self._map[self._listed : self._listed + len(line)] = line
        self._listed += len(line)
        self._numbers[topic] = len(self._numbers) + 1
        return self._numbers[topic]

    def close(self) -> None:
        """An orderly end: nothing was in hand."""
        self._map.close()
        with suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._file)


def left_behind(folder: Path, group: str) -> Iterator[Place]:
    """What processes that are gone had in hand; their files are removed."""
    for path in sorted(folder.glob(f"{group}-*")) if folder.is_dir() else ():
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                if os.fstat(file.fileno()).st_uid != os.geteuid():
                    # others may write to a temporary folder too
                    continue
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                place = _place(file.read(_BYTES))
                path.unlink()
        except OSError:
            # its process lives, or another one that starts was quicker
            continue
        if place is not None:
            yield place


def _place(noted: bytes) -> Place | None:
    """What such a file says; whatever else lies there says nothing."""
    if len(noted) < _HEAD.size:
        return None
    number, partition, offset = _HEAD.unpack_from(noted)
    topics = noted[_HEAD.size :].split(b"\n")[:-1]
    if not 1 <= number <= len(topics) or partition < 0 or offset < 0:
        return None
    try:
        return topics[number - 1].decode(), partition, offset
    except UnicodeDecodeError:
        return None


class FatalMessages:
    """Counts by topic, partition and offset, in the service's database. engine: in autocommit."""

    def __init__(self, engine: Engine, folder: Path, group: str) -> None:
        self._engine, self._folder, self._group = engine, folder, group
        self._known: frozenset[Place] = frozenset()
        self._fresh = False
        self._counted = False

    def __contains__(self, place: object) -> bool:
        """Whether a message must not be read again."""
        return place in self._known

    def refresh(self) -> None:
        """Count what was left behind, and learn what others counted. Raises sqlalchemy's DBAPIError."""
        if self._fresh:
            return
        with self._engine.connect() as db:
            if not self._counted:
                for place in left_behind(self._folder, self._group):
                    where = dict(zip(("topic", "partition", "offset"), place, strict=True))
                    log.error("a process ended with this message in hand", **where)
                    db.execute(_COUNT, where)
                self._counted = True
            found = db.execute(_KNOWN, {"times": TIMES})
            self._known = frozenset((topic, partition, offset) for topic, partition, offset, _ in found)
        self._fresh = True

    def expire(self) -> None:
        """Partitions came from other processes: they may have counted since."""
        self._fresh = False

    def forget(self, keep_days: int) -> None:
        """Drop counts that are older; any message should be gone by then."""
        with self._engine.connect() as db:
            db.execute(_FORGET, {"days": keep_days})
