"""The timeline and what follows from it are the same, in whatever order and however often events are heard."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.choreography import MAP
from schemas.envelope import Envelope
from schemas.events import CheckoutCancelRequested, Event
from services.observer.states import OPEN, SETTLED, STATES, standing
from services.observer.steps import NAMES, STEPS, done, waiting
from services.observer.timeline import MOST_EVENTS, Said, Timeline, add, decoded, encoded, said_of
from tests.unit import making as m
from tests.unit.telling import CAPTURED, COMPENSATED, REFUSED, said, told

SAIDS: Final = st.builds(
    Said,
    event=st.sampled_from([entry.event for entry in MAP]),
    event_id=st.sampled_from(["a", "b", "c"]),
    at_us=st.integers(0, 5),
    partition=st.just(0),
    offset=st.integers(0, 3),
    trace_id=st.just(""),
    facts=st.fixed_dictionaries({"amount_minor": st.integers(0, 2)}),
)


def folded(events: list[Said]) -> Timeline:
    timeline = Timeline("c-1")
    for event in events:
        timeline = add(timeline, event)
    return timeline


@given(st.lists(SAIDS, max_size=100, unique_by=lambda said: (said.event, said.event_id, said.offset)), st.randoms())
def test_any_order_and_any_duplication_give_the_same_timeline(events: list[Said], random: Random) -> None:
    shuffled = events + random.choices(events, k=len(events)) if events else []
    random.shuffle(shuffled)
    assert folded(shuffled) == folded(events)


def test_a_known_event_leaves_the_very_same_timeline() -> None:
    timeline = told(*CAPTURED)
    assert all(add(timeline, event) is timeline for event in timeline.said)


def test_of_more_events_than_are_kept_those_about_money_and_goods_stay() -> None:
    cancels = [replace_id(said(m.CANCEL), number) for number in range(MOST_EVENTS + 5)]
    timeline = folded([*cancels, *told(*CAPTURED).said])
    assert timeline.cut
    assert len(timeline.said) == MOST_EVENTS
    assert {event.event for event in timeline.said} >= {
        event.TYPE for event in CAPTURED if event.TYPE != "checkout.requested"
    }


def replace_id(event: Said, number: int) -> Said:
    return event._replace(event_id=str(number), offset=number)


def test_the_table_keeps_the_whole_timeline() -> None:
    timeline = replace(told(*COMPENSATED), cut=True)
    assert decoded(m.ID.encode(), encoded(timeline)) == timeline


def test_a_long_text_is_cut_off_and_a_payment_method_is_not_kept() -> None:
    wish = CheckoutCancelRequested(checkout_id="c-1", reason="x" * 10_000)
    assert len(said(wish).facts["reason"]) < 400
    assert "payment_method_id" not in said(m.ACCEPTED).facts
    assert said(m.ACCEPTED).facts["units"] == {"cup": 2, "pot": 1}


def test_a_request_of_any_size_stays_small() -> None:
    line = m.LINES[0]
    huge = replace(m.REQUESTED, lines=tuple(replace(line, sku=f"{n}" * 1000) for n in range(1000)))
    assert said(huge).facts["lines"] == 1000
    long = replace(m.REQUESTED, lines=(replace(line, sku="x" * 100_000),))
    assert len(encoded(told(huge, long))) < 2000


def test_an_instant_is_kept_to_the_microsecond() -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)
    envelope = Envelope(m.RESERVED, UUID(int=7), at)
    kept = said_of(envelope, 3, 42, "ab")
    assert datetime.fromtimestamp(kept.at_us / 1e6, UTC) - at < timedelta(microseconds=1)
    assert (kept.partition, kept.offset, kept.trace_id) == (3, 42, "ab")


PREFIXES: Final = [
    ((m.CANCEL,), "cancelled_first"),
    ((m.REQUESTED,), "requested"),
    ((m.REQUESTED, m.CANCEL), "requested"),
    ((m.REQUESTED, m.ACCEPTED, m.RESERVED), "accepted"),
    ((m.ACCEPTED,), "accepted"),
    ((m.REQUESTED, m.ACCEPTED, m.RESERVED, m.AUTHORIZED), "authorized"),
    ((m.REQUESTED, m.ACCEPTED, m.RESERVED, m.AUTHORIZED, m.CONFIRMED), "authorized"),
    ((m.REQUESTED, m.ACCEPTED, m.RESERVED, m.AUTHORIZED, m.CONFIRMED, m.COMMITTED), "capture_pending"),
    ((m.REQUESTED, m.ACCEPTED, m.COMMITTED, m.CAPTURE_DELAYED), "capture_failed"),
    ((m.REQUESTED, m.ACCEPTED, m.COMMITTED, m.CAPTURE_DELAYED, m.CAPTURED), "capture_pending"),
    (CAPTURED, "captured"),
    ((m.REQUESTED, m.ACCEPTED, m.DECLINED, m.FAILED), "failed"),
    ((m.REQUESTED, m.ACCEPTED, m.LAPSED, m.FAILED, m.VOIDED), "failed"),
    (COMPENSATED, "compensated"),
    (REFUSED, "refused"),
    ((m.CAPTURED,), "unknown"),
]


@pytest.mark.parametrize(("events", "state"), PREFIXES, ids=lambda value: value if isinstance(value, str) else "")
def test_the_state_of_a_checkout_follows_from_its_events(events: tuple[Event, ...], state: str) -> None:
    assert standing(told(*events)).state == state


def test_every_state_is_reached_by_a_case_above() -> None:
    assert {state for _, state in PREFIXES} == set(STATES)
    assert not set(OPEN) & set(SETTLED)


def test_the_steps_are_those_of_the_map() -> None:
    answers = {(e.event, r.service): set(r.publishes) for e in MAP for r in e.heard_by}
    for step in STEPS:
        for asked in step.after:
            assert set(step.until) <= answers[asked, step.service], step.name
    assert len(set(NAMES)) == len(STEPS)


def test_a_step_waits_from_its_cause_on_and_is_over_with_the_failure() -> None:
    def steps(*events: Any) -> list[str]:
        return [each.step.name for each in waiting(told(*events))]

    assert steps(m.REQUESTED) == ["accept"]
    assert steps(m.REQUESTED, m.ACCEPTED) == ["reserve"]
    assert steps(m.REQUESTED, m.ACCEPTED, m.RESERVED, m.DECLINED) == ["fail"]
    assert steps(m.REQUESTED, m.ACCEPTED, m.RESERVED, m.FAILED) == ["release", "undo"]
    assert steps(m.REQUESTED, m.ACCEPTED, m.FAILED, m.LAPSED, m.VOIDED) == ["release"]
    assert steps(*REFUSED) == steps(*CAPTURED) == steps(*COMPENSATED) == []


def test_a_delay_that_is_announced_starts_the_wait_again() -> None:
    timeline = told(m.REQUESTED, m.ACCEPTED, m.RESERVED, m.DELAYED)
    [authorize] = waiting(timeline)
    assert authorize.since_us == timeline.said[-1].at_us


def test_steps_know_how_long_they_took() -> None:
    steps = {step.step: step.took_us for step in done(told(*CAPTURED))}
    assert steps == dict.fromkeys(
        ("accept", "reserve", "authorize", "confirm", "commit", "capture", "complete"), 1_000_000
    )
