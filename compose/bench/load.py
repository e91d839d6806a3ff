"""The load: realistic requests, published at a rate that nothing slows down, and the ends that a client reads.

Open loop: a request is due when the schedule says so, and its time counts from there, however late it was sent.
Otherwise a system that stalls would also stall the load, and hide it.
"""

import bisect
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from confluent_kafka import Consumer, Producer, TopicPartition
from uuid_utils.compat import uuid7

from compose.publisher import to_json
from compose.settings import Servers
from dlq.offsets import QUIET, bounds
from outbox.relay import producer_config
from schemas.codec import Codec
from schemas.envelope import Envelope, event_headers, trace_headers
from schemas.events import CheckoutCompleted, CheckoutFailed, CheckoutRequested, Line

CUSTOMERS: Final = 1_000
PRODUCTS: Final = 10_000
_ZIPF: Final = 1.0
_MOST_LINES: Final = 5
_QUIET_S: Final = 60.0
_DUE_S: Final = 0.003
_SHEAF: Final = 500


class LoadError(Exception):
    """The load did not come to its end; the text says what is missing."""


def customer(number: int) -> str:
    """The id of a customer."""
    return f"shopper-{number}"


def baskets(count: int, seed: int, hot: str = "") -> list[CheckoutRequested]:
    """`count` requests of 1 to 5 lines, products by Zipf's law; `hot` is a product that is in every order."""
    chance = random.Random(seed)  # noqa: S311 - a load, not a secret
    weights = list(itertools.accumulate(1 / rank**_ZIPF for rank in range(1, PRODUCTS + 1)))
    name = uuid4().hex[:8]

    def product() -> str:
        return f"sku-{bisect.bisect(weights, chance.random() * weights[-1]) + 1}"

    def lines() -> tuple[Line, ...]:
        skus = {product() for _ in range(chance.randint(1, _MOST_LINES))}
        skus |= {hot} if hot else set()
        return tuple(
            Line(sku=sku, quantity=chance.randint(1, 3), unit_price_minor=chance.randint(199, 9_999))
            for sku in sorted(skus)
        )

    return [_request(f"{name}-{number:07d}", chance.randrange(CUSTOMERS), lines()) for number in range(count)]


def _request(checkout_id: str, buyer: int, lines: tuple[Line, ...]) -> CheckoutRequested:
    return CheckoutRequested(
        checkout_id=checkout_id,
        customer_id=customer(buyer),
        payment_method_id=f"{customer(buyer)}:ok",
        currency="EUR",
        total_minor=sum(line.quantity * line.unit_price_minor for line in lines),
        lines=lines,
    )


@dataclass(frozen=True, slots=True)
class Message:
    """A request as it is published."""

    key: str
    value: bytes
    headers: list[tuple[str, bytes | None]]


def avro(requests: Sequence[CheckoutRequested], servers: Servers) -> list[Message]:
    """The requests as a shop publishes them."""
    with closing(Codec(servers.registry, servers.topic_prefix)) as codec:
        return [_avro(request, codec) for request in requests]


def plain(requests: Sequence[CheckoutRequested]) -> list[Message]:
    """The requests as JSON, which is what the peers read."""
    return [Message(request.checkout_id, to_json(request).encode(), []) for request in requests]


def endless(servers: Servers) -> Iterator[Message]:
    """One request after the other, each made when it is asked for."""
    with closing(Codec(servers.registry, servers.topic_prefix)) as codec:
        for seed in itertools.count():
            for request in baskets(_SHEAF, seed):
                yield _avro(request, codec)


def _avro(request: CheckoutRequested, codec: Codec) -> Message:
    envelope = Envelope(request, uuid7(), datetime.now(UTC))
    headers = event_headers(envelope, "shop", envelope.event_id, trace_headers([]))
    return Message(request.checkout_id, codec.encode(envelope), headers)


@dataclass(slots=True)
class Times:
    """When each checkout was due, and when its end was read (seconds, of one clock)."""

    due: dict[str, float] = field(default_factory=dict)
    completed: dict[str, float] = field(default_factory=dict)
    failed: dict[str, float] = field(default_factory=dict)

    def latencies_s(self, wanted: Callable[[str], bool] = lambda _: True) -> list[float]:
        """From due to completed, sorted."""
        return sorted(at - self.due[key] for key, at in self.completed.items() if wanted(key))

    def rate(self) -> float:
        """Whole checkouts a second, from the first request to the last end."""
        return len(self.completed) / (max(self.completed.values()) - min(self.due.values()))


