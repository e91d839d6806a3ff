"""What the shell counts and keeps in memory: lanes, progress, headers, dead letters, faults, replays, traces."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from json import loads
from typing import Final
from uuid import UUID, uuid4

import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dlq.faults import fault_of, fingerprint, refusal
from dlq.kept import HEAD_BYTES, LONGEST_VALUE, writable
from dlq.letter import (
    NO_REPLAY,
    STACK_BYTES,
    Disposition,
    Fault,
    Letter,
    Replay,
    headers_of,
    originals,
    record,
)
from dlq.letters import DeadLetter, letter_from
from dlq.policy import FaultClass
from dlq.retry import retry_record
from outbox.add import SHARDS, Record, dump_headers, load_headers, shard_of
from schemas.cards import masked_bytes
from schemas.codec import Codec, UndecodableError
from schemas.decision import UnsafeError
from schemas.envelope import Envelope, Header, event_headers, rfc3339, trace_headers
from schemas.kafka.record import KafkaRecord, record_of
from services.payment import steps
from services.payment.provider.protocol import Voided
from services.payment.state import Payment
from services.payment.state import Status as PaymentStatus
from services.shell.delivery import Delivery, from_timer
from services.shell.draft import Draft, unseen
from services.shell.lanes import Lanes
from services.shell.progress import Partition, Progress
from services.shell.queue import Queue
from services.shell.reading import from_waiting, read, read_replay
from services.shell.scribe import Scribe
from services.shell.waiting import COLUMNS, Status, Waiting, values_of
from services.warehouse.decisions import ReservationExpired

from . import making as a

KEYS: Final = "ab"
KEEP_MODEL_SMALL: Final = 40


def delivery(key: str, partition: int = 0, offset: int = 0, event_id: UUID | None = None) -> Delivery:
    identity = event_id or uuid4()
    origin = origin_of(key, partition, offset)
    return Delivery(key, a.FAILED, identity, a.AT, origin, (origin.topic, partition, offset), letter_id=str(identity))


def origin_of(key: str, partition: int = 0, offset: int = 0) -> KafkaRecord:
    return KafkaRecord(
        topic="checkout.failed",
        partition=partition,
        offset=offset,
        timestamp=a.AT,
        key=key.encode(),
        value=b"",
        headers=[],
    )


class LanesModel(RuleBasedStateMachine):
    """Lanes beside a dict of lists: each key's deliveries come in order, and none while its call is out."""

    limits = st.integers(1, 3)

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes()
        self.waiting: dict[str, list[Delivery]] = defaultdict(list)
        self.out: dict[str, Delivery] = {}

    @rule(places=st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 1)), max_size=4))
    @precondition(lambda self: len(self.lanes) < KEEP_MODEL_SMALL)
    def add(self, places: list[tuple[str, int]]) -> None:
        new = [delivery(key, partition) for key, partition in places]
        self.lanes.add(new)
        for one in new:
            self.waiting[one.key].append(one)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """A batch: some keys ask the provider at some delivery, what is behind it is postponed."""
        limit = data.draw(self.limits)
        batch = self._take(limit)
        for key in dict.fromkeys(one.key for one in batch):
            lane = [one for one in batch if one.key == key]
            asks = data.draw(st.integers(0, len(lane)), label=f"of {key} settled at once")
            if asks < len(lane):
                self.out[key] = lane[asks]
                self.lanes.hold(lane[asks])
                self.lanes.postpone(lane[asks + 1 :])
                self.waiting[key] = lane[asks + 1 :]

    @rule(data=st.data())
    def fail_to_settle(self, data: st.DataObject) -> None:
        """The database is away: the batch goes back whole, before whatever came meanwhile."""
        batch = self._take(data.draw(self.limits))
        late = [delivery(one.key) for one in batch[:1]]
        self.lanes.add(late)
        self.lanes.put_back(batch)
        for one in [*batch, *late]:
            self.waiting[one.key].append(one)

    @rule(data=st.data())
    @precondition(lambda self: self.out)
    def answer(self, data: st.DataObject) -> None:
        one = self.out.pop(data.draw(st.sampled_from(sorted(self.out))))
        self.lanes.release(one)
        self.waiting[one.key].insert(0, one)

    @rule()
    def answer_what_is_not_out(self) -> None:
        self.lanes.release(delivery("z"))

    @invariant()
    def every_delivery_is_counted(self) -> None:
        assert len(self.lanes) == len(self.out) + sum(map(len, self.waiting.values()))

    def teardown(self) -> None:
        for one in list(self.out.values()):
            self.lanes.release(one)
            self.waiting[one.key].insert(0, one)
        self.out.clear()
        self._take(10_000)
        assert not any(self.waiting.values())
        assert len(self.lanes) == 0

    def _take(self, limit: int) -> list[Delivery]:
        batch = self.lanes.take(limit)
        for key in {one.key for one in batch}:
            assert key not in self.out, f"{key} is taken while its call is out"
            assert [one for one in batch if one.key == key] == self.waiting[key], f"{key} is out of order"
            self.waiting[key] = []
        free = any(lane for key, lane in self.waiting.items() if key not in self.out)
        assert not free or len(batch) >= limit, "a free lane was left although there was room"
        return batch


