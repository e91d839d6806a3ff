"""Reads the dead letters of a system and their ledger. Most answers need slim letters only."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from dlq.ledger import Entry, entry_of_record
from dlq.letters import DeadLetter, Search, Warn, letter_in, slim, unheard, unsearched
from dlq.settings import DlqSettings
from dlq.topics import Progress, check_topics, dump, untold
from schemas.choreography import LEDGER_TOPIC, SERVICES, dead_letter_topic
from schemas.kafka.record import KafkaRecord, record_of


def read_letters(
    settings: DlqSettings,
    services: Sequence[str] = SERVICES,
    *,
    topics: Sequence[str] = (),
    search: Search = unsearched,
    progress: Progress = untold,
    warn: Warn = unheard,
) -> list[DeadLetter]:
    """As `read_all`, without the ledger."""
    return read_all(settings, services, topics=topics, search=search, progress=progress, warn=warn)[0]


def read_all(
    settings: DlqSettings,
    services: Sequence[str] = SERVICES,
    *,
    topics: Sequence[str] = (),
    search: Search = unsearched,
    progress: Progress = untold,
    warn: Warn = unheard,
) -> tuple[list[DeadLetter], dict[str, Entry]]:
    """(slim letters of these services, in the order of their first failures, each once, as it lies there last; ledger).

    topics: read these instead, by their full names, whoever wrote them. Raises KafkaException, NoTopicError.
    """
    prefix, servers = settings.topic_prefix, settings.kafka
    wanted = list(topics) or [prefix + dead_letter_topic(service) for service in services]
    check_topics(servers, wanted)
    ledger_topic = prefix + LEDGER_TOPIC
    letters, ledger = [], _Ledger()
    bad = Unpackable()
    for message in dump(servers, [*wanted, ledger_topic], progress=progress, left_out=bad):
        record = record_of(message)
        if record.topic == ledger_topic:
            ledger.take(record)
        else:
            letters.append(slim(letter_in(record, prefix), search))
    ledger.tell(warn)
    bad.tell(warn)
    return settled(letters, ledger.entries), ledger.entries


def read_ledger(settings: DlqSettings, *, warn: Warn = unheard) -> dict[str, Entry]:
    """The newest entry of every letter that has one, by its key. Raises KafkaException."""
    ledger = _Ledger()
    bad = Unpackable()
    for message in dump(settings.kafka, [settings.topic_prefix + LEDGER_TOPIC], left_out=bad):
        ledger.take(record_of(message))
    ledger.tell(warn)
    bad.tell(warn)
    return ledger.entries


class Unpackable:
    """Counts what the client can't unpack: such a record is left out, and the others are still there."""

    def __init__(self) -> None:
        self._count, self._first = 0, ""

    def __call__(self, topic: str, partition: int, offset: int) -> None:
        """One more."""
        self._count += 1
        self._first = self._first or f"{topic}/{partition}/{offset}"

    def tell(self, warn: Warn) -> None:
        """Say how many were left out, and where the first of them lies."""
        if self._count:
            warn(f"{self._count} records can't be decompressed and were left out, the first at {self._first}")


class _Ledger:
    """The newest entry of each key, from records in their order; those that can't be read are counted and left out."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._left_out = 0

    def take(self, record: KafkaRecord) -> None:
        """One record more."""
        if record.value is None:
            self.entries.pop((record.key or b"").decode("utf-8", "replace"), None)
            return
        try:
            entry = entry_of_record(record.key, record.value)
        except ValueError:
            self._left_out += 1
        else:
            self.entries[entry.key] = entry

    def tell(self, warn: Warn) -> None:
        """Say how many were left out."""
        if self._left_out:
            warn(f"{self._left_out} records of {LEDGER_TOPIC} can't be read and were left out")


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
