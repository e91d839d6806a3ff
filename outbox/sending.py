"""Sends rows to the broker and learns from its delivery reports what became of each."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from outbox.publishable import MAX_RECORD_BYTES

Head = tuple[int, str, str]
"""seq, id and ordering key of a row: which one it is, and whose turn."""

_PART: Final = 1000
"""Rows whose content is read at once: the broker takes in one part while the next is read."""
_FLUSH_S: Final = 0.5
_STOP_S: Final = 5.0

# codes of the client itself, which it names with an underscore: the broker did not answer, or was not asked
_AWAY: Final = (
    KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._PURGE_QUEUE,  # noqa: SLF001
    KafkaError._PURGE_INFLIGHT,  # noqa: SLF001
)

_NO_RECORD: Final = (ValueError, TypeError, OverflowError, SystemError)
"""What `produce` raises for what can't be a record, besides its own exception."""
_SHOWN: Final = 200

log = structlog.get_logger("outbox.relay")


def producer_config(kafka: str | Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a producer that loses nothing and keeps order.

    kafka: host:port of the brokers, comma separated, or the client's properties that reach them.
    """
    reaching = {"bootstrap.servers": kafka} if isinstance(kafka, str) else kafka
    return {
        **reaching,
        # as Java's clients, and so Debezium and Kafka Streams: a key has one partition, whoever writes it
        "partitioner": "murmur2_random",
        # a resend after a lost answer is written once, and in order
        "enable.idempotence": True,
        "acks": "all",
        # rows wait in the table, not in the client: a message not taken in time is simply read again
        "delivery.timeout.ms": 30_000,
        # a topic that isn't there is said soon: the default holds everybody up for 30 s
        "topic.metadata.propagation.max.ms": 2_000,
        # A round ends with a flush, which sends at once; until then full batches spare the broker half its work.
        "linger.ms": 25,
        # Topics keep records uncompressed, so that the broker's limit on a batch counts what readers will hold: what
        # came packed it would have to unpack
        "compression.type": "none",
        "message.max.bytes": MAX_RECORD_BYTES,
        "queue.buffering.max.kbytes": 256 * 1024,
    }


class Outgoing(NamedTuple):
    """A row as it goes out."""

    head: Head
    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]


class Failure(NamedTuple):
    """A row that the broker has not. error: the broker's or the client's, or what is wrong with the row."""

    head: Head
    topic: str
    error: KafkaError | str

    @property
    def why(self) -> str:
        """A sentence."""
        return self.error if isinstance(self.error, str) else self.error.str()


@dataclass(slots=True)
class Outcome:
    """What became of rows, by their delivery reports. delivered: the seqs of those that the broker has."""

    delivered: list[int] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    def report(self, head: Head, error: KafkaError | None, message: Message) -> None:
        """The delivery report of one row."""
        if error is None:
            self.delivered.append(head[0])
        else:
            self.failed.append(Failure(head, message.topic() or "", error))


OnSent = Callable[[Outgoing, Message], None]
"""Told of every row that the broker has, and where it lies there."""
Read = Callable[[Sequence[Head]], Iterable[Iterable[Outgoing | Failure]]]
"""Gives the content of rows, of those that are still there: in several parts where it is too much to hold at once."""


class Sender:
    """Sends with a producer that is replaced when it delivers no more. Nothing is on its way between two calls."""

    def __init__(self, make_producer: Callable[[], Producer], on_sent: OnSent | None = None) -> None:
        self._make_producer = make_producer
        self._on_sent = on_sent
        self._producer = make_producer()
        self._stop_at: float | None = None

    def stop(self) -> None:
        """Wait for a broker that is away only a little longer. From any thread."""
        self._stop_at = time.monotonic()

    def close(self) -> None:
        """Let go of the producer."""
        self._producer.flush(_FLUSH_S)

    def send(self, heads: Sequence[Head], read: Read) -> Outcome:
        """Publish these rows, of different keys, and wait for the reports.

        What was refused is tried alone: brokers refuse whole batches for one row.
        """
        outcome = Outcome()
        try:
            for start in range(0, len(heads), _PART):
                self._produce_all(read(heads[start : start + _PART]), outcome)
        finally:
            self._await_reports()
        refused = [failure.head for failure in outcome.failed if _is_refused(failure.error)]
        if refused and len(heads) > 1:
            outcome.failed = [failure for failure in outcome.failed if not _is_refused(failure.error)]
            for head in refused:
                self._produce_all(read([head]), outcome)
                self._await_reports()
        if any(_is_stuck(failure.error) for failure in outcome.failed):
            self._renew_producer()
        return outcome

    def _produce_all(self, parts: Iterable[Iterable[Outgoing | Failure]], outcome: Outcome) -> None:
        """Hand over one part after the other; the client keeps a part's content until it is reported.

        It has two of them at most: what is small, and the first of what is large, which need not wait for each other.
        """
        for number, rows in enumerate(parts):
            if number > 1:
                self._await_reports()
            self._produce(rows, outcome)

    def _produce(self, rows: Iterable[Outgoing | Failure], outcome: Outcome) -> None:
        """Hand over a part. Of a row only its head is kept: the client has the content, a part at a time is enough.

        Unless somebody wants to be told of it.
        """
        produce, report = self._producer.produce, outcome.report
        for row in rows:
            if isinstance(row, Failure):
                outcome.failed.append(row)
                continue
            head, topic, key, value, headers = row
            reported = partial(self._tell, report, row) if self._on_sent else partial(report, head)
            try:
                produce(topic, value, key, headers=headers, on_delivery=reported)
            except BufferError:
                self._producer.flush(_FLUSH_S)  # the row is read again in the next round
            except (KafkaException, *_NO_RECORD) as error:
                outcome.failed.append(Failure(head, topic, _refusal(error)))
        self._producer.poll(0)

    def _tell(self, report: Callable[..., None], row: Outgoing, error: KafkaError | None, message: Message) -> None:
        report(row.head, error, message)
        if error is None and self._on_sent:
            try:
                self._on_sent(row, message)
            # whatever it is: the broker has the row, which must not come again for ever because of who listens
            except Exception:
                log.exception("whoever is told of published events failed", topic=row.topic)

    def _await_reports(self) -> None:
        while len(self._producer):
            # message time-outs bound this: every message is reported delivered or failed in the end
            self._producer.flush(_FLUSH_S)
            if self._stop_at is not None and time.monotonic() - self._stop_at > _STOP_S:
                self._producer.purge()  # the broker is away: the rows stay for the next relay

    def _renew_producer(self) -> None:
        """The rows are still there, so a new client loses nothing.

        A client that heard "no leader" while a broker stopped may never send to that partition again, although the
        broker is long back: every message of it times out.
        """
        log.warning("a new producer: the one before delivers no more")
        self._producer = self._make_producer()


def passes(error: KafkaError | str) -> bool:
    """Whether the row as such is in order and will be taken when the broker is back."""
    return not isinstance(error, str) and (error.fatal() or error.retriable() or error.code() in _AWAY)


def _refusal(error: BaseException) -> KafkaError | str:
    """What the client raised instead of taking a row: of an error that doesn't pass its sentence, which is final."""
    reason = error.args[0] if isinstance(error, KafkaException) else None
    if isinstance(reason, KafkaError):
        return reason if passes(reason) else f"the client refuses it: {reason.str()}"
    return f"the client refuses it: {type(error).__name__}: {ascii(str(error))[:_SHOWN]}"


def _is_refused(error: KafkaError | str) -> bool:
    """Whether the broker refuses a row, perhaps for another one of its batch."""
    return not isinstance(error, str) and not passes(error)


def _is_stuck(error: KafkaError | str) -> bool:
    """Whether the client itself may be what is in the way."""
    if isinstance(error, str):
        return False
    return error.fatal() or error.code() == KafkaError._MSG_TIMED_OUT  # noqa: SLF001