class LanesGivenAway(LanesModel):
    """The same while partitions go to somebody else."""

    @rule(partition=st.integers(0, 1))
    def give_back(self, partition: int) -> None:
        def belongs(one: Delivery) -> bool:
            return one.origin is not None and one.origin.partition == partition

        self.lanes.give_back(belongs)
        for key, lane in self.waiting.items():
            self.waiting[key] = [one for one in lane if not belongs(one)]


TestLanes = LanesModel.TestCase
TestLanesGivenAway = LanesGivenAway.TestCase
TestLanes.settings = TestLanesGivenAway.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


class ProgressModel(RuleBasedStateMachine):
    """Progress beside two sets: what may be committed is never beyond the lowest unfinished offset."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress()
        self.open: dict[Partition, set[int]] = defaultdict(set)
        self.next: dict[Partition, int] = defaultdict(int)
        self.committed: dict[Partition, int] = defaultdict(int)

    @rule(partition=st.integers(0, 1), gap=st.integers(0, 2))
    def take(self, partition: int, gap: int) -> None:
        place = ("checkout.failed", partition)
        offset = self.next[place] + gap  # compaction and transactions leave gaps
        self.progress.take(place, offset)
        self.open[place].add(offset)
        self.next[place] = offset + 1

    @rule(data=st.data())
    @precondition(lambda self: any(self.open.values()))
    def finish(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(place for place, offsets in self.open.items() if offsets)))
        offset = data.draw(st.sampled_from(sorted(self.open[place])))
        self.progress.finish(place, offset)
        self.open[place].discard(offset)

    @rule(offset=st.integers(0, 5))
    def finish_what_is_somebody_elses(self, offset: int) -> None:
        self.progress.finish(("payment.voided", 0), offset)

    @rule(partition=st.integers(0, 1))
    def forget(self, partition: int) -> None:
        place = ("checkout.failed", partition)
        left = self.progress.forget({place})
        self._check(left)
        assert set(left) <= {place}
        self.next[place] = self.committed[place]  # whoever has it now starts there, and so do we when it returns
        self.open[place].clear()

    @rule()
    def ask(self) -> None:
        moved = self.progress.moved()
        self._check(moved)
        assert self.progress.moved() == {}
        for place, offsets in self.open.items():
            if not offsets:
                assert self.committed[place] == self.next[place], "all is finished, and not all may be committed"

    def _check(self, moved: dict[Partition, int]) -> None:
        for place, offset in moved.items():
            assert offset <= min(self.open[place], default=self.next[place])
            assert offset > self.committed[place]
            self.committed[place] = offset


TestProgress = ProgressModel.TestCase


VALUES: Final = {
    "text": b"00-abc",
    "empty": b"",
    "none": None,
    "NUL": b"a\0b",
    "only NUL": b"\0",
    "not UTF-8": b"\xff\xfe",
    "a surrogate": b"\xed\xa0\x80",
    "an emoji": "🧾".encode(),
    "what looks like our own": b'{"base64": "AA=="}',
    "quotes and ends of lines": b'"\\\r\n\t',
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_header_comes_back_byte_for_byte(value: bytes | None) -> None:
    stored = dump_headers([("a", value), ("a", value), ("", value)])
    assert "\\u0000" not in stored, "jsonb has no NUL"
    assert load_headers(loads(stored)) == [("a", value), ("a", value), ("", value)]


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.binary())))
def test_any_headers_come_back(headers: list[Header]) -> None:
    assert load_headers(loads(dump_headers(headers))) == headers


@pytest.mark.parametrize(("key", "shard"), [("123456789", 0xCBF43926 % 16), ("", 0), ("c-1", 14), ("Zürich", 14)])
def test_the_shard_of_a_key_never_changes(key: str, shard: int) -> None:
    """CRC-32 modulo 16 (check value: the CRC catalogue's): another would let two relays hold one key."""
    assert shard_of(key) == shard


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_key_has_a_shard(key: str) -> None:
    assert 0 <= shard_of(key) < SHARDS


def test_keys_spread_evenly() -> None:
    counts = [0] * SHARDS
    for number in range(16_000):
        counts[shard_of(f"c-{number}")] += 1
    assert min(counts) > 900
    assert max(counts) < 1100


@pytest.mark.parametrize(
    ("given_key", "kafka_key"), [({}, b"c-1"), ({"raw_key": b"\xff"}, b"\xff"), ({"raw_key": None}, None)]
)
def test_the_kafka_key_is_the_ordering_key_unless_said_otherwise(
    given_key: dict[str, bytes | None], kafka_key: bytes | None
) -> None:
    assert Record("t", "c-1", b"", **given_key).kafka_key == kafka_key  # type: ignore[arg-type]


EDITED: Final = str(UUID(int=0xA3))

LETTER: Final = Letter(
    id=str(UUID(int=8)),
    event_id=UUID(int=7),
    lane="c-1",
    service="payment",
    group="payment",
    handler="services.payment.decisions.on_checkout_failed",
    handler_version="0.1.0",
    disposition=Disposition.RETRIES_EXHAUSTED,
    fault=Fault("ProviderTimeout", "void was answered with 🧾", "Traceback 🧾", "0123456789ab"),
    attempts=20,
    timeouts=3,
    first_failed_at=a.AT,
    failed_at=a.LATER,
    origin=KafkaRecord(
        topic="checkout.failed",
        partition=3,
        offset=2**40,
        timestamp=a.AT,
        key=b"\xff\0",
        value=b"\0\xff",
        headers=[("ce_id", b"1"), ("same", b"1"), ("same", b"2"), ("none", None), ("binary", b"\xff\xfe"), ("", b"")],
    ),
    operation="void",
    replay=Replay("job-9", 2, EDITED, EDITED),
)
DLQ_HEADERS: Final = {
    "dlq-id": str(UUID(int=8)),
    "dlq-event-id": str(UUID(int=7)),
    "dlq-service": "payment",
    "dlq-consumer-group": "payment",
    "dlq-handler": "services.payment.decisions.on_checkout_failed",
    "dlq-handler-version": "0.1.0",
    "dlq-disposition": "retries_exhausted",
    "dlq-error-class": "ProviderTimeout",
    "dlq-error-message": "void was answered with 🧾",
    "dlq-error-stack": "Traceback 🧾",
    "dlq-fingerprint": "0123456789ab",
    "dlq-attempts": "20",
    "dlq-timeouts": "3",
    "dlq-first-failed-at": "2026-03-01T12:00:00.000000Z",
    "dlq-failed-at": "2026-03-01T12:10:00.000000Z",
    "dlq-operation": "void",
    "dlq-compensation": "none",
    "dlq-schema-id": "",
    "dlq-original-topic": "checkout.failed",
    "dlq-original-partition": "3",
    "dlq-original-offset": str(2**40),
    "dlq-original-timestamp": "2026-03-01T12:00:00.000000Z",
    "dlq-replay-count": "2",
    "dlq-replay-id": "job-9",
    "dlq-edit-of": EDITED,
    "dlq-edit-root": EDITED,
    "dlq-value-bytes": "2",
    "dlq-value-sha256": sha256(b"\0\xff").hexdigest(),
    "dlq-value-cut": "",
    "x-original-topic": "checkout.failed",
    "kafka_dlt-original-topic": "checkout.failed",
}


def ours(headers: Sequence[Header]) -> list[Header]:
    return [(name, value) for name, value in headers if name in DLQ_HEADERS]


def changed(**origin: bytes | None) -> Letter:
    """The letter of another message."""
    return replace(LETTER, origin=replace(LETTER.origin, **origin))  # type: ignore[arg-type]


def test_a_dead_letter_says_why_in_headers_that_are_all_there_once_and_text() -> None:
    assert ours(record(LETTER).headers) == [(name, value.encode()) for name, value in DLQ_HEADERS.items()]


def test_a_letter_that_nothing_is_known_of_has_every_header_too() -> None:
    bare = replace(LETTER, fault=Fault("", ""), operation="", replay=NO_REPLAY, attempts=0, timeouts=0)
    assert list(headers_of(bare)) == list(DLQ_HEADERS)


@pytest.mark.parametrize(
    ("value", "schema_id"),
    [(b"\0\0\0\1\0body", "256"), (b"\0\0\0\0", ""), (b"\1\0\0\0\1", ""), (b"", ""), (None, "")],
    ids=["ours", "too short", "another format", "empty", "a tombstone"],
)
def test_a_letter_names_the_schema_that_its_value_was_written_with(value: bytes | None, schema_id: str) -> None:
    assert headers_of(changed(value=value))["dlq-schema-id"] == schema_id


def test_a_dead_letter_is_the_original_byte_for_byte() -> None:
    written = record(LETTER, "test.")
    assert (written.topic, written.key, written.kafka_key, written.payload) == (
        "test.payment.dlq",
        "c-1",
        b"\xff\0",
        b"\0\xff",
    )
    assert [header for header in written.headers if header[0] not in DLQ_HEADERS] == LETTER.origin.headers


@pytest.mark.parametrize(
    ("key", "value"), [(None, None), (None, b""), (b"c-1", None)], ids=["nothing", "no key", "a tombstone"]
)
def test_a_dead_letter_of_nothing_is_nothing(key: bytes | None, value: bytes | None) -> None:
    written = record(changed(key=key, value=value))
    assert (written.kafka_key, written.payload) == (key, value)


@pytest.mark.parametrize(
    "message", ["x" * 10_000, "\ud800", "\0", "🧾" * 3000], ids=["long", "surrogate", "NUL", "wide"]
)
def test_whatever_an_error_says_fits_in_a_header(message: str) -> None:
    headers = dict(record(replace(LETTER, fault=Fault("E", message, message))).headers)
    said, stack = headers["dlq-error-message"], headers["dlq-error-stack"]
    assert said is not None
    assert stack is not None
    assert len(said.decode()) <= 2000
    assert len(stack) <= STACK_BYTES
    assert stack.decode() in message or message == "\ud800"


# --- there and back again ---------------------------------------------------------------------------------------------

SCRIBE: Final = Scribe(Codec("http://127.0.0.1:9"), "payment", "payment", "test.")
"""Nobody listens there: what these messages hold is decoded nowhere."""


def lies(
    topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, str | bytes | None]], offset: int
) -> Message:
    """A message as the client hands it out."""
    timestamp = (1, int(a.LATER.timestamp() * 1000))
    return Message(
        topic=topic, partition=1, offset=offset, key=key, value=value, headers=list(headers), timestamp=timestamp
    )


