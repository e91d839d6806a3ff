"""Listens to the ends that a shop waits for, and to the dead letters."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from confluent_kafka import Consumer, Message, TopicPartition

from compose.settings import Servers
from dlq.offsets import QUIET, bounds
from schemas.choreography import SERVICES, SHOP, dead_letter_topic
from schemas.codec import Codec, SchemaPendingError, UndecodableError
from schemas.events import CheckoutCompleted, CheckoutFailed
from schemas.kafka.record import record_of
from services.shell.delivery import place_identity


@dataclass(frozen=True, slots=True)
class End:
    """How a checkout ended: `completed`, the code of its failure, or `dead letter` for one of its messages.

    identity: of the event or letter; the same one may be delivered twice.
    """

    identity: UUID
    checkout_id: str
    outcome: str
    message: str = ""


class Ends:
    """A consumer of `checkout.completed`, `checkout.failed` and the dead-letter topics, from now on."""

    def __init__(self, servers: Servers) -> None:
        self._prefix = servers.topic_prefix
        self._codec = Codec(servers.registry, servers.topic_prefix)
        self._letters = {servers.topic_prefix + dead_letter_topic(service) for service in SERVICES}
        self._consumer = Consumer(
            {
                **servers.kafka,
                # required by the client; nothing is committed under it
                "group.id": f"{servers.topic_prefix}{SHOP}-run",
                "enable.auto.commit": False,
                **QUIET,
            }
        )
        ends = [servers.topic_prefix + event.TYPE for event in (CheckoutCompleted, CheckoutFailed)]
        # assigned by hand, at the present ends: whatever is published from now on is heard
        found = bounds(servers.kafka, [*ends, *sorted(self._letters)])
        self._consumer.assign([TopicPartition(*place, high) for place, (_, high) in found.items()])

    def heard(self, timeout_s: float) -> Iterator[End]:
        """The ends that have come since, waiting at most `timeout_s` for the first."""
        first = self._consumer.consume(1, timeout_s)
        for message in [*first, *(self._consumer.consume(1000, 0) if first else [])]:
            if message.error() is None and (end := self._end(message)) is not None:
                yield end

    def close(self) -> None:
        """Leave."""
        self._consumer.close()
        self._codec.close()

    def _end(self, message: Message) -> End | None:
        """None for what is no end, whoever put it there."""
        record = record_of(message)
        checkout_id = (record.key or b"").decode("utf-8", "replace")
        if record.topic in self._letters:
            return End(place_identity(record), checkout_id, "dead letter")
        try:
            heard = self._codec.decode(record.topic.removeprefix(self._prefix), record.value)
        except (UndecodableError, SchemaPendingError):
            return None
        if isinstance(heard.event, CheckoutFailed):
            return End(heard.event_id, checkout_id, heard.event.code, heard.event.message)
        return End(heard.event_id, checkout_id, "completed")
