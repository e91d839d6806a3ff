"""Hostile messages for every topic, from a seed: the same seed gives the same messages.

On topics that only services write to, a message never is a sound event: what it would do there is a matter of access
rights, and of tests of their own. On those of shops anything goes.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, get_args, get_origin, get_type_hints
from uuid import UUID

from schemas.choreography import DLQ_AUDIT_TOPIC, LEDGER_TOPIC, SERVICES, dead_letter_topic, retry_topic, topics
from schemas.events import EVENTS, CheckoutCancelRequested, CheckoutRequested, Event
from tests.fuzz.raw_producer import RawHeader

SHOPS: Final = (CheckoutRequested.TYPE, CheckoutCancelRequested.TYPE)
TOPICS: Final = (
    *topics(),
    *map(retry_topic, SERVICES),
    *map(dead_letter_topic, SERVICES),
    LEDGER_TOPIC,
    DLQ_AUDIT_TOPIC,
)
_ODD_TEXT: Final = (
    "\x1b]0;owned\x07", "\u202egnirts", "[/]", "[bold]", "\u2028", "\0", "4242 4242 4242 4242", "x" * 3000, "",
    "NaN", "'; DROP TABLE retries; --", "\U0001f4b6", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999Z",
    "\u0663", "-1", str(2**31), str(2**63), str(10**30), "true", "null", "../../etc/passwd", "{", "[" * 500,
)  # fmt: skip
_ODD_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    1e308,
    [],
    {},
    [[]],
    "x",
    {"a": [1, {"b": None}]},
)
_TIMES_MS: Final = (0, 0, 0, 0, 0, 1, 253_402_300_799_999)
_OUTCOMES: Final = ("open", "resolved", "discarded", "failed_again", "replaying", "nonsense", "")
_LETTER_NAMES: Final = (
    "dlq-id", "dlq-event-id", "dlq-service", "dlq-replay-id", "dlq-replay-count", "dlq-original-topic",
    "dlq-original-partition", "dlq-original-offset", "dlq-original-timestamp", "dlq-first-failed-at", "dlq-failed-at",
    "dlq-edit-of", "dlq-edit-root", "dlq-attempts", "dlq-disposition", "dlq-error-class", "dlq-error-message",
    "dlq-fingerprint", "dlq-value-bytes", "x-original-topic", "kafka_dlt-original-topic", "kafka_dlt-exception-fqcn",
    "__connect.errors.topic", "__connect.errors.offset", "__streams.errors.topic", "__dlq.errors.topic",
)  # fmt: skip


class Hostile(NamedTuple):
    """One message. kind: what is odd about its value, for people."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[RawHeader]
    timestamp_ms: int
    kind: str


def sample_of(event: type[Event], checkout_id: str) -> Event:
    """A sound event of a type, as far as its fields' types go."""
    hints = get_type_hints(event)
    values = {field.name: _sample(hints[field.name]) for field in fields(event)} | {"checkout_id": checkout_id}
    return event(**values)


def _sample(kind: Any) -> Any:
    if get_origin(kind) is tuple:
        line = get_args(kind)[0]
        return (line(**{name: _sample(each) for name, each in get_type_hints(line).items()}),)
    options = get_args(kind) or (kind,)
    return {str: "x", int: 1, bool: True, datetime: datetime.now(UTC), UUID: UUID(int=7)}[options[0]]