def taken(
    topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, str | bytes | None]], offset: int
) -> KafkaRecord:
    """The same as a service takes it."""
    return record_of(lies(topic, key, value, headers, offset))


def put(letter: Record, offset: int) -> DeadLetter:
    """Through the outbox, whose headers are JSON, to the dead-letter topic."""
    headers = load_headers(loads(dump_headers(letter.headers)))
    return letter_from(lies(letter.topic, letter.kafka_key, letter.payload, headers, offset), "test.")


def dies_again(letter: DeadLetter, job: str, offset: int) -> Record:
    """Replayed by a job, taken by the service, failed once more."""
    sent = retry_record(letter, job)
    delivery = read_replay(
        taken(f"test.{sent.topic}", sent.key, sent.value, sent.headers, offset), SCRIBE.codec, "test."
    )
    row = replace(Queue([], UUID(int=0)).row_of(delivery), fault=Fault("Bug", f"death {job}"), last_failed_at=a.LATER)
    return SCRIBE.letter(row, Disposition.UNDECODABLE, "handler", a.LATER)


def test_a_message_that_has_our_headers_already_gets_them_once() -> None:
    died_before = replace(LETTER.origin, headers=[*LETTER.origin.headers, *record(LETTER).headers])
    again = record(replace(LETTER, origin=died_before, attempts=7)).headers
    assert [name for name, _ in again if name in DLQ_HEADERS] == list(DLQ_HEADERS)
    assert dict(again)["dlq-attempts"] == b"7"


