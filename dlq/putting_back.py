"""Puts exported letters back on their dead-letter topics."""

from collections.abc import Callable, Sequence
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


class NotDeliveredError(DlqError):
    """The broker did not take a letter; those before it may lie there: the same import again puts back the others."""


def put_back(
    settings: DlqSettings, parcels: Sequence[Parcel], *, progress: Progress = untold, warn: Warn = unheard
) -> tuple[list[Parcel], list[Parcel]]:
    """(those put back, those that lay there already). Raises KafkaException, NotDeliveredError, NoTopicError.

    Each gets a new place and a new time on its topic, so that its retention begins anew.
    """
    services = sorted({parcel.service for parcel in parcels})
    lying = {x.ledger_key for x in read_letters(settings, services, warn=warn)} if services else set()
    missing = [parcel for parcel in parcels if parcel.ledger_key not in lying]
    _produce(settings, missing, progress)
    return missing, [parcel for parcel in parcels if parcel.ledger_key in lying]


def _produce(settings: DlqSettings, parcels: Sequence[Parcel], progress: Progress) -> None:
    if not parcels:
        return
    from outbox.relay import producer_config  # noqa: PLC0415 - brings SQLAlchemy, which lists need not wait for

    failed: list[str] = []
    done = 0

    def delivered(error: KafkaError | None, _message: Message) -> None:
        nonlocal done
        done += 1
        if error is not None:
            failed.append(error.str())
        progress(done, len(parcels))

    producer = Producer(producer_config(settings.kafka) | QUIET)
    for parcel in parcels:
        _send(producer, settings.topic_prefix, parcel, delivered)
    left = producer.flush(_FLUSH_S)
    if left or failed:
        reason = failed[0] if failed else f"no answer from the broker within {_FLUSH_S:.0f} s"
        raise NotDeliveredError(f"{left + len(failed)} of {len(parcels)} letters were not delivered: {reason}")


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