class Hostiles:
    """Makes them. encoded: event type -> how a sound value of it, for a checkout id, looks. prefix: of topics."""

    def __init__(self, seed: int, prefix: str, encoded: Mapping[str, Callable[[str], bytes]]) -> None:
        self._random = random.Random(seed)
        self._prefix, self._encoded = prefix, encoded
        self._said: list[tuple[bytes, bytes]] = []

    def next(self) -> Hostile:
        """One more."""
        pick = self._random
        topic = pick.choice(TOPICS)
        kind, key, value = self._content(topic)
        return Hostile(topic, key, value, self._headers(topic), pick.choice(_TIMES_MS), kind)

    def _content(self, topic: str) -> tuple[str, bytes | None, bytes | None]:
        pick = self._random
        if topic in (LEDGER_TOPIC, DLQ_AUDIT_TOPIC):
            return "record", self._key(), self._record()
        if topic in SHOPS and pick.random() < 0.3:
            return self._odd_request(topic)
        kind, make = pick.choice(self._kinds())
        return kind, self._key(), make(topic)

    def _kinds(self) -> list[tuple[str, Callable[[str], bytes | None]]]:
        return [
            ("tombstone", lambda _: None),
            ("empty", lambda _: b""),
            ("garbage", lambda _: self._random.randbytes(self._random.randrange(1, 200))),
            ("text", lambda _: self._random.choice(_ODD_TEXT).encode("utf-8", "surrogatepass")),
            ("json", lambda _: json.dumps(self._random.choice(_ODD_VALUES)).encode()),
            ("unknown schema", lambda _: b"\0" + self._random.randbytes(4) + self._random.randbytes(20)),
            ("low schema id", lambda _: b"\0" + self._random.randrange(80).to_bytes(4, "big") + b"\x02x" * 9),
            ("cut off", lambda topic: self._sound(topic)[: self._random.randrange(5, 60)]),
            ("more behind", lambda topic: self._sound(topic) + self._random.randbytes(9)),
            ("another event", lambda _: self._sound(self._random.choice(topics()))),
            ("bytes changed", self._changed),
            ("large", lambda _: self._random.randbytes(50) * self._random.choice((100, 1000, 30_000))),
        ]

    def _sound(self, topic: str) -> bytes:
        event = topic if topic in EVENTS else self._random.choice(topics())
        return self._encoded[event](f"fuzz-{self._random.randrange(10**9)}")

    def _changed(self, topic: str) -> bytes:
        value = bytearray(self._sound(topic))
        for _ in range(self._random.randrange(1, 6)):
            value[self._random.randrange(len(value))] = self._random.randrange(256)
        return bytes(value)

    def _odd_request(self, topic: str) -> tuple[str, bytes, bytes]:
        """A sound message of a shop, or one that was sent before."""
        if self._said and self._random.random() < 0.3:
            key, value = self._random.choice(self._said)
            return "said before", key, value
        name = f"fuzz-{self._random.randrange(10**9)}"
        key, value = name.encode(), self._encoded[topic](name)
        if topic == CheckoutRequested.TYPE and len(self._said) < 1000:
            self._said.append((key, value))
        return "odd request", key, value

    def _key(self) -> bytes | None:
        pick = self._random
        return pick.choice(
            (
                None,
                b"",
                pick.randbytes(8),
                b"k\0",
                b"4242424242424242",
                b"x" * 300,
                f"key-{pick.randrange(500)}".encode(),
            )
        )

    def _headers(self, topic: str) -> list[RawHeader]:
        pick = self._random
        if pick.random() < 0.3 and topic in EVENTS:
            return []
        found: list[RawHeader] = []
        for _ in range(pick.choice((0, 1, 2, 5, 30))):
            found.append((self._name(), self._text()))
        if topic not in EVENTS or pick.random() < 0.2:
            found += [(name.encode(), self._told(name)) for name in _LETTER_NAMES if pick.random() < 0.7]
        return found

    def _name(self) -> bytes:
        pick = self._random
        odd = (
            b"\xff\xfe",
            b"\xed\xa0\x80",
            b"outbox-headers",
            b"traceparent",
            b"baggage",
            b"dlq-id",
            b"a b",
            b"h" * 500,
        )
        return pick.choice(odd) if pick.random() < 0.7 else f"h{pick.randrange(9)}".encode()

    def _text(self) -> bytes | None:
        pick = self._random
        packed = (b"[" * 3000, b'[["\\ud800","x"]]', b'{"a": 1}', b'[["dlq-id","x"],["outbox-headers","[]"]]', None)
        if pick.random() < 0.4:
            return pick.choice(packed)
        return pick.choice(_ODD_TEXT).encode("utf-8", "surrogatepass")

    def _told(self, name: str) -> bytes:
        """Often what a letter would say there, so that the rest is looked at too."""
        pick = self._random
        now = datetime.now(UTC).isoformat()
        sound = {
            "dlq-service": pick.choice(SERVICES), "dlq-replay-id": "job", "dlq-replay-count": "1",
            "dlq-original-topic": self._prefix + pick.choice(topics()), "dlq-original-partition": "0",
            "dlq-original-offset": str(pick.randrange(1000)), "dlq-edit-of": "", "dlq-edit-root": "",
        }  # fmt: skip
        if name.endswith("-id") or name == "dlq-edit-root":
            sound.setdefault(name, str(UUID(int=pick.getrandbits(128))))
        if name.endswith(("-at", "-timestamp")):
            sound[name] = now
        if name in sound and pick.random() < 0.8:
            return sound[name].encode()
        return pick.choice(_ODD_TEXT).encode("utf-8", "surrogatepass")

    def _record(self) -> bytes | None:
        """Of the ledger or the audit."""
        pick = self._random
        names = (
            "service",
            "letter",
            "state",
            "at",
            "by",
            "why",
            "action",
            "replay_id",
            "replay_count",
            "detail",
            "letters",
        )
        odd: dict[str, Any] = {name: pick.choice((*_ODD_VALUES, *_ODD_TEXT, *_OUTCOMES)) for name in names}
        odd |= {"service": pick.choice(SERVICES), "state": pick.choice(_OUTCOMES)} if pick.random() < 0.6 else {}
        kept = {name: value for name, value in odd.items() if pick.random() < 0.8}
        return pick.choice((None, b"", b"[" * 5000, b"\xff", json.dumps(kept).encode(), json.dumps(kept).encode()))