def test_a_replay_brings_the_message_and_what_the_service_has_to_know_and_no_more() -> None:
    sent = retry_record(put(record(LETTER), offset=1), "job-1")
    brought = [name for name, _ in sent.headers]
    assert brought[: len(LETTER.origin.headers)] == [name for name, _ in LETTER.origin.headers]
    told = brought[len(LETTER.origin.headers) :]
    assert len(told) == len(set(told))
    assert set(told) == {
        *("dlq-id", "dlq-event-id", "dlq-service", "dlq-first-failed-at", "dlq-replay-id", "dlq-replay-count"),
        *("dlq-original-topic", "dlq-original-partition", "dlq-original-offset", "dlq-original-timestamp"),
        *("dlq-edit-of", "dlq-edit-root"),
    }


ORIGINS: Final = {
    "bytes that are no text": LETTER.origin,
    "nothing at all": replace(LETTER.origin, key=None, value=None, headers=[]),
    "empty": replace(LETTER.origin, key=b"", value=b"", headers=[("", None)]),
    "headers that look like ours": replace(LETTER.origin, headers=[("DLQ-ID", b"x"), ("x-original-topics", b"y")]),
}


@pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS)
def test_what_is_replayed_and_dies_fifty_times_stays_what_it_was(origin: KafkaRecord) -> None:
    written = record(replace(LETTER, origin=replace(origin, topic="test.checkout.failed")), "test.")
    for hop in range(1, 51):
        letter = put(written, offset=hop)
        assert (letter.id, letter.key, letter.value) == (LETTER.id, origin.key, origin.value)
        assert [header for header in letter.headers if header[0] not in DLQ_HEADERS] == origin.headers
        assert [name for name, _ in letter.headers] == [*(name for name, _ in origin.headers), *DLQ_HEADERS]
        info = letter.info
        assert (info["dlq-original-topic"], info["dlq-original-offset"]) == ("test.checkout.failed", str(2**40))
        assert (info["dlq-event-id"], info["dlq-edit-of"]) == (str(UUID(int=7)), EDITED)
        assert info["dlq-first-failed-at"] == DLQ_HEADERS["dlq-first-failed-at"]
        assert letter.replay_count == hop + 1
        written = dies_again(letter, f"job-{hop}", offset=1000 + hop)
    assert dict(written.headers)["dlq-error-message"] == b"death job-50"


