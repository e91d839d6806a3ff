"""Whatever lies in the table's topic, in events and in timestamps: a timeline or nothing, and pages that answer."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.cards import has_card_number
from schemas.envelope import Envelope
from schemas.events import EVENTS, CheckoutCancelRequested, Event
from services.observer.detail import checkout_view
from services.observer.index import Breach, Index
from services.observer.instants import DAY, SECOND, instant, micros, said_at, written
from services.observer.overview import breach_view, for_readers, merged, worker_view
from services.observer.pages import checkout_page
from services.observer.placing import home_of
from services.observer.rules import findings
from services.observer.summary import summary
from services.observer.texts import clean, clean_number
from services.observer.timeline import MOST_EVENTS, Said, Timeline, add, decoded, encoded, is_id, said_of
from tests.unit import making as m
from tests.unit.telling import CAPTURED, COMPENSATED, LIMITS, told

KEY: Final = m.ID.encode()
CARD: Final = "4242424242424242"
PLACE: Final = {"url": "http://127.0.0.1:6066", "partition": 1, "of": 6}
NOW_US: Final = 1_780_000_000 * SECOND
EVENT_NAMES: Final = sorted(EVENTS)

JSON: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
NAMES: Final = st.sampled_from([
    "total_minor", "amount_minor", "currency", "units", "lines", "code", "accepted", "outcome", "operation",
    "occurred_at", "expires_at", "reason", "attempts",
])  # fmt: skip
FACTS: Final = st.dictionaries(
    NAMES | st.text(max_size=8),
    st.integers()
    | st.booleans()
    | st.text(max_size=20)
    | st.dictionaries(st.text(max_size=4), st.integers(), max_size=3),
    max_size=8,
)
ALMOST: Final = st.tuples(
    st.sampled_from(EVENT_NAMES), st.text(max_size=8), st.integers(0, 2**53), st.integers(0, 9), st.integers(0, 9),
    st.text(max_size=8), FACTS,
)  # fmt: skip


def everything_of(timeline: Timeline) -> str:
    """All that the worker shows of a checkout."""
    breaches = [breach_view(Breach(timeline.checkout_id, each), "p.") for each in findings(timeline, LIMITS)]
    view = checkout_view(timeline, breaches, "p.", PLACE)
    index = Index()
    index.put(timeline.checkout_id, summary(timeline, 0, LIMITS))
    live = worker_view(
        index,
        index.breaches(NOW_US, 0),
        now_us=NOW_US,
        heard_us=NOW_US,
        prefix="p.",
        place={**PLACE, "partitions": [1]},
    )
    whole = for_readers(merged([json.loads(json.dumps(live))], []), LIMITS.deadlines_us)
    return checkout_page(view) + json.dumps(view) + json.dumps(whole)


@pytest.mark.parametrize("value", [
    None, b"", b"\xff\xfe", b"[" * 5000, b"{}", b"null", b"1", b'"x"', b'["c-1",false,[]]', b'["c-1",false,null]',
    b'["c-2",false,[["checkout.requested","a",1,0,0,"",{}]]]', b'["c-1",0,[["checkout.requested","a",1,0,0,"",{}]]]',
    b'["c-1",false,[["payment.eaten","a",1,0,0,"",{}]]]', b'["c-1",false,[["checkout.requested","a",1e400,0,0,"",{}]]]',
    b'["c-1",false,[["checkout.requested","a",1,0,0,"",{"a":NaN}]]]', b'["c-1",false,["checkou"]]',
    b'["c-1",false,[["checkout.requested","a",true,0,0,"",{}]]]', b'[' + b'9' * 5000 + b',false,[]]',
    b'["c-1",false,[["checkout.requested","a",1,0,0,"",{"units":5}]]]', b'["c-1",false,[[["x"],"a",1,0,0,"",{}]]]',
    b'["c-1",false,[["checkout.requested","a",253402300799999999,0,0,"",{}]]]',
    b" " * 2_000_000,
    json.dumps(["c-1", False, [["checkout.requested", "a", 1, 0, 0, "", {}]] * (MOST_EVENTS + 1)]).encode(),
], ids=lambda value: str(value)[:40])  # fmt: skip
def test_what_is_no_timeline_is_nothing(value: bytes | None) -> None:
    assert decoded(KEY, value) is None


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_nothing(value: bytes) -> None:
    assert decoded(KEY, value) is None


@given(st.lists(JSON | ALMOST | st.lists(JSON, min_size=7, max_size=7), min_size=1, max_size=5), st.booleans() | JSON)
@example([["payment.captured", "a", 0, 0, 0, "", {}], ["checkout.failed", "b", 0, 0, 0, "", {"accepted": "x"}]], False)
@example(
    [["payment.refunded", "a", 0, 0, 0, "", {"amount_minor": "much"}], ["checkout.accepted", "b", 0, 0, 0, "", {}]],
    False,
)
def test_what_is_almost_a_timeline_is_nothing_or_one_that_everything_can_handle(said: Any, cut: Any) -> None:
    timeline = decoded(KEY, json.dumps([m.ID, cut, said]).encode())
    if timeline is not None:
        assert everything_of(timeline)
        assert decoded(KEY, encoded(timeline)) == timeline
        assert add(timeline, Said("payment.captured", "new", 5, 0, 99, "", {"amount_minor": 1, "currency": "EUR"}))


@given(st.none() | st.binary(max_size=20))
def test_a_timeline_counts_only_under_its_own_key(key: bytes | None) -> None:
    assert decoded(key, encoded(told(*CAPTURED))) is None or key == KEY


def test_the_largest_timeline_fits_into_one_record() -> None:
    lines = tuple(replace(m.LINES[0], sku=f"{number:064d}", quantity=10_000) for number in range(200))
    big = replace(m.ACCEPTED, lines=lines, customer_id="\U0001f600" * 300, currency="\U0001f600" * 300)
    timeline = Timeline(m.ID)
    for number in range(MOST_EVENTS):
        envelope = Envelope(big, UUID(int=number), datetime(2026, 3, 1, tzinfo=UTC))
        timeline = add(timeline, said_of(envelope, 5, 2**40, "a" * 32))
    assert len(timeline.said) == MOST_EVENTS
    assert len(encoded(timeline)) < 1_000_000
    honest = said_of(Envelope(replace(m.ACCEPTED, lines=lines), UUID(int=1), m.AT), 0, 0, "")
    assert len(honest.facts["units"]) == 200


# instants


@given(st.datetimes() | st.datetimes(timezones=st.just(UTC)), st.integers(-(2**63), 2**63 - 1), st.integers(0, NOW_US))
@example(datetime(1, 1, 1, tzinfo=UTC), -1, 0)
@example(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 2**63 - 1, 0)
def test_any_instant_gives_an_event_of_a_plausible_one_and_says_what_it_claimed(
    claimed: datetime, timestamp_us: int, youngest_us: int
) -> None:
    written_us = written(timestamp_us, youngest_us, micros(claimed), NOW_US)
    said = said_of(Envelope(m.REQUESTED, UUID(int=1), claimed), 0, 0, "", written_us)
    assert 0 <= said.at_us <= NOW_US + 2 * DAY
    assert said.at_us == micros(claimed) or said.facts["occurred_at"] == instant(micros(claimed))
    assert everything_of(add(Timeline(m.ID), said))
    assert decoded(KEY, encoded(add(Timeline(m.ID), said))) is not None


@given(st.integers())
def test_any_number_is_some_instant(at_us: int) -> None:
    assert len(instant(at_us)) == len("2026-11-23T10:00:00.000000Z")


def test_a_timestamp_in_the_wrong_unit_or_from_nowhere_says_nothing() -> None:
    claimed = NOW_US - 5 * SECOND
    for odd in (-1, 0, NOW_US // 1_000, NOW_US * 1_000, 2**63 - 1, -(2**63)):
        assert written(odd, 0, claimed, NOW_US) == claimed
        assert written(odd, claimed - 1, -1, NOW_US) == claimed - 1
        assert written(odd, 0, odd, NOW_US) == NOW_US
    assert written(NOW_US - 300 * DAY, NOW_US - DAY, claimed, NOW_US) == NOW_US - DAY
    assert said_at(claimed - DAY, claimed) == claimed - DAY
    assert said_at(claimed - DAY - 1, claimed) == claimed


@pytest.mark.parametrize("claimed", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
def test_a_capture_of_no_time_of_this_world_is_a_breach_when_a_true_one_is(claimed: datetime) -> None:
    said = said_of(Envelope(m.CAPTURED, UUID(int=1), claimed), 0, 0, "", NOW_US)
    index = Index()
    index.put(m.ID, summary(add(Timeline(m.ID), said), 0, LIMITS))
    assert not index.breaches(NOW_US + 9 * SECOND, NOW_US - DAY)
    assert {each.finding.rule for each in index.breaches(NOW_US + 11 * SECOND, NOW_US - DAY)} == {
        "captured_with_grounds"
    }


def test_a_deadline_of_no_time_of_this_world_is_a_fact_like_any_other() -> None:
    for at in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)):
        odd = replace(m.ACCEPTED, expires_at=at)
        assert at.strftime("%Y")[-4:].lstrip("0") in everything_of(told(m.REQUESTED, odd))


# texts


@given(st.text(max_size=2000))
@example("\u202etxt.exe\x1b[2J\x9b\u2028\ud800")
def test_a_text_is_bounded_printable_and_stays_as_it_is_then(text: str) -> None:
    shown = clean(text)
    assert shown.isprintable()
    assert len(shown) <= 301
    assert clean(shown) == shown
    json.dumps(shown).encode()


@pytest.mark.parametrize("text", [
    CARD, f"my card {CARD} was stolen", "4242 4242 4242 4242", "4242-4242-4242-4242", f"{CARD}\u202e", "x" * 290 + CARD,
    "x " * 145 + CARD,
])  # fmt: skip
def test_a_card_number_keeps_its_last_digits_at_most(text: str) -> None:
    assert not has_card_number(clean(text))
    assert CARD[:12] not in clean(text).replace(" ", "").replace("-", "")


def test_a_number_that_looks_like_a_cards_is_a_text_and_no_amount() -> None:
    assert clean_number(2500) == 2500
    assert clean_number(9_999_999_999_999) == 9_999_999_999_999
    assert CARD not in str(clean_number(int(CARD)))
    events: list[Any] = [*CAPTURED, m.REFUNDED, m.FAILED]
    odd = [replace(event, **{name: int(CARD)}) for event in events for name in amounts(event)]
    assert len(odd) == 6
    assert CARD not in everything_of(told(*odd))


def amounts(event: Event) -> list[str]:
    return [field.name for field in fields(event) if field.name.endswith("_minor")]


@pytest.mark.parametrize(
    "event", [*CAPTURED, *COMPENSATED, m.CANCEL, m.DELAYED, m.REJECTED], ids=lambda event: event.TYPE
)
def test_no_field_of_any_event_carries_a_card_number_into_the_table_or_a_page(event: Any) -> None:
    texts = {field.name: CARD for field in fields(event) if "str" in str(field.type) and field.name != "checkout_id"}
    lines = {"lines": tuple(replace(line, sku=CARD) for line in m.LINES)} if event.TYPE == "checkout.accepted" else {}
    timeline = told(replace(event, **texts, **lines))
    assert CARD.encode() not in encoded(timeline)
    assert CARD not in everything_of(timeline)


def test_an_id_that_looks_like_a_card_number_is_no_checkouts() -> None:
    assert is_id(m.ID)
    assert not any(map(is_id, (CARD, "4242-4242-4242-4242", "", "a b", "x" * 65, None, 5, "\ud800")))


def test_the_page_of_a_hostile_reason_shows_it_and_does_nothing() -> None:
    wish = CheckoutCancelRequested(checkout_id=m.ID, reason="\x1b[2J\u202e<b>")
    page = everything_of(told(wish))
    assert "\\u001b[2J\\u202e&lt;b&gt;" in page
    assert "\x1b" not in page


@given(st.binary(max_size=40), st.integers(1, 64))
def test_any_key_has_a_home(key: bytes, partitions: int) -> None:
    assert 0 <= home_of(key, partitions) < partitions


def test_many_codes_of_foreign_events_are_one_in_the_rates() -> None:
    index = Index()
    for number in range(200):
        odd = told(m.REQUESTED, replace(m.NEVER_ACCEPTED, code=f"CODE_{number}"))
        index.put(f"c-{number}", summary(odd, 0, LIMITS))
    at_us = told(*CAPTURED).said[1].at_us
    rates = index.rates(at_us)
    assert (len(rates), sum(rates.values()), rates["failed", "other"]) == (51, 200, 150)


def test_an_event_far_from_its_record_is_shown_as_it_claims() -> None:
    claimed = m.AT - timedelta(days=400)
    said = said_of(Envelope(m.REQUESTED, UUID(int=1), claimed), 0, 0, "", micros(m.AT))
    view = checkout_view(add(Timeline(m.ID), said), [], "p.", PLACE)
    assert (view["began"], view["events"][0]["occurred_at"]) == (instant(micros(m.AT)), instant(micros(claimed)))
