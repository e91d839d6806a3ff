"""What waits for its schema holds nothing up, is bounded, and counts as settled only when it is."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import UndecodableError
from services.observer.batches import Defect
from services.observer.pending import Aside, InOrder, Pending
from services.observer.reading import arrived, is_end, passed_on
from services.observer.timeline import Timeline, encoded
from tests.unit import making as m
from tests.unit.telling import CAPTURED, told

PARENT: Final = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def aside(offset: int, size: int = 1, place: str = "p") -> Aside:
    return Aside(place, offset, size, 0.0, object(), 1)


def test_what_has_waited_longest_is_given_up_when_there_are_too_many() -> None:
    pending = Pending(most=2, most_bytes=100)
    first, second, third = aside(1), aside(2), aside(3)
    assert [pending.put(each) for each in (first, second, third)] == [[], [], [first]]
    assert (first in pending, second in pending, len(pending)) == (False, True, 2)


def test_what_has_waited_longest_is_given_up_when_it_is_too_large() -> None:
    pending = Pending(most=10, most_bytes=100)
    first, second, third = aside(1, 60), aside(2, 40), aside(3, 50)
    assert [pending.put(each) for each in (first, second, third)] == [[], [], [first]]
    pending.remove(second)
    pending.remove(second)
    assert pending.put(aside(4, 50)) == []
    assert len(pending.put(aside(5, 101))) == 3


def test_nothing_waits_any_more_after_the_partitions_have_changed() -> None:
    pending = Pending(most_bytes=2)
    for each in (aside(7), aside(5, place="q")):
        pending.put(each)
    assert [each.offset for each in pending] == [7, 5]
    pending.clear()
    assert (list(pending), pending.put(aside(8, 2))) == ([], [])


@given(st.permutations(range(8)))
def test_records_are_acknowledged_in_their_order_whichever_is_settled_first(order: list[int]) -> None:
    in_order, done = InOrder(), list[int]()
    for offset in range(8):
        in_order.take("p", offset, offset)
    for count, offset in enumerate(order, start=1):
        done += in_order.settle("p", offset)
        settled = set(order[:count])
        assert done == list(range(next((each for each in range(8) if each not in settled), 8)))


def test_partitions_wait_apart_and_for_nothing_after_they_have_changed() -> None:
    in_order = InOrder()
    in_order.take("p", 1, "a")
    in_order.take("q", 1, "b")
    assert in_order.settle("q", 1) == ["b"]
    in_order.clear()
    assert in_order.settle("p", 1) == []


class Message:
    """As Faust hands it over."""

    topic, partition, offset, timestamp = "x.checkout.requested", 1, 2, 1.5
    key: bytes | None = b"c-1"
    value: bytes | None = b"v"

    def __init__(self, headers: Any = (), **more: Any) -> None:
        self.headers = headers
        vars(self).update(more)


def test_a_message_is_read_whatever_it_lacks() -> None:
    record = arrived(Message(None, key=None, value=None, timestamp=None), "x.", 0)
    assert (record.event, record.key, record.value, record.timestamp_us) == ("checkout.requested", b"", None, -1)
    assert (record.headers, record.defect) == ([], None)
    for odd in (-1e300, 1e300, 9.3e15, -1.0):
        assert -1 <= arrived(Message(timestamp=odd), "x.", 0).timestamp_us < 2**63


def test_what_can_not_be_read_says_why_and_the_end_of_a_batch_is_no_record() -> None:
    assert arrived(Message([(Defect("no"), None)]), "x.", 0).defect == "no"
    assert not is_end(Message([(Defect("no"), None)]))
    assert is_end(Message([(Defect(""), None)]))
    assert not is_end(Message([("", None)]))


def test_packed_headers_are_unpacked_where_a_connector_publishes_and_once() -> None:
    packed = b'[["traceparent", "%s"], ["outbox-headers", "[]"]]' % PARENT
    message = Message([("outbox-headers", packed)])
    assert dict(arrived(message, "x.", 0, unpack=True).headers)["traceparent"] == PARENT
    assert arrived(message, "x.", 0).headers == [("outbox-headers", packed)]
    deep = arrived(Message([("outbox-headers", b"[" * 5000)]), "x.", 0, unpack=True)
    assert "outbox-headers" in str(deep.defect)


@pytest.mark.parametrize("value", [None, b"", b"[" * 5000, b"\x00\x00\x00\x00\x01x", encoded(told(*CAPTURED))])
def test_only_one_event_of_one_checkout_is_passed_on(value: bytes | None) -> None:
    with pytest.raises(UndecodableError):
        passed_on(arrived(Message(value=value), "x.", 0))


def test_an_event_that_was_passed_on_is_the_one_that_was_read() -> None:
    said = told(*CAPTURED).said[3]
    value = encoded(Timeline(m.ID, (said,)))
    assert passed_on(arrived(Message(value=value), "x.", 0)) == (m.ID, said)
    with pytest.raises(UndecodableError):
        passed_on(arrived(Message(value=value, key=b"c-2"), "x.", 0))