def test_each_replay_is_a_message_of_its_own_for_the_inbox() -> None:
    letter = put(record(LETTER), offset=1)

    def replayed(job: str) -> Delivery:
        sent = retry_record(letter, job)
        return read_replay(taken("test.payment.retry", sent.key, sent.value, sent.headers, 5), SCRIBE.codec, "test.")

    first, again, second = replayed("job-1"), replayed("job-1"), replayed("job-2")
    assert first.seen == again.seen != second.seen
    assert first.seen.event_id != LETTER.event_id
    assert (first.event_id, first.letter_id) == (LETTER.event_id, LETTER.id)
    assert (first.place, first.first_failed_at) == (("test.payment.retry", 1, 5), a.AT)
    assert first.replay == Replay("job-1", 3, EDITED, EDITED)


@pytest.mark.parametrize(
    "gone", ["dlq-id", "dlq-replay-id", "dlq-replay-count", "dlq-original-offset", "dlq-first-failed-at"]
)
def test_a_message_of_a_retry_topic_that_is_no_replay_is_unreadable_and_says_what_is_missing(gone: str) -> None:
    sent = retry_record(put(record(LETTER), offset=1), "job-1")
    headers = [header for header in sent.headers if header[0] != gone]
    delivery = read_replay(taken("test.payment.retry", sent.key, sent.value, headers, 5), SCRIBE.codec, "test.")
    assert isinstance(delivery.defect, UndecodableError)
    assert gone in str(delivery.defect)
    assert delivery.replay == NO_REPLAY


