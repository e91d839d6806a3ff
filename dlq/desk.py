"""The one writer of what people do to dead letters: Kafka transactions, all or nothing, one writer at a time.

Every command that changes something takes the desk: the broker then aborts what its former holder had under way and
lets nothing more of it in. So two people can't do two things to one letter, and nothing is sent twice.
"""

import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dlq.failing import DlqError
from dlq.ledger import Entry
from dlq.offsets import QUIET
from dlq.settings import DlqSettings
from schemas.choreography import LEDGER_TOPIC
from schemas.envelope import Header

TRANSACTIONAL_ID: Final = "dlq-replay"
PARTITIONER: Final = "murmur2_random"
"""As the services' producers: a key finds the same partition, whoever writes it."""
_TIMEOUT_S: Final = 30.0
_TAKEN_OVER: Final = "another command took over the dead letters; nothing was sent twice"
_FENCED: Final = (
    KafkaError._FENCED,  # noqa: SLF001 - the client's own codes have an underscore
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError._FATAL,  # noqa: SLF001 - what every call says after the first
)

_UNCLEAR: Final = (KafkaError.UNKNOWN, KafkaError.INVALID_TXN_STATE)
"""What a broker may answer to the end of a transaction while somebody else takes the desk."""

_SILENT: Final = logging.getLogger("dlq.desk.client")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
"""The client shouts on stderr when it loses the desk, which a command says in one line of its own."""


class TakenOverError(DlqError):
    """Somebody else took the desk; the transaction that was under way is aborted, those before it stand."""


class UnclearError(DlqError):
    """The broker did not say whether the transaction stands: whoever takes the desk again finds it in the ledger."""


class NotWrittenError(DlqError):
    """The broker refused a record, and with it the whole transaction; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Out:
    """One record to be written. topic: without the prefix."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


def ledger_record(entry: Entry) -> Out:
    """An entry of the ledger, to be written."""
    return Out(LEDGER_TOPIC, entry.key.encode(), entry.value())


class Desk:
    """Takes the desk when it is made. Raises KafkaException when the broker is away."""

    def __init__(self, settings: DlqSettings) -> None:
        self._prefix = settings.topic_prefix
        self._producer = Producer(producer_config(settings), logger=_SILENT)
        self._refused: list[str] = []
        self._lost = False
        _or_fenced(lambda: self._producer.init_transactions(_TIMEOUT_S))

    def commit(self, records: Iterable[Out]) -> None:
        """Write all of `records` in one transaction, or none.

        Raises TakenOverError, UnclearError, NotWrittenError; KafkaException when the broker is away: the ledger tells
        what is written.
        """
        self._refused.clear()
        try:
            _or_fenced(lambda: self._write(records))
        except TakenOverError:
            self._lost = True
            raise
        except BaseException as error:
            self._abort(error)
            if isinstance(error, KafkaException):
                self._explain(error)
            raise

    def _explain(self, error: KafkaException) -> None:
        """Raise what `error` means, where it means more than that the broker is away."""
        if self._refused:
            raise NotWrittenError(f"nothing was written: {self._refused[0]}") from error
        if error.args[0].code() in _UNCLEAR:
            self._lost = True
            raise UnclearError(f"the broker did not say whether it is written: {error.args[0].str()}") from error

    def close(self) -> None:
        """Give the connections back; nothing is under way any more."""
        with warnings.catch_warnings():
            # that a transaction can't be aborted any more was said when that happened
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                self._producer.close()
            except KafkaException:
                # a client that lost the desk says it once more
                if not self._lost:
                    raise

    def _write(self, records: Iterable[Out]) -> None:
        if self._lost:
            raise TakenOverError(_TAKEN_OVER)
        self._producer.begin_transaction()
        for record in records:
            self._produce(record)
        # waits for every record, and fails when one was refused
        self._producer.commit_transaction(_TIMEOUT_S)

    def _produce(self, record: Out) -> None:
        while True:
            try:
                self._producer.produce(
                    self._prefix + record.topic,
                    value=record.value,
                    key=record.key,
                    headers=list(record.headers),
                    on_delivery=self._report,
                )
            except BufferError:
                self._producer.poll(_TIMEOUT_S)
            else:
                self._producer.poll(0)
                return

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() not in _FENCED:
            self._refused.append(f"{message.topic()}: {error.str()}")

    def _abort(self, cause: BaseException) -> None:
        """An error of the abort itself, which the broker makes up for later, must not hide its cause."""
        try:
            self._producer.abort_transaction(_TIMEOUT_S)
        except KafkaException as error:
            cause.add_note(f"the transaction is left to its time-out: {error}")


def say(settings: DlqSettings, record: Out) -> None:
    """Write one record beside the desk, without taking it from anybody. Raises NotWrittenError."""
    failed: list[str] = []
    producer = Producer({**settings.kafka, "partitioner": PARTITIONER, "enable.idempotence": True, **QUIET})
    producer.produce(
        settings.topic_prefix + record.topic,
        value=record.value,
        key=record.key,
        headers=list(record.headers),
        on_delivery=lambda error, _: failed.append(error.str()) if error else None,
    )
    if producer.flush(_TIMEOUT_S) or failed:
        raise NotWrittenError(f"nothing was written: {failed[0] if failed else 'no answer from the broker'}")


def producer_config(settings: DlqSettings) -> dict[str, Any]:
    """The settings of the one writer."""
    return {
        **settings.kafka,
        # one for all: whoever comes later fences whoever is there
        "transactional.id": settings.topic_prefix + TRANSACTIONAL_ID,
        # what a killed command left open is closed by then; until then readers of what is committed wait
        "transaction.timeout.ms": 30_000,
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": PARTITIONER,
        "linger.ms": 2,
        "compression.type": "lz4",
        "message.max.bytes": 8 * 1024 * 1024,
        # what is written and not yet there
        "queue.buffering.max.kbytes": 32 * 1024,
        **QUIET,
    }


def _or_fenced(act: Callable[[], object]) -> None:
    try:
        act()
    except KafkaException as error:
        if error.args[0].code() in _FENCED:
            raise TakenOverError(_TAKEN_OVER) from error
        raise
