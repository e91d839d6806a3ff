"""Puts exported letters back on their dead-letter topics."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from dlq.export import Parcel
from dlq.failing import DlqError
from dlq.letters import Warn, unheard
from dlq.offsets import QUIET
from dlq.reading import read_letters
from dlq.settings import DlqSettings
from dlq.topics import Progress, untold

Delivered = Callable[[KafkaError | None, Message], None]

_FLUSH_S: Final = 60.0
_POLL_S: Final = 0.1
_BOUNDED: Final = {"queue.buffering.max.kbytes": 32 * 1024}
"""What is sent and not yet there, in memory."""


class NotDeliveredError(DlqError):
    """The broker did not take a letter; those before it may lie there: the same import again puts back the others."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """back: how many were put back. lying: the keys of those that lay there already."""

    back: int
    lying: tuple[str, ...]


def put_back(
    settings: DlqSettings, parcels: Callable[[], Iterator[Parcel]], *, progress: Progress = untold, warn: Warn = unheard
) -> PutBack:
    """Put letters back. Raises KafkaException, NotDeliveredError, NoTopicError, BadLineError.

    parcels: the letters from the first on, each time it is called: they are read once to see that all are good, and
    once to send them, so that they are never all in memory. Each gets a new place and a new time on its topic, so that
    its retention begins anew.
    """
    keys = {parcel.ledger_key: parcel.service for parcel in parcels()}
    services = sorted(set(keys.values()))
    there = {x.ledger_key for x in read_letters(settings, services, warn=warn)} if services else set()
    missing = keys.keys() - there
    _produce(settings, (parcel for parcel in parcels() if parcel.ledger_key in missing), len(missing), progress)
    return PutBack(len(missing), tuple(key for key in keys if key in there))


def _produce(settings: DlqSettings, parcels: Iterator[Parcel], count: int, progress: Progress) -> None:
    if not count:
        return
    from outbox.relay import producer_config  # noqa: PLC0415 - brings SQLAlchemy, which lists need not wait for

    failed: list[str] = []
    done = 0

    def delivered(error: KafkaError | None, _message: Message) -> None:
        nonlocal done
        done += 1
        if error is not None:
            failed.append(error.str())
        progress(done, count)

    producer = Producer(producer_config(settings.kafka) | _BOUNDED | QUIET)
    for parcel in parcels:
        _send(producer, settings.topic_prefix, parcel, delivered)
    left = producer.flush(_FLUSH_S)
    if left or failed:
        reason = failed[0] if failed else f"no answer from the broker within {_FLUSH_S:.0f} s"
        raise NotDeliveredError(f"{left + len(failed)} of {count} letters were not delivered: {reason}")


def _send(producer: Producer, topic_prefix: str, parcel: Parcel, delivered: Delivered) -> None:
    while True:
        try:
            producer.produce(
                topic_prefix + parcel.topic,
                key=parcel.key,
                value=parcel.value,
                headers=list(parcel.headers),
                on_delivery=delivered,
            )
        except BufferError:
            producer.poll(_POLL_S)
        else:
            producer.poll(0)
            return