def test_what_can_not_be_read_has_an_identity_and_a_lane_of_its_own() -> None:
    def unreadable(offset: int) -> Delivery:
        return read(taken("test.checkout.failed", b"c-1", b"\xff", [], offset), SCRIBE.codec, "test.")

    one, again, other = unreadable(1), unreadable(1), unreadable(2)
    assert one.seen == again.seen != other.seen
    assert one.key == one.letter_id == str(one.event_id) != other.key
    assert (one.event, one.event_type) == (None, "test.checkout.failed")


def test_what_waits_comes_back_as_it_was_under_its_lane() -> None:
    row = Waiting(
        letter_id=LETTER.id,
        event_id=LETTER.event_id,
        lane="c-1",
        event_type="checkout.failed",
        origin=LETTER.origin,
        replay=LETTER.replay,
        attempts=4,
    )
    delivery = from_waiting(row, SCRIBE.codec, "test.")
    assert (delivery.key, delivery.letter_id, delivery.event_id) == ("c-1", LETTER.id, LETTER.event_id)
    assert (delivery.origin, delivery.replay, delivery.waiting) == (LETTER.origin, LETTER.replay, row)
    assert delivery.place is None, "there is no offset to commit"


@pytest.mark.parametrize("status", list(Status))
def test_the_bytes_of_what_is_dead_are_not_kept_twice(status: Status) -> None:
    row = Waiting(
        letter_id=LETTER.id,
        event_id=LETTER.event_id,
        lane="c-1",
        event_type="checkout.failed",
        origin=LETTER.origin,
        status=status,
    )
    kept = dict(zip(COLUMNS, values_of(row), strict=True))
    assert (kept["value"] is None) is (status in (Status.DEAD, Status.RESOLVED))
    assert (kept["headers"] == "[]") is (status in (Status.DEAD, Status.RESOLVED))
    assert kept["key"] == LETTER.origin.key


# --- what went wrong --------------------------------------------------------------------------------------------------


def caught(breaks: Callable[[], object]) -> Exception:
    with pytest.raises((UnsafeError, ValueError)) as found:
        breaks()
    return found.value


def unsafe(checkout_id: str, undo: Callable[[Payment], object]) -> Exception:
    """A step of payment that was told nonsense."""
    return caught(lambda: undo(Payment(checkout_id=checkout_id, status=PaymentStatus.CAPTURED, payment_id="p")))


def refund(known: Payment) -> object:
    return steps.refund(known, Voided())


def capture(known: Payment) -> object:
    return steps.capture(known, Voided())


def print_of(error: Exception, event_type: str = "checkout.failed", handler: str = "on_checkout_failed") -> str:
    return fault_of(error, event_type, handler).fingerprint


def test_faults_of_the_same_cause_have_the_same_fingerprint() -> None:
    one, other = unsafe("c-1", refund), unsafe("c-2", refund)
    assert isinstance(one, UnsafeError)
    assert print_of(one) == print_of(other)
    assert print_of(one, handler="another") == print_of(one), "the frame tells, where there is one of ours"
    assert re.fullmatch("[0-9a-f]{12}", print_of(one))


def test_faults_of_other_causes_have_other_fingerprints() -> None:
    foreign = caught(lambda: int("x"))
    prints = [
        print_of(unsafe("c-1", refund)),
        print_of(unsafe("c-1", capture)),
        print_of(unsafe("c-1", refund), "warehouse.confirmed"),
        print_of(foreign),
        print_of(foreign, handler="on_warehouse_confirmed"),
        print_of(caught(lambda: loads("{"))),
        refusal("Refused", "why", "checkout.failed", "on_checkout_failed").fingerprint,
        refusal("TooEarly", "why", "checkout.failed", "on_checkout_failed").fingerprint,
    ]
    assert len(set(prints)) == len(prints)