class Load:
    """Publishes to `requested` and listens to the ends."""

    def __init__(self, bootstrap_servers: str, requested: str, completed: str, failed: str = "") -> None:
        self._requested, self._completed = requested, completed
        self._producer = Producer(producer_config(bootstrap_servers) | {"linger.ms": 1} | QUIET)
        self._producer.list_topics(requested, timeout=10)
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "bench",  # required by the client; nothing is committed under it
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
                **QUIET,
            }
        )
        found = bounds(bootstrap_servers, [completed, *([failed] if failed else [])])
        self._consumer.assign([TopicPartition(*place, high) for place, (_, high) in found.items()])
        self.times = Times()

    def run(self, messages: Sequence[Message], rate: float = 0.0) -> Times:
        """Publish all (0: as fast as the broker takes them), and wait for the ends. Raises LoadError."""
        self.times = Times()
        sender = threading.Thread(target=self._send, args=(messages, rate), name="load", daemon=True)
        sender.start()
        heard_at = time.monotonic()
        while len(self.times.completed) + len(self.times.failed) < len(messages):
            if self._listen():
                heard_at = time.monotonic()
            if time.monotonic() - heard_at > _QUIET_S and not sender.is_alive():
                ended = len(self.times.completed) + len(self.times.failed)
                raise LoadError(f"{ended:,} of {len(messages):,} checkouts ended, and no other for {_QUIET_S:.0f} s")
        sender.join()
        return self.times

    def sustain(self, messages: Iterator[Message], in_flight: int, seconds: float, parts: int) -> list[float]:
        """Keep `in_flight` checkouts on their way for so long, then let them end; the rate in each part of the time."""
        self.times = Times()
        ended = [0] * parts
        began = time.monotonic()
        open_, seen = 0, 0
        while (passed := time.monotonic() - began) < seconds or open_:
            for message in itertools.islice(messages, in_flight - open_ if passed < seconds else 0):
                self.times.due[message.key] = passed
                self._produce(message)
                open_ += 1
            self._producer.poll(0)
            self._listen()
            now = len(self.times.completed) + len(self.times.failed)
            ended[min(parts - 1, int(passed / seconds * parts))] += now - seen if passed < seconds else 0
            open_, seen = open_ - (now - seen), now
        return [count / (seconds / parts) for count in ended]

    def close(self) -> None:
        """Give connections back."""
        self._producer.flush(10)
        self._consumer.close()

    def _send(self, messages: Sequence[Message], rate: float) -> None:
        began = time.perf_counter()
        for number, message in enumerate(messages):
            due = began + number / rate if rate else time.perf_counter()
            while due > time.perf_counter():
                # what is due meanwhile is sent together; its time counts from when it was due
                time.sleep(_DUE_S)
                self._producer.poll(0)
            self.times.due[message.key] = due
            self._produce(message)
        self._producer.flush(30)

    def _produce(self, message: Message) -> None:
        while True:
            try:
                self._producer.produce(
                    self._requested, key=message.key, value=message.value, headers=list(message.headers)
                )
            except BufferError:
                self._producer.poll(0.01)
            else:
                return

    def _listen(self) -> bool:
        first = self._consumer.consume(1, 0.1)
        messages = [*first, *(self._consumer.consume(1000, 0) if first else [])]
        now = time.perf_counter()
        for message in messages:
            key = message.key()
            if message.error() is None and isinstance(key, bytes) and (ended := key.decode()) in self.times.due:
                heard = self.times.completed if message.topic() == self._completed else self.times.failed
                heard.setdefault(ended, now)
        return bool(messages)


def topics(prefix: str) -> tuple[str, str, str]:
    """(requested, completed, failed) of this system."""
    return (
        prefix + CheckoutRequested.TYPE,
        prefix + CheckoutCompleted.TYPE,
        prefix + CheckoutFailed.TYPE,
    )
