"""A dead letter as it lies on its topic, with its state from the ledger.

A list needs what letters say of themselves, not what they hold: most reading makes slim letters, whose values and
headers stay on their topic until `dlq.contents` reads them again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from confluent_kafka import Message

from dlq import dialects
from dlq.dialects import service_of
from dlq.ledger import Entry, State
from dlq.messages import instant, whole_number
from schemas.envelope import Header
from schemas.kafka.record import KafkaRecord, record_of

UNRESOLVED: Final = (State.OPEN, State.FAILED_AGAIN, State.REPLAYING)
_SLIM_KEY_BYTES: Final = 1024
_SLIM_TEXT_CHARS: Final = 2000
_NOT_IN_A_LIST: Final = ("dlq-error-stack",)

Warn = Callable[[str], None]
"""Called with a sentence about what was left out of an answer."""
Search = Callable[["DeadLetter"], frozenset[str]]
"""Which of the texts that are looked for a whole letter holds."""


def unheard(_sentence: str) -> None:
    """Warnings that nobody hears."""


def unsearched(_letter: "DeadLetter") -> frozenset[str]:
    """Nothing is looked for."""
    return frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One dead letter.

    place: topic, partition, offset. at: when it was put there. headers: as they lie there, in order, duplicates kept.
    dialect: who wrote it: ours, spring, connect, streams, share-group, unknown. info: what the headers say, under the
    names of `dialects.NAMES`, "" where they say nothing. entry: its newest entry in the ledger, None when nobody
    touched it. defect: what is odd about the record itself.

    slim: value and headers are not held, long texts of `info` and a long key are cut. value_bytes: the length of the
    value, None for none; size_bytes: of the whole record. found: those of the texts looked for that it holds.
    """

    place: tuple[str, int, int]
    at: datetime
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    dialect: str
    info: dict[str, str]
    entry: Entry | None = None
    topic_prefix: str = ""
    defect: str = ""
    slim: bool = False
    value_bytes: int | None = None
    size_bytes: int = 0
    found: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """Its identity; of a foreign letter one that is derived from its place."""
        return self.info["dlq-id"]

    @property
    def service(self) -> str:
        """Whose letter it is; of a foreign letter its topic, without `.dlq`."""
        return self.info["dlq-service"] or service_of(self.place[0], self.topic_prefix)

    @property
    def ledger_key(self) -> str:
        """Its key in the ledger."""
        return f"{self.service}/{self.id}"

    @property
    def state(self) -> State:
        """Open as long as nobody wrote an entry."""
        return State.OPEN if self.entry is None else self.entry.state

    @property
    def unresolved(self) -> bool:
        """Whether somebody still has to do something, or wait for something."""
        return self.state in UNRESOLVED

    @property
    def fingerprint(self) -> str:
        """Equal for letters of the same cause."""
        return self.info["dlq-fingerprint"]

    @property
    def disposition(self) -> str:
        """Why it is a dead letter: a `dlq.letter.Disposition`; "" of a foreign letter."""
        return self.info["dlq-disposition"]

    @property
    def error_class(self) -> str:
        """The class of the error."""
        return self.info["dlq-error-class"]

    @property
    def error_message(self) -> str:
        """What the error said."""
        return self.info["dlq-error-message"]

    @property
    def checkout_id(self) -> str:
        """The key as text; "" where it is none."""
        try:
            return (self.key or b"").decode()
        except UnicodeDecodeError:
            return ""

    @property
    def event_type(self) -> str:
        """The topic that the message came from, without the prefix."""
        return self.info["dlq-original-topic"].removeprefix(self.topic_prefix)

    @property
    def first_failed_at(self) -> datetime:
        """When the message failed first; where that is not said, when it failed last."""
        return instant(self.info["dlq-first-failed-at"]) or self.failed_at

    @property
    def failed_at(self) -> datetime:
        """When it failed last; where that is not said, when it was put on its topic."""
        return instant(self.info["dlq-failed-at"]) or self.at

    @property
    def original_at(self) -> datetime:
        """When the message was published; where that is not said, when it failed first."""
        return instant(self.info["dlq-original-timestamp"]) or self.first_failed_at

    @property
    def replay_count(self) -> int:
        """How often it was replayed, by its headers or the ledger, whichever is later."""
        said = whole_number(self.info["dlq-replay-count"])
        return max(said, self.entry.replay_count if self.entry else 0)


def letter_from(message: Message, topic_prefix: str = "") -> DeadLetter:
    """A message of a dead-letter topic, whole; it has no entry yet. Raises nothing."""
    return letter_in(record_of(message), topic_prefix)


def letter_in(record: KafkaRecord, topic_prefix: str = "") -> DeadLetter:
    """A record of a dead-letter topic, whole; it has no entry yet. Raises nothing."""
    dialect, info = dialects.read(record.headers, record.place, topic_prefix)
    return DeadLetter(
        place=record.place,
        at=record.timestamp,
        key=record.key,
        value=record.value,
        headers=record.headers,
        dialect=dialect,
        info=info,
        topic_prefix=topic_prefix,
        defect=record.defect,
        value_bytes=None if record.value is None else len(record.value),
        size_bytes=_size(record),
    )


def _size(record: KafkaRecord) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def slim(letter: DeadLetter, search: Search = unsearched) -> DeadLetter:
    """A letter without what it holds; what is looked for is looked for before."""
    info = {name: "" if name in _NOT_IN_A_LIST else text[:_SLIM_TEXT_CHARS] for name, text in letter.info.items()}
    return replace(
        letter,
        key=None if letter.key is None else letter.key[:_SLIM_KEY_BYTES],
        value=None,
        headers=[],
        info=info,
        slim=True,
        found=search(letter),
    )