def test_a_fingerprint_does_not_depend_on_the_words_or_the_line() -> None:
    assert refusal("Refused", "one", "e", "h").fingerprint == refusal("Refused", "other", "e", "h").fingerprint
    assert fingerprint("ValueError", "services.payment.steps.refund", "checkout.failed") == "3f7b799265df"


def test_a_stack_names_the_frames_and_none_of_their_values() -> None:
    def breaks() -> None:
        card = "4242" * 4
        raise ValueError(f"{len(card)} digits")

    stack = fault_of(caught(breaks), "e", "h").stack
    assert "in breaks" in stack
    assert "16 digits" in stack
    assert "4242424242424242" not in stack


def test_a_stack_is_never_longer_than_eight_kibibytes_and_ends_where_it_broke() -> None:
    def breaks(depth: int) -> None:
        if depth == 0:
            raise ValueError("🧾" * 100)
        (breaks, breaks_too)[depth % 2](depth - 1)  # Python folds a line that calls itself

    def breaks_too(depth: int) -> None:
        breaks(depth)

    stack = fault_of(caught(lambda: breaks(120)), "e", "h").stack
    assert STACK_BYTES - 4 < len(stack.encode()) <= STACK_BYTES
    assert stack.rstrip().endswith("🧾")
    long = fault_of(ValueError("🧾" * 10_000), "e", "h").stack
    assert len(long.encode()) <= STACK_BYTES


def test_every_class_of_fault_has_a_word_of_its_own() -> None:
    assert len({kind.value for kind in FaultClass}) == len(FaultClass)


GOOD: Final = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("incoming", "outgoing"),
    [
        ([("traceparent", GOOD)], [("traceparent", GOOD)]),
        (
            [("baggage", b"shop=1"), ("ce_id", b"1"), ("tracestate", b"x=1"), ("traceparent", GOOD)],
            [("traceparent", GOOD), ("tracestate", b"x=1")],
        ),
        ([("traceparent", GOOD), ("tracestate", None)], [("traceparent", GOOD)]),
        ([("traceparent", b"bad"), ("traceparent", GOOD)], [("traceparent", GOOD)]),
    ],
    ids=["parent", "all three, in one order", "an empty one is left out", "the last of two"],
)
def test_a_trace_is_handed_on(incoming: list[Header], outgoing: list[Header]) -> None:
    assert trace_headers(incoming) == outgoing


@pytest.mark.parametrize(
    "parent", [None, b"", b"\xff", b"00-XYZ", GOOD.upper(), GOOD + b"\n", GOOD + b"-01", b"ff" + GOOD[2:]]
)
def test_a_broken_trace_begins_anew_without_the_old_state(parent: bytes | None) -> None:
    first, again = (trace_headers([("traceparent", parent), ("tracestate", b"x=1")]) for _ in range(2))
    ((name, value),) = first
    assert name == "traceparent"
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-00", value or b"")
    assert first != again


def test_the_headers_of_an_event_are_text_and_stand_once() -> None:
    envelope = Envelope(a.FAILED, UUID(int=1), a.AT)
    headers = event_headers(envelope, "checkout", UUID(int=2), trace_headers([("traceparent", GOOD)]))
    assert {name: (value or b"").decode() for name, value in headers} == {
        "ce_specversion": "1.0",
        "ce_id": str(UUID(int=1)),
        "ce_type": "checkout.failed",
        "ce_source": "/checkout",
        "ce_time": rfc3339(a.AT),
        "ce_subject": a.ID,
        "causation_id": str(UUID(int=2)),
        "traceparent": GOOD.decode(),
    }
    assert len(headers) == 8


def test_what_was_handled_or_stands_twice_in_a_batch_is_a_duplicate() -> None:
    one, two, three = (delivery("c-1") for _ in range(3))
    copy = delivery("c-1", event_id=two.event_id)
    assert unseen([one, two, copy, three], {one.event_id: 0}) == ([two, three], [one, copy])
    assert unseen([], {one.event_id: 0}) == ([], [])
    assert unseen([one], {one.event_id: None}) == ([], [one])


