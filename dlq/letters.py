"""The dead letters as they lie on their topics, each with its state from the ledger."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from confluent_kafka import Message

from dlq import dialects
from dlq.ledger import Entry, State, entry_from
from dlq.messages import headers_of, instant, raw, time_of
from dlq.settings import DlqSettings
from dlq.topics import Progress, check_topics, dump, untold
from schemas.choreography import LEDGER_TOPIC, SERVICES, dead_letter_topic
from schemas.envelope import Header

UNRESOLVED: Final = (State.OPEN, State.FAILED_AGAIN, State.REPLAYING)
_DLQ_SUFFIX: Final = ".dlq"

Warn = Callable[[str], None]
"""Called with a sentence about what was left out of an answer."""


def unheard(_sentence: str) -> None:
    """Warnings that nobody hears."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One dead letter.

    place: topic, partition, offset. at: when it was put there. headers: as they lie there, in order, duplicates kept.
    dialect: who wrote it: ours, spring, connect, streams, share-group, unknown. info: what the headers say, under the
    names of `dialects.NAMES`, "" where they say nothing. entry: its newest entry in the ledger, None when nobody
    touched it.
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
        text = self.info["dlq-replay-count"]
        said = int(text) if text.isascii() and text.isdigit() else 0
        return max(said, self.entry.replay_count if self.entry else 0)


def service_of(topic: str, topic_prefix: str) -> str:
    """The service of a dead-letter topic."""
    return topic.removeprefix(topic_prefix).removesuffix(_DLQ_SUFFIX)


def letter_from(message: Message, topic_prefix: str = "") -> DeadLetter:
    """A message of a dead-letter topic; it has no entry yet."""
    place = (str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
    headers = headers_of(message)
    dialect, info = dialects.read(headers, place)
    return DeadLetter(
        place=place,
        at=time_of(message),
        key=raw(message.key()),
        value=raw(message.value()),
        headers=headers,
        dialect=dialect,
        info=info,
        topic_prefix=topic_prefix,
    )


def read_letters(
    settings: DlqSettings,
    services: Sequence[str] = SERVICES,
    *,
    topics: Sequence[str] = (),
    progress: Progress = untold,
    warn: Warn = unheard,
) -> list[DeadLetter]:
    """The dead letters of these services, in the order of their first failures; each once, as it lies there last.

    topics: read these instead, by their full names, whoever wrote them. Raises KafkaException, NoTopicError.
    """
    prefix, servers = settings.topic_prefix, settings.kafka
    wanted = list(topics) or [prefix + dead_letter_topic(service) for service in services]
    check_topics(servers, wanted)
    ledger_topic = prefix + LEDGER_TOPIC
    letters, ledger = [], []
    for message in dump(servers, [*wanted, ledger_topic], progress=progress):
        if message.topic() == ledger_topic:
            ledger.append(message)
        else:
            letters.append(letter_from(message, prefix))
    return settled(letters, entries(ledger, warn))


def read_ledger(settings: DlqSettings, *, warn: Warn = unheard) -> dict[str, Entry]:
    """The newest entry of every letter that has one, by its key. Raises KafkaException."""
    return entries(dump(settings.kafka, [settings.topic_prefix + LEDGER_TOPIC]), warn)


def entries(messages: Iterable[Message], warn: Warn = unheard) -> dict[str, Entry]:
    """The newest entry of each key, from records in their order; those that can't be read are counted and left out."""
    found: dict[str, Entry] = {}
    unreadable = 0
    for message in messages:
        key, value = (raw(message.key()) or b"").decode("utf-8", "replace"), raw(message.value())
        if value is None:
            found.pop(key, None)
            continue
        try:
            found[key] = entry_from(value)
        except (ValueError, KeyError, TypeError, AttributeError):
            unreadable += 1
    if unreadable:
        warn(f"{unreadable} records of {LEDGER_TOPIC} can't be read and were left out")
    return found


def settled(letters: Iterable[DeadLetter], ledger: dict[str, Entry]) -> list[DeadLetter]:
    """Each letter once, the newest of those with the same identity, with its entry; by first failure, then place."""
    newest: dict[str, DeadLetter] = {}
    for letter in letters:
        key = letter.ledger_key
        if key not in newest or _age(newest[key]) <= _age(letter):
            newest[key] = letter
    found = [replace(letter, entry=ledger.get(key)) for key, letter in newest.items()]
    return sorted(found, key=lambda letter: (letter.first_failed_at, letter.place))


def _age(letter: DeadLetter) -> tuple[int, datetime, int]:
    """A letter that was replayed oftener is newer, whenever it was put there (a letter can be put back)."""
    return letter.replay_count, letter.at, letter.place[2]
