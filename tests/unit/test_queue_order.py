"""Who waits behind whom: the rows of a batch's lanes, in memory."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlq.letter import NO_REPLAY, Replay
from schemas.kafka.record import KafkaRecord
from services.shell.delivery import Delivery, from_timer
from services.shell.queue import Queue
from services.shell.waiting import NEW, Status, Waiting
from services.warehouse.decisions import ReservationExpired

from . import making as a

ME: Final = UUID(int=1)
SOMEBODY: Final = UUID(int=2)
LANE: Final = a.ID
REPLAYED: Final = Replay("job-1", 1, "")


def origin(offset: int) -> KafkaRecord:
    return KafkaRecord(
        topic="checkout.failed", partition=0, offset=offset, timestamp=a.AT, key=b"c-1", value=b"v", headers=[]
    )


def row(seq: int, **changes: Any) -> Waiting:
    """The row of message number `seq`; it waits for its time unless said otherwise."""
    made = Waiting(
        letter_id=str(UUID(int=seq)),
        event_id=UUID(int=seq),
        lane=LANE,
        event_type="checkout.failed",
        origin=origin(seq),
        seq=seq,
        next_attempt_at=a.LATER,
        claimed_by=ME,
    )
    return replace(made, **changes)


def heard(number: int, lane: str = LANE, replay: Replay = NO_REPLAY) -> Delivery:
    """Message `number`, taken from Kafka."""
    return Delivery(
        lane,
        a.FAILED,
        UUID(int=number),
        a.AT,
        origin(number),
        ("checkout.failed", 0, number),
        letter_id=str(UUID(int=number)),
        replay=replay,
    )


def taken(waiting: Waiting) -> Delivery:
    """The same from the retry table."""
    return replace_place(heard(waiting.seq, waiting.lane, waiting.replay), waiting)


def replace_place(delivery: Delivery, waiting: Waiting) -> Delivery:
    delivery.place, delivery.waiting, delivery.letter_id = None, waiting, waiting.letter_id
    return delivery


def queue(*rows: Waiting) -> Queue:
    return Queue(rows, ME)


def times(of: Queue, *rows: int) -> list[datetime | None]:
    """When each of these is tried next; None: it waits behind another one."""
    found = [of.find(str(UUID(int=number))) for number in rows]
    return [one.next_attempt_at if one else None for one in found]


def test_nothing_waits_behind_nothing() -> None:
    assert not queue().is_behind(heard(1))
    assert not queue(row(1, lane="c-2")).is_behind(heard(2))


def test_a_later_message_waits_behind_what_waits() -> None:
    assert queue(row(1)).is_behind(heard(2))


@pytest.mark.parametrize(
    "changes",
    [
        {"status": Status.DEAD},
        {"status": Status.RESOLVED},
        {"status": Status.COMPENSATING},
        {"early": True},
    ],
    ids=["dead", "resolved", "given up, its letter follows", "came too early"],
)
def test_nobody_waits_behind_what_is_over_or_waits_for_somebody_itself(changes: dict[str, Any]) -> None:
    assert not queue(row(1, **changes)).is_behind(heard(2))
    assert not queue(row(1, **changes), row(2)).is_behind(taken(row(2)))


def test_the_first_of_a_lane_is_tried_and_the_others_wait() -> None:
    first, second, third = row(1), row(2, next_attempt_at=None), row(3, next_attempt_at=None)
    lane = queue(first, second, third)
    assert [lane.is_behind(taken(one)) for one in (first, second, third)] == [False, True, True]


def test_once_the_first_is_handled_the_second_is_next() -> None:
    first, second, third = row(1), row(2, next_attempt_at=None), row(3, next_attempt_at=None)
    lane = queue(first, second, third)
    lane.resolve(taken(first))
    assert [lane.is_behind(taken(one)) for one in (second, third)] == [False, True]


def test_what_came_too_early_waits_behind_nobody() -> None:
    early = row(2, early=True)
    assert not queue(row(1), early).is_behind(taken(early))


def test_messages_park_in_the_order_in_which_they_came() -> None:
    lane = queue(row(1))
    for number in (5, 3, 4):
        assert lane.is_behind(heard(number))
        lane.park(heard(number), a.AT)
    assert times(lane, 1, 5, 3, 4) == [a.LATER, None, None, None]
    parked = [lane.find(str(UUID(int=number))) for number in (5, 3, 4)]
    assert [one.seq - NEW for one in parked if one] == [1, 2, 3]
    for number in (1, 5, 3, 4):
        waiting = lane.find(str(UUID(int=number)))
        assert waiting is not None
        delivery = replace_place(heard(number), waiting)
        assert not lane.is_behind(delivery), f"{number} has its turn"
        lane.resolve(delivery)


def test_what_is_parked_keeps_what_it_was() -> None:
    lane = queue(row(1))
    lane.park(heard(7), a.AT)
    parked = lane.find(str(UUID(int=7)))
    assert parked is not None
    assert (parked.event_id, parked.origin, parked.lane) == (UUID(int=7), origin(7), LANE)
    assert (parked.status, parked.attempts, parked.since) == (Status.PENDING, 0, None)


def test_a_replay_goes_before_what_waits() -> None:
    waiting, dead = row(5), row(8, status=Status.DEAD, attempts=10, disposition="retries_exhausted")
    lane = queue(waiting, dead)
    replay = heard(8, replay=REPLAYED)
    assert lane.is_behind(replay), "it is not its turn before it has a place"
    lane.park(replay, a.AT)
    again = lane.find(dead.letter_id)
    assert again is not None
    assert (again.status, again.attempts, again.disposition, again.replay) == (Status.PENDING, 0, "", REPLAYED)
    assert again.next_attempt_at == a.AT, "it is the first now, so its time has come"
    assert not lane.is_behind(replace_place(heard(8, replay=REPLAYED), again))
    assert lane.is_behind(taken(waiting))


def test_a_replay_whose_row_is_long_gone_goes_before_what_waits_too() -> None:
    waiting = row(5)
    lane = queue(waiting)
    lane.park(heard(2, replay=REPLAYED), a.AT)
    assert lane.is_behind(taken(waiting))
    assert times(lane, 2) == [a.AT]


def test_replays_of_one_lane_keep_the_order_of_their_letters() -> None:
    lane = queue(row(2, status=Status.DEAD), row(3, status=Status.DEAD), row(5))
    for number in (3, 2):
        lane.park(heard(number, replay=REPLAYED), a.AT)
    waiting = [lane.find(str(UUID(int=number))) for number in (2, 3, 5)]
    assert sorted((one for one in waiting if one), key=lambda one: one.order) == waiting


def test_a_letter_that_failed_long_ago_remembers_when() -> None:
    dead = row(2, status=Status.DEAD, first_failed_at=a.AT, since=a.AT)
    again = queue(dead).row_of(heard(2, replay=REPLAYED))
    assert (again.first_failed_at, again.since) == (a.AT, None)


def test_what_is_handled_leaves_the_table() -> None:
    lane = queue(row(1))
    lane.resolve(taken(row(1)))
    assert lane.find(str(UUID(int=1))) is None


@pytest.mark.parametrize("operation", ["capture", "void", "refund", "release"])
def test_what_operators_look_at_stays_as_resolved(operation: str) -> None:
    lane = queue(row(1, operation=operation))
    lane.resolve(taken(row(1, operation=operation)))
    found = lane.find(str(UUID(int=1)))
    assert found is not None
    assert (found.status, found.next_attempt_at) == (Status.RESOLVED, None)


def test_a_replayed_letter_stays_as_resolved_so_that_a_second_replay_meets_it() -> None:
    lane = queue(row(1, replay=REPLAYED))
    lane.resolve(taken(row(1, replay=REPLAYED)))
    found = lane.find(str(UUID(int=1)))
    assert found is not None
    assert found.status is Status.RESOLVED


def test_what_waits_for_an_event_looks_again_when_something_of_its_lane_was_handled() -> None:
    early, other, over = row(1, early=True), row(2, early=True, lane="c-2"), row(3, early=True, status=Status.DEAD)
    lane = queue(early, other, over, row(4))
    lane.wake_early(LANE, a.AT)
    assert times(lane, 1, 2, 3, 4) == [a.AT, a.LATER, a.LATER, a.LATER]


@pytest.mark.parametrize(
    ("now", "foreign"),
    [
        (row(1), False),
        (row(1, claimed_by=SOMEBODY), True),
        (row(1, claimed_by=None), True),
        (row(1, status=Status.DEAD), True),
        (row(1, status=Status.COMPENSATING), True),
        (None, True),
    ],
    ids=["ours", "somebody else's", "free again", "dead meanwhile", "given up meanwhile", "handled meanwhile"],
)
def test_what_was_taken_is_ours_only_while_the_claim_holds(now: Waiting | None, foreign: bool) -> None:
    lane = queue(now) if now else queue()
    assert lane.is_foreign(taken(row(1))) is foreign


def test_what_comes_from_kafka_is_nobodys_claim() -> None:
    assert not queue(row(1, claimed_by=SOMEBODY)).is_foreign(heard(1))
    assert not queue().is_foreign(heard(1))


def test_what_was_given_up_is_found_until_its_letter_is_written() -> None:
    given_up = row(1, status=Status.COMPENSATING)
    lane = queue(given_up, row(2), row(3, status=Status.COMPENSATING, lane="c-2"))
    assert lane.compensating(LANE) == [given_up]
    lane.put(replace(given_up, status=Status.DEAD))
    assert lane.compensating(LANE) == []


def test_a_timer_can_not_wait() -> None:
    with pytest.raises(ValueError, match="no message that could wait"):
        queue().row_of(from_timer(ReservationExpired(checkout_id=LANE), a.AT))


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from("ab"), st.booleans(), st.booleans()), max_size=12))
def test_of_each_lane_exactly_one_message_that_is_not_early_has_its_turn(
    messages: list[tuple[int, str, bool, bool]],
) -> None:
    rows = {
        number: row(number, lane=lane, early=early, replay=REPLAYED if replayed else NO_REPLAY)
        for number, lane, early, replayed in messages
    }
    whole = queue(*rows.values())
    for lane in "ab":
        waiting = [one for one in rows.values() if one.lane == lane and not one.early]
        turn = [one for one in waiting if not whole.is_behind(taken(one))]
        assert turn == sorted(waiting, key=lambda one: one.order)[:1]
        newcomer = heard(99, lane)
        newcomer.letter_id = str(uuid4())
        assert whole.is_behind(newcomer) is bool(waiting)
