"""Filters, one question each."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dlq import dialects
from dlq.filters import BadFilterError, Filter, duration, moment_of, states_of
from dlq.ledger import Entry, State
from dlq.letter import Fault, headers_of
from dlq.letters import DeadLetter
from dlq.options import filter_from
from schemas.envelope import Header
from tests.dlq.making import NOW, letter


def dead(state: State | None = None, value: bytes | None = b"caf\xc3\xa9 \xff", **fields: Any) -> DeadLetter:
    """A letter as it is read."""
    written = letter("one", fault=Fault("TimeoutError", "no answer (attempt 3)", "", "f-1"), **fields)
    headers: list[Header] = [("traceparent", b"00-ABC"), *((n, t.encode()) for n, t in headers_of(written).items())]
    place = ("payment.dlq", 0, 1)
    entry = None if state is None else Entry(service="payment", letter="one", state=state, at="", by="")
    dialect, info = dialects.read(headers, place)
    return DeadLetter(
        place=place,
        at=NOW,
        key=written.origin.key,
        value=value,
        headers=headers,
        dialect=dialect,
        info=info,
        entry=entry,
    )


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        (Filter(services=["payment"]), Filter(services=["warehouse"])),
        (Filter(services=["warehouse", "payment"]), Filter(services=["warehouse", "checkout"])),
        (Filter(dispositions=["retries_exhausted"]), Filter(dispositions=["fatal"])),
        (Filter(fingerprints=["f-1"]), Filter(fingerprints=["f-"])),
        (Filter(checkouts=["c-1"]), Filter(checkouts=["c-"])),
        (Filter(states=[State.OPEN]), Filter(states=[State.RESOLVED])),
        (Filter(ids=["payment/one"]), Filter(ids=["payment/on"])),
        (Filter(since=NOW), Filter(since=NOW + timedelta(seconds=1))),
        (Filter(until=NOW + timedelta(seconds=1)), Filter(until=NOW)),
        (Filter(match=["NO ANSWER"]), Filter(match=["answered"])),
        (Filter(match=["no answer (attempt"]), Filter(match=["no answer [attempt"])),
        (Filter(match=[r"attempt \d\b"]), Filter(match=[r"attempt \d\d"])),
        (Filter(match=["timeouterror"]), Filter(match=["ValueError"])),
        (Filter(match=["café"]), Filter(match=["cafe"])),
        (Filter(match=["00-abc"]), Filter(match=["01-abc"])),
        (Filter(match=["café", "answer"]), Filter(match=["café", "question"])),
        (Filter(services=["payment"], states=[State.OPEN]), Filter(services=["payment"], states=[State.RESOLVED])),
    ],
)
def test_a_filter_takes_what_is_meant_and_nothing_else(yes: Filter, no: Filter) -> None:
    assert yes.matches(dead())
    assert not no.matches(dead())


def test_an_empty_filter_takes_everything_and_says_that_it_is_empty() -> None:
    assert Filter().matches(dead())
    assert not Filter()
    assert not filter_from()
    assert Filter(match=["x"])


def test_the_state_is_the_ledgers() -> None:
    assert Filter(states=[State.FAILED_AGAIN]).matches(dead(State.FAILED_AGAIN))
    assert not Filter(states=[State.OPEN]).matches(dead(State.FAILED_AGAIN))


def test_a_letter_without_value_can_be_searched() -> None:
    assert not Filter(match=["nothing like it"]).matches(dead(value=None, key=None))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-26T10:00:00Z", datetime(2026, 11, 26, 10, tzinfo=UTC)),
        ("2026-11-26T12:00:00+02:00", datetime(2026, 11, 26, 10, tzinfo=UTC)),
        ("2026-11-26T10:00:00", datetime(2026, 11, 26, 10, tzinfo=UTC)),
        ("2026-11-26", datetime(2026, 11, 26, tzinfo=UTC)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("90s", NOW - timedelta(seconds=90)),
        ("1.5h", NOW - timedelta(minutes=90)),
    ],
)
def test_a_moment_is_an_instant_or_a_time_ago(text: str, at: datetime) -> None:
    assert moment_of(text, NOW) == at


@pytest.mark.parametrize("text", ["", "yesterday", "2 fortnights", "-3h", "99999999999d", "9999999d", "26.11.2026"])
def test_anything_else_is_one_clear_error(text: str) -> None:
    with pytest.raises(BadFilterError, match=r"neither an instant, such as .* nor a duration, such as 2h or 3d|longer"):
        moment_of(text, NOW)


@pytest.mark.parametrize("text", ["", "h", "3", "3x", "three days"])
def test_a_duration_needs_a_number_and_a_unit(text: str) -> None:
    with pytest.raises(BadFilterError, match="is no duration"):
        duration(text)


def test_options_become_a_filter() -> None:
    found = filter_from(["payment"], ["fatal"], ["f"], ["c"], ["failed-again"], "2h", "1h", ["x"])
    assert (found.services, found.dispositions, found.states) == ({"payment"}, {"fatal"}, {State.FAILED_AGAIN})
    assert found.since is not None
    assert found.until is not None
    assert found.until - found.since == timedelta(hours=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"service": ["paiment"]}, "no service 'paiment': checkout, payment, warehouse"),
        ({"state": ["opne"]}, "no state 'opne': open, replaying"),
        ({"disposition": ["dead"]}, "no disposition 'dead': retries_exhausted, fatal"),
    ],
)
def test_a_name_that_there_is_not_is_refused_with_those_that_there_are(options: Any, message: str) -> None:
    with pytest.raises(BadFilterError, match=message):
        filter_from(**options)


def test_states_are_known_by_their_names() -> None:
    assert states_of([state.value for state in State]) == set(State)
