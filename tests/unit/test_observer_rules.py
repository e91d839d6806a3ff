"""The conservation rules, held against timelines: each is broken by what it forbids, and by nothing that may happen."""

from dataclasses import replace
from itertools import combinations
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.choreography import MAP
from schemas.events import Event
from services.observer import rules
from services.observer.rules import AT_ONCE, RULE_NAMES, RULES, Finding, findings
from services.observer.timeline import Timeline, add
from tests.unit import making as m
from tests.unit.telling import BEGAN_US, CAPTURED, COMPENSATED, COMPLETED, LIMITS, REFUSED, SECOND, back, said, told

LATE: Final = BEGAN_US + 10_000 * SECOND
CAPTURED_AND_REFUNDED: Final = (*CAPTURED[:7], replace(m.FAILED), back(cup=2, pot=1), m.REFUNDED)
SOUND: Final = {
    "captured": CAPTURED,
    "declined": COMPENSATED,
    "refused at once": REFUSED,
    "out of stock": (m.REQUESTED, m.ACCEPTED, m.REJECTED, m.FAILED, replace(m.RELEASED, outcome="nothing"), m.VOIDED),
    "lapsed": (
        *(m.REQUESTED, m.ACCEPTED, m.RESERVED),
        replace(back(cup=2, pot=1), outcome="lapsed"),
        *(m.FAILED, replace(m.RELEASED, outcome="nothing"), m.VOIDED),
    ),
    "cancelled while it was captured": CAPTURED_AND_REFUNDED,
    "captured, and nobody heard the answer": (*CAPTURED[:6], m.FAILED, back(cup=2, pot=1), m.REFUNDED),
    "requested twice": (m.REQUESTED, *CAPTURED),
    "a conflicting duplicate": (replace(m.REQUESTED, total_minor=1), *CAPTURED),
    "only the wish to cancel": (m.CANCEL,),
}


def broken(timeline: Timeline, at_us: int = LATE) -> list[Finding]:
    return [finding for finding in findings(timeline, LIMITS) if finding.due_us <= at_us]


@pytest.mark.parametrize("events", SOUND.values(), ids=SOUND.keys())
def test_what_may_happen_breaks_no_rule(events: tuple[Event, ...]) -> None:
    assert not broken(told(*events))


@pytest.mark.parametrize("events", SOUND.values(), ids=SOUND.keys())
def test_no_part_of_what_may_happen_breaks_a_rule_at_once(events: tuple[Event, ...]) -> None:
    """Events of different topics come in any order: whatever is missing may still come."""
    for count in range(1, len(events)):
        for part in combinations(events, count):
            assert not broken(told(*part), at_us=AT_ONCE), [event.TYPE for event in part]


@pytest.mark.parametrize("events", SOUND.values(), ids=SOUND.keys())
def test_what_may_happen_breaks_no_rule_on_its_way(events: tuple[Event, ...]) -> None:
    for count in range(1, len(events)):
        timeline = told(*events[:count])
        assert not broken(timeline, at_us=timeline.said[-1].at_us + 11 * SECOND)


