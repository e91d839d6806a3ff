"""What happens while a replay runs: outcomes from the ledger, and what others say of it in the audit."""

from collections import Counter
from contextlib import closing
from typing import Final, Self
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from dlq.deeds import Action, Deed, deed_from
from dlq.ledger import Entry, State, entry_of_record
from dlq.offsets import QUIET, bounds
from dlq.settings import DlqSettings
from dlq.topics import BOUNDED
from schemas.choreography import DLQ_AUDIT_TOPIC, LEDGER_TOPIC
from schemas.kafka.record import KafkaRecord, record_of

WATCH_GROUP: Final = "dlq-watch"
"""Required by the client; nothing is committed under it."""
OUTCOMES: Final = (State.RESOLVED, State.TOO_LATE, State.FAILED_AGAIN)
_OWN: Final = f'"state":"{State.REPLAYING.value}"'.encode()
_BATCH: Final = 100


class Watch:
    """Hears the ledger and the audit from the moment at which it is made. Use it in a `with`.

    run: the identity of this run of the job, which its start has to name. outcomes: letter -> state, of the letters
    that `job` sent. cancelled: who cancelled the job; taken_over: the job whose run started after this one.
    """

    def __init__(self, settings: DlqSettings, job: str) -> None:
        self._job = job
        self.run = str(uuid4())
        self._audit = settings.topic_prefix + DLQ_AUDIT_TOPIC
        topics = [self._audit, settings.topic_prefix + LEDGER_TOPIC]
        self._consumer = Consumer(_config(settings))
        ends = bounds(settings.kafka, topics)
        self._consumer.assign([TopicPartition(*place, end) for place, (_, end) in ends.items()])
        self.outcomes: dict[str, State] = {}
        self.cancelled: Deed | None = None
        self.taken_over = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self._consumer):
            self._consumer.unassign()

    def know(self, entries: dict[str, Entry]) -> None:
        """Count what an earlier run of the same job came to."""
        for key, entry in entries.items():
            if entry.replay_id == self._job and entry.state in OUTCOMES:
                self.outcomes.setdefault(key, entry.state)

    def look(self, timeout_s: float = 0.0) -> None:
        """Take in what is there; wait up to `timeout_s` for something. Raises KafkaException."""
        for message in self._consumer.consume(1, timeout_s) if timeout_s else []:
            self._take(message)
        while messages := self._consumer.consume(_BATCH, 0):
            for message in messages:
                self._take(message)

    def counts(self) -> Counter[State]:
        """How many letters came to what."""
        return Counter(self.outcomes.values())

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            # the client looks for a lost broker by itself
            if error.retriable() or error.code() < 0:
                return
            raise KafkaException(error)
        record = record_of(message)
        if record.topic == self._audit:
            self._take_deed(deed_from(record.value))
        else:
            self._take_entry(record)

    def _take_deed(self, deed: Deed | None) -> None:
        if deed is None:
            return
        if deed.action == Action.REPLAY_CANCELLED and deed.replay_id == self._job:
            self.cancelled = deed
        if deed.action == Action.REPLAY_STARTED and deed.detail.get("run") != self.run:
            self.taken_over = deed.replay_id

    def _take_entry(self, record: KafkaRecord) -> None:
        # most of what comes is what this job itself writes
        if record.value is None or _OWN in record.value:
            return
        try:
            entry = entry_of_record(record.key, record.value)
        except ValueError:
            return
        if entry.replay_id == self._job and entry.state in OUTCOMES:
            self.outcomes[entry.key] = entry.state


def _config(settings: DlqSettings) -> dict[str, str | bool | int]:
    return {
        **settings.kafka,
        "group.id": WATCH_GROUP,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 50,  # a cancel is heard soon
        **BOUNDED,
        **QUIET,
    }
