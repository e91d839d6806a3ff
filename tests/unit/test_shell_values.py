"""What the shell counts and keeps in memory: lanes, progress, headers, dead letters, traces."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from json import loads
from typing import Final
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dlq.letter import Disposition, Letter, record
from outbox.add import SHARDS, Record, dump_headers, load_headers, shard_of
from schemas.envelope import Envelope, Header, event_headers, rfc3339, trace_headers
from services.shell.delivery import Delivery, Origin, from_timer
from services.shell.draft import Draft, unseen
from services.shell.lanes import Lanes
from services.shell.progress import Partition, Progress
from services.warehouse.decisions import ReservationExpired

from . import making as a

KEYS: Final = "ab"
KEEP_MODEL_SMALL: Final = 40


def delivery(key: str, partition: int = 0, offset: int = 0, event_id: UUID | None = None) -> Delivery:
    origin = Origin("checkout.failed", partition, offset, a.AT, key.encode(), b"")
    return Delivery(key, a.FAILED, event_id or uuid4(), a.AT, [], origin)


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


LETTER: Final = Letter(
    event_id=UUID(int=7),
    lane="c-1",
    service="payment",
    group="payment",
    disposition=Disposition.FATAL,
    error_class="UndecidedError",
    message="void was answered with 🧾",
    topic="checkout.failed",
    partition=3,
    offset=2**40,
    timestamp=a.AT,
    failed_at=a.LATER,
    key=b"\xff\0",
    value=b"\0\xff",
    headers=[("ce_id", b"1"), ("same", b"1"), ("same", b"2"), ("none", None), ("binary", b"\xff")],
)
DLQ_HEADERS: Final = {
    "dlq-id": str(UUID(int=7)),
    "dlq-service": "payment",
    "dlq-consumer-group": "payment",
    "dlq-disposition": "fatal",
    "dlq-error-class": "UndecidedError",
    "dlq-error-message": "void was answered with 🧾",
    "dlq-failed-at": "2026-03-01T12:10:00.000000Z",
    "dlq-original-topic": "checkout.failed",
    "dlq-original-partition": "3",
    "dlq-original-offset": str(2**40),
    "dlq-original-timestamp": "2026-03-01T12:00:00.000000Z",
    "x-original-topic": "checkout.failed",
    "kafka_dlt-original-topic": "checkout.failed",
}


def ours(headers: Sequence[Header]) -> list[Header]:
    return [(name, value) for name, value in headers if name in DLQ_HEADERS]


def test_a_dead_letter_says_why_in_headers_that_are_all_there_once_and_text() -> None:
    assert ours(record(LETTER).headers) == [(name, value.encode()) for name, value in DLQ_HEADERS.items()]


def test_a_dead_letter_is_the_original_byte_for_byte() -> None:
    written = record(LETTER, "test.")
    assert (written.topic, written.key, written.kafka_key, written.payload) == (
        "test.payment.dlq",
        "c-1",
        b"\xff\0",
        b"\0\xff",
    )
    assert [header for header in written.headers if header[0] not in DLQ_HEADERS] == LETTER.headers


@pytest.mark.parametrize(
    ("key", "value"), [(None, None), (None, b""), (b"c-1", None)], ids=["nothing", "no key", "a tombstone"]
)
def test_a_dead_letter_of_nothing_is_nothing(key: bytes | None, value: bytes | None) -> None:
    written = record(replace(LETTER, key=key, value=value))
    assert (written.kafka_key, written.payload) == (key, value)


def test_what_dies_fifty_times_does_not_pile_up() -> None:
    letter = LETTER
    for death in range(50):
        written = record(replace(letter, message=f"death {death}"))
        letter = replace(letter, headers=list(written.headers), topic="payment.retry")
    assert len(letter.headers) == len(LETTER.headers) + len(DLQ_HEADERS)
    assert dict(letter.headers)["dlq-error-message"] == b"death 49"


@pytest.mark.parametrize(
    "message", ["x" * 10_000, "\ud800", "\0", "🧾" * 3000], ids=["long", "surrogate", "NUL", "wide"]
)
def test_whatever_an_error_says_fits_in_a_header(message: str) -> None:
    said = dict(record(replace(LETTER, message=message)).headers)["dlq-error-message"]
    assert said is not None
    assert len(said.decode()) <= 2000


GOOD: Final = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("incoming", "outgoing"),
    [
        ([("traceparent", GOOD)], [("traceparent", GOOD)]),
        (
            [("baggage", b"shop=1"), ("ce_id", b"1"), ("tracestate", b"x=1"), ("traceparent", GOOD)],
            [("traceparent", GOOD), ("tracestate", b"x=1"), ("baggage", b"shop=1")],
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
    assert unseen([one, two, copy, three], {one.event_id}) == ([two, three], [one, copy])
    assert unseen([], {one.event_id}) == ([], [])


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
    assert record(replace(LETTER, key=b"")).kafka_key == b""