TWICE: Final = replace(m.CAPTURED, payment_id="pay-2")
BROKEN: Final = {
    "completed and failed": ((*CAPTURED, m.FAILED), "one_end", "checkout.failed"),
    "failed twice": ((*COMPENSATED, m.FAILED), "one_end", "checkout.failed"),
    "captured twice": ((*CAPTURED, TWICE), "captured_once", "payment.captured"),
    "captured without confirmation": ((*CAPTURED[:5], *CAPTURED[6:]), "captured_with_grounds", "payment.captured"),
    "captured without authorization": ((*CAPTURED[:3], *CAPTURED[4:]), "captured_with_grounds", "payment.captured"),
    "captured for nobody": ((m.CAPTURED,), "captured_with_grounds", "payment.captured"),
    "captured too much": (
        (*CAPTURED[:6], replace(m.CAPTURED, amount_minor=m.TOTAL + 1), COMPLETED),
        "amounts_agree",
        "payment.captured",
    ),
    "captured in another currency": (
        (*CAPTURED[:6], replace(m.CAPTURED, currency="USD"), COMPLETED),
        "amounts_agree",
        "payment.captured",
    ),
    "authorized too little": (
        (*CAPTURED[:3], replace(m.AUTHORIZED, amount_minor=1), *CAPTURED[4:]),
        "amounts_agree",
        "payment.authorized",
    ),
    "accepted what nobody asked for": (
        (replace(m.REQUESTED, total_minor=1), *CAPTURED[1:]),
        "amounts_agree",
        "checkout.accepted",
    ),
    "completed without money": ((*CAPTURED[:6], COMPLETED), "money_conserved", "checkout.completed"),
    "completed and refunded": ((*CAPTURED, m.REFUNDED), "money_conserved", "payment.refunded"),
    "completed and voided": ((*CAPTURED, m.VOIDED), "money_conserved", "payment.voided"),
    "failed and kept": (
        (*CAPTURED_AND_REFUNDED[:9], replace(m.VOIDED, outcome="nothing")),
        "money_conserved",
        "payment.captured",
    ),
    "refunded too little": (
        (*CAPTURED_AND_REFUNDED[:9], replace(m.REFUNDED, amount_minor=1)),
        "money_conserved",
        "payment.captured",
    ),
    "refunded too much": ((*CAPTURED_AND_REFUNDED, m.REFUNDED), "money_conserved", "payment.refunded"),
    "refunded more than was asked for": (
        (*CAPTURED[:6], m.FAILED, back(cup=2, pot=1), replace(m.REFUNDED, amount_minor=m.TOTAL + 1)),
        "money_conserved",
        "payment.refunded",
    ),
    "captured and never accepted": ((*REFUSED, m.CAPTURED), "money_conserved", "payment.captured"),
    "completed without goods": ((*CAPTURED[:5], *CAPTURED[6:]), "units_conserved", "checkout.completed"),
    "shipped and released": ((*CAPTURED, back(cup=2, pot=1)), "units_conserved", "warehouse.released"),
    "released too little": ((*COMPENSATED[:5], back(cup=2), m.VOIDED), "units_conserved", "warehouse.released"),
    "released too much": ((*COMPENSATED[:5], back(cup=3, pot=1), m.VOIDED), "units_conserved", "warehouse.released"),
    "released twice": ((*COMPENSATED, back(cup=2, pot=1)), "units_conserved", "warehouse.released"),
    "released what was never reserved": (
        (*COMPENSATED[:2], *COMPENSATED[3:]),
        "units_conserved",
        "warehouse.released",
    ),
    "never accepted": ((m.REQUESTED,), "steps_in_time", "checkout.requested"),
    "never captured": (CAPTURED[:6], "steps_in_time", "warehouse.confirmed"),
    "captured and never completed": (CAPTURED[:7], "steps_in_time", "payment.captured"),
    "declined and never failed": (COMPENSATED[:4], "steps_in_time", "payment.declined"),
    "never released": ((*COMPENSATED[:5], m.VOIDED), "let_go_in_time", "checkout.failed"),
    "never voided": (COMPENSATED[:6], "let_go_in_time", "checkout.failed"),
}


@pytest.mark.parametrize(("events", "rule", "fault"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_forbidden_breaks_its_rule_and_names_the_event(
    events: tuple[Event, ...], rule: str, fault: str
) -> None:
    found = [finding for finding in broken(told(*events)) if finding.rule == rule]
    assert fault in {finding.fault.event for finding in found}, broken(told(*events))


@pytest.mark.parametrize(("events", "rule", "fault"), BROKEN.values(), ids=BROKEN.keys())
def test_without_its_rule_it_would_go_unseen(
    events: tuple[Event, ...], rule: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "RULES", tuple(each for each in RULES if each.__name__ != rule))
    assert rule not in {finding.rule for finding in broken(told(*events))}


def test_every_rule_is_broken_by_a_case_above() -> None:
    assert {rule for _, rule, _ in BROKEN.values()} == set(RULE_NAMES)


def test_a_second_capture_is_seen_at_once_and_a_missing_confirmation_after_the_grace_time() -> None:
    twice = told(*CAPTURED, TWICE)
    assert {finding.rule for finding in broken(twice, at_us=AT_ONCE)} == {"captured_once"}
    early = told(*CAPTURED[:4], CAPTURED[6])
    captured_us = early.said[-1].at_us
    assert not broken(early, captured_us + 9 * SECOND)
    assert {finding.rule for finding in broken(early, captured_us + 10 * SECOND)} == {"captured_with_grounds"}


def test_a_deadline_is_that_of_the_step() -> None:
    timeline = told(*CAPTURED[:6])
    confirmed_us = timeline.said[-1].at_us
    assert not broken(timeline, confirmed_us + 609 * SECOND)
    [late] = broken(timeline, confirmed_us + 610 * SECOND)
    assert late.what == "payment has not answered warehouse.confirmed within 600 s (capture)"


ALL: Final = {
    event.TYPE: event
    for event in (
        *(m.REQUESTED, m.ACCEPTED, m.CANCEL, m.CONFIRMED, COMPLETED, m.FAILED, m.RESERVED, m.REJECTED, m.COMMITTED),
        *(m.CONFIRM_FAILED, m.RELEASED, m.AUTHORIZED, m.DECLINED, m.CAPTURED, m.CAPTURE_FAILED, m.DELAYED, m.VOIDED),
        m.REFUNDED,
    )
}


@given(st.lists(st.sampled_from(sorted(ALL)), min_size=1, max_size=20))
def test_findings_are_the_same_in_any_order_and_never_fail(names: list[str]) -> None:
    assert set(ALL) == {entry.event for entry in MAP}
    events = [said(ALL[name], number % 3, number) for number, name in enumerate(names)]
    timelines = []
    for order in (events, events[::-1] + events):
        timeline = Timeline(m.ID)
        for event in order:
            timeline = add(timeline, event)
        timelines.append(timeline)
    assert findings(timelines[0], LIMITS) == findings(timelines[1], LIMITS)
