"""What a replay sends, in which order, and what it refuses, each with its reason."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from dlq import telling
from dlq.dialects import NAMES, OURS
from dlq.ledger import Entry, State
from dlq.letters import DeadLetter
from dlq.plan import Plan, make_plan, refusal_of
from schemas.envelope import rfc3339

START: Final = datetime(2026, 11, 20, tzinfo=UTC)


def dead(
    name: str, at_s: float = 0, *, lane: str | None = "c-1", entry: Entry | None = None, **more: Any
) -> DeadLetter:
    """A letter of payment. more: its headers, by their names without `dlq-` and with underscores; dialect."""
    dialect = more.pop("dialect", OURS)
    said = {f"dlq-{key.replace('_', '-')}": value for key, value in more.items()}
    info = dict.fromkeys(NAMES, "") | {
        "dlq-id": name,
        "dlq-service": "payment",
        "dlq-disposition": "fatal",
        "dlq-fingerprint": "f1",
        "dlq-first-failed-at": rfc3339(START + timedelta(seconds=at_s)),
        "dlq-original-topic": "checkout.accepted",
    }
    key = None if lane is None else lane.encode()
    return DeadLetter(
        place=("payment.dlq", 0, 0),
        at=START,
        key=key,
        value=b"",
        headers=[],
        dialect=dialect,
        info=info | said,
        entry=entry,
    )


def in_state(state: State, **more: Any) -> Entry:
    return Entry(service="payment", letter="a", state=state, at="AT", by="BY", **more)


def sent(plan: Plan) -> list[str]:
    return [letter.id for letter in plan.send]


def test_letters_go_in_the_order_in_which_they_failed() -> None:
    letters = [dead("c", 3), dead("a", 1), dead("b", 2)]
    assert sent(make_plan(letters)) == ["a", "b", "c"]


def test_letters_of_one_moment_go_as_they_lay_on_their_topic() -> None:
    letters = [
        dead("d", original_topic="checkout.failed", original_partition="0", original_offset="0"),
        dead("c", original_topic="checkout.accepted", original_partition="1", original_offset="0"),
        dead("b", original_topic="checkout.accepted", original_partition="0", original_offset="10"),
        dead("a", original_topic="checkout.accepted", original_partition="0", original_offset="9"),
    ]
    assert sent(make_plan(letters)) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("entry", [None, in_state(State.OPEN), in_state(State.FAILED_AGAIN, replay_count=4)])
def test_open_letters_and_those_that_failed_again_can_be_replayed(entry: Entry | None) -> None:
    assert refusal_of(dead("a", entry=entry)) is None


@pytest.mark.parametrize(
    ("entry", "reason", "sentence"),
    [
        (in_state(State.RESOLVED), "already resolved", "already resolved at AT by BY"),
        (in_state(State.TOO_LATE), "too late", "too late, said BY at AT: its checkout has ended"),
        (in_state(State.DISCARDED, why="a test"), "discarded", "discarded by BY: a test; restore it first"),
        (in_state(State.SUPERSEDED, edited_to="b"), "superseded", "superseded by b"),
        (in_state(State.REPLAYING, replay_id="J"), "being replayed", "being replayed by job J since AT"),
    ],
)
def test_a_letter_in_another_state_is_refused_with_the_reason(entry: Entry, reason: str, sentence: str) -> None:
    refusal = refusal_of(dead("a", entry=entry))
    assert refusal is not None
    assert (refusal.reason, refusal.sentence) == (reason, sentence)


def test_every_state_is_either_sent_or_refused() -> None:
    refused = {state for state in State if refusal_of(dead("a", entry=in_state(state))) is not None}
    assert set(State) - refused == {State.OPEN, State.FAILED_AGAIN}


@pytest.mark.parametrize(("count", "refused"), [(4, False), (5, True), (6, True)])
def test_a_letter_that_was_replayed_too_often_is_refused(count: int, refused: bool) -> None:
    by_header = refusal_of(dead("a", replay_count=str(count)))
    by_ledger = refusal_of(dead("a", entry=in_state(State.FAILED_AGAIN, replay_count=count)))
    assert (by_header is not None, by_ledger is not None) == (refused, refused)
    if by_header:
        assert by_header.sentence == f"replayed {count} times and failed again each time: edit or discard it"
        assert by_header.reason == "replayed 5 times or more"


def test_an_edited_letter_gets_another_try_and_only_one() -> None:
    assert refusal_of(dead("a", replay_count="5", edit_of="z")) is None
    again = in_state(State.FAILED_AGAIN, replay_count=6)
    assert refusal_of(dead("a", replay_count="6", edit_of="z", entry=again)) is not None


def test_a_letter_of_no_service_of_ours_is_refused() -> None:
    refusal = refusal_of(dead("a", service="billing", dialect="spring"))
    assert refusal is not None
    assert refusal.sentence == "'billing' is no service of ours: no service reads its retry topic"


@pytest.mark.parametrize("dialect", ["spring", "connect", "streams", "share-group", "unknown"])
def test_a_letter_that_its_service_did_not_write_is_refused(dialect: str) -> None:
    refusal = refusal_of(dead("a", dialect=dialect))
    assert refusal is not None
    assert refusal.reason == "not written by its service"
    assert refusal.sentence.startswith(f"payment did not write it (headers: {dialect})")


def test_a_letter_whose_value_is_cut_is_refused_and_says_where_all_of_it_lies() -> None:
    place = {"original_partition": "3", "original_offset": "7"}
    cut: dict[str, Any] = {
        "value_cut": "this letter has 1,000 of 5,000,000 bytes",
        "value_bytes": "5000000",
        **place,
    }
    refusal = refusal_of(dead("a", **cut))
    assert refusal is not None
    assert refusal.sentence == (
        "this letter has 1,000 of 5,000,000 bytes; the whole message lies at checkout.accepted/3/7"
    )


def test_a_resumed_job_does_not_send_again_whatever_became_of_it() -> None:
    again = in_state(State.FAILED_AGAIN, replay_id="J", replay_count=1)
    assert refusal_of(dead("a", entry=again), resumed="J") is not None
    assert refusal_of(dead("a", entry=again), resumed="K") is None
    assert refusal_of(dead("a", entry=again)) is None


def test_a_limit_takes_the_first_and_says_how_many_it_leaves() -> None:
    plan = make_plan([dead(f"{n}", n) for n in range(5)], limit=2)
    assert (sent(plan), plan.left) == (["0", "1"], 3)


def test_refusals_are_counted_by_reason_and_do_not_use_up_the_limit() -> None:
    resolved = [dead(f"r{n}", entry=in_state(State.RESOLVED)) for n in range(3)]
    plan = make_plan([*resolved, dead("d", entry=in_state(State.DISCARDED)), dead("a", 9)], limit=1)
    assert plan.reasons() == {"already resolved": 3, "discarded": 1}
    assert sent(plan) == ["a"]


def test_the_summary_counts_services_events_dispositions_and_causes() -> None:
    letters = [dead("a"), dead("b", service="warehouse", fingerprint="f2"), dead("c", disposition="deadline")]
    summary = make_plan(letters).summary()
    assert summary["send"] == 3
    assert summary["by_service"] == {"payment": 2, "warehouse": 1}
    assert summary["by_event_type"] == {"checkout.accepted": 3}
    assert summary["by_disposition"] == {"fatal": 2, "deadline": 1}
    assert summary["by_fingerprint"] == {"f1": 2, "f2": 1}


def test_the_order_within_a_checkout_is_shown_where_there_is_one() -> None:
    plan = make_plan([dead("b", 2), dead("a", 1), dead("x", lane="c-2"), dead("n", lane=None), dead("m", lane=None)])
    assert {lane: [each.id for each in letters] for lane, letters in plan.lanes().items()} == {
        "payment/c-1": ["a", "b"]
    }


@pytest.mark.parametrize(
    ("behind", "overtaking"),
    [
        (dead("z", 0), 1),  # not chosen, and earlier
        (dead("z", 5), 0),  # later
        (dead("z", 0, lane="c-2"), 0),  # another checkout's
        (dead("z", 0, service="checkout"), 0),  # another service's
        (dead("z", 0, entry=in_state(State.RESOLVED)), 0),  # settled
        (dead("z", 0, entry=in_state(State.REPLAYING)), 0),  # ahead already
    ],
)
def test_letters_that_overtake_an_earlier_one_are_told_of(behind: DeadLetter, overtaking: int) -> None:
    chosen = dead("a", 1)
    assert make_plan([chosen], [behind, chosen]).overtaking == overtaking


def test_a_plan_for_people_has_a_bounded_length() -> None:
    refused = [dead(f"r{n}", entry=in_state(State.RESOLVED)) for n in range(500)]
    lanes = [dead(f"{lane}-{n}", n, lane=f"c-{lane}") for lane in range(200) for n in range(2)]
    lines = list(telling.plan_lines(make_plan([*refused, *lanes])))
    assert len(lines) < 60
    assert lines[0] == "400 letters would be sent"
    assert "refused: 500 already resolved" in lines