def test_another_message_under_one_identity_is_no_duplicate_but_one_that_is_refused() -> None:
    one = delivery("c-1")
    other = delivery("c-1", offset=77, event_id=one.event_id)
    other.content = 5
    fresh, duplicates = unseen([one, other], {})
    assert duplicates == []
    assert fresh[0] is one
    assert (fresh[1].event, fresh[1].place) == (None, fresh[1].origin.place if fresh[1].origin else None)
    assert "conflicting duplicate" in str(fresh[1].defect)
    again, copies = unseen([one, other], {one.event_id: 0, fresh[1].seen.event_id: 0})
    assert (again, copies[0]) == ([], one)
    assert copies[1].seen == fresh[1].seen


def test_what_comes_from_the_retry_table_is_no_duplicate_although_the_inbox_knows_it() -> None:
    one = delivery("c-1")
    one.waiting = Queue([], UUID(int=0)).row_of(one)
    assert unseen([one], {one.event_id: 0}) == ([one], [])


def test_only_what_came_from_kafka_goes_into_the_inbox() -> None:
    heard, told = delivery("c-1"), from_timer(ReservationExpired(checkout_id="c-1"), a.AT)
    assert Draft(done=[told, heard]).inbox_ids() == [heard]


def test_a_key_given_away_and_back_still_waits_for_its_call() -> None:
    lanes = Lanes()
    lanes.add([delivery("a")])
    lanes.give_back(lambda _: True)
    first, second = delivery("a"), delivery("a")
    lanes.add([first])
    assert lanes.take(1) == [first]
    lanes.hold(first)
    lanes.add([second])
    assert lanes.take(1) == []


def test_an_empty_key_is_kept() -> None:
    assert record(changed(key=b"")).kafka_key == b""


def test_of_baggage_only_what_a_setting_names_is_handed_on() -> None:
    incoming: list[Header] = [("traceparent", GOOD), ("baggage", b"shop=1, card=4242424242424242,tenant = a;p=1")]
    assert trace_headers(incoming, None, frozenset({"tenant", "card"}))[1:] == [("baggage", b"tenant = a;p=1")]


def test_a_letter_of_what_is_too_large_keeps_head_length_digest_and_place() -> None:
    value = b"x" * (LONGEST_VALUE + 1)
    origin, cut = writable(replace(LETTER.origin, value=value), masked_bytes)
    assert (origin.value, origin.place) == (value[:HEAD_BYTES], LETTER.origin.place)
    said = headers_of(replace(LETTER, origin=origin, cut=cut))
    assert (said["dlq-value-bytes"], said["dlq-value-sha256"]) == (str(len(value)), sha256(value).hexdigest())
    assert "the first 65,536 of 1,048,577 bytes" in said["dlq-value-cut"]
    assert writable(LETTER.origin, masked_bytes) == (LETTER.origin, None)


@pytest.mark.parametrize("shown", range(1, 16))
def test_a_card_number_at_the_cut_is_masked_too(shown: int) -> None:
    value = b"x" * (HEAD_BYTES - shown) + b"4242424242424242" + b"x" * LONGEST_VALUE
    origin, cut = writable(replace(LETTER.origin, value=value), masked_bytes)
    assert cut is not None
    assert (len(origin.value or b""), cut.digest) == (HEAD_BYTES, sha256(value).hexdigest())
    assert (origin.value or b"")[-shown:] == b"************4242"[:shown]


def test_a_message_can_not_bring_headers_that_mean_something_to_our_readers() -> None:
    smuggled: list[Header] = [("outbox-headers", b"[]"), ("dlq-id", b"x"), ("a", b"1")]
    assert originals(smuggled) == [("foreign-outbox-headers", b"[]"), ("a", b"1")]


def test_card_numbers_are_masked_in_letters_and_the_letter_says_so() -> None:
    card = b"4242 4242 4242 4242"
    letter = replace(LETTER.origin, key=card, value=b"\x26" + card, headers=[("note", card)])
    found, _ = writable(letter, masked_bytes)
    assert b"4242 4242 4242" not in b"".join(
        [found.key or b"", found.value or b"", *(v or b"" for _, v in found.headers)]
    )
    assert found.headers[-1] == ("dlq-masked", b"card numbers")
    assert len(found.value or b"") == 20
    assert writable(LETTER.origin, masked_bytes)[0] is LETTER.origin
