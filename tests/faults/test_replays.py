"""Dead letters come back: in order, once, also after their schema moved on; what they led to is in the ledger."""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from json import loads
from pathlib import Path
from typing import Any
from uuid import uuid4

import fastavro
import pytest
from uuid_utils.compat import uuid7

from dlq.ledger import State, entry_from
from schemas import events as ev
from schemas.choreography import LEDGER_TOPIC, retry_topic
from schemas.envelope import Envelope
from schemas.registry import published
from schemas.registry_client import registry_client
from tests.jam import jammed
from tests.servers import TestServers
from tests.system import Letter, System, wait_for


@pytest.fixture(scope="module")
def dying(servers: TestServers, scratch: Path) -> Iterator[System]:
    """What fails twice is dead; a flood is none."""
    settings: dict[str, Any] = {"RETRY_BUG_ATTEMPTS": "2", "RETRY_COMPENSATION_ATTEMPTS": "2", "FLOOD_AT_LEAST": "0"}
    with System(servers, scratch, **settings) as system:
        yield system


def a_key() -> str:
    """A new checkout's id."""
    return f"r-{uuid4().hex[:10]}"


def wish(checkout_id: str, reason: str) -> ev.CheckoutCancelRequested:
    """A wish to cancel; the reason stands in the audit trail when it was handled."""
    return ev.CheckoutCancelRequested(checkout_id=checkout_id, reason=reason)


def reasons(system: System, checkout_id: str) -> list[str]:
    """The wishes that were handled, in their order."""
    sql = "SELECT note FROM audit_trail WHERE checkout_id = :id ORDER BY seq"
    notes = [row.note for row in system.rows("checkout", sql, id=checkout_id)]
    return [note.removeprefix("cancel requested: ").split(";")[0] for note in notes]


def no_trail_for(system: System, checkout_id: str) -> Any:
    """Nothing of this checkout can be stored at the checkout service."""
    return jammed(system, "checkout", "audit_trail", "INSERT", f"NEW.checkout_id = '{checkout_id}'")


def entries(system: System, letter_id: str) -> list[tuple[State, str]]:
    """(state, outcome) of a letter's ledger entries, oldest first."""
    found = [entry_from(bytes(message.value() or b"")) for message in system.messages(LEDGER_TOPIC)]
    return [(entry.state, entry.outcome) for entry in found if entry.letter == letter_id]


def the_id(letter: Letter) -> str:
    """The letter's identity."""
    return letter.headers["dlq-id"].decode()


def test_the_letters_of_one_checkout_replay_in_their_order(dying: System) -> None:
    checkout_id = a_key()
    said = [f"wish {number}" for number in range(6)]
    with no_trail_for(dying, checkout_id):
        dying.publish(*(wish(checkout_id, reason) for reason in said))
        dying.await_letters("checkout", checkout_id, len(said))
    told = dying.dlq("replay", "--checkout", checkout_id, "--yes", "--wait")
    assert told["outcomes"]["handled"] == len(said)
    assert reasons(dying, checkout_id) == said


def test_a_replay_goes_before_what_waits_of_its_checkout(dying: System) -> None:
    checkout_id = a_key()
    with no_trail_for(dying, checkout_id):
        dying.publish(wish(checkout_id, "first"))
        dying.await_letters("checkout", checkout_id, 1)
        dying.execute("checkout", "UPDATE retries SET attempts = 0")
        dying.publish(wish(checkout_id, "second"))
        waits = "SELECT 1 FROM retries WHERE lane = :id AND status = 'pending'"
        wait_for(lambda: dying.rows("checkout", waits, id=checkout_id), "the second to wait")
        # it waits for longer than this test lasts, unless something of its checkout moves
        far = "UPDATE retries SET next_attempt_at = now() + interval '1 hour' WHERE lane = :id AND status = 'pending'"
        dying.execute("checkout", far, id=checkout_id)
    told = dying.dlq("replay", "--checkout", checkout_id, "--yes", "--wait")
    assert told["outcomes"]["handled"] == 1
    wait_for(lambda: len(reasons(dying, checkout_id)) == 2, "both to be handled")
    assert reasons(dying, checkout_id) == ["first", "second"]


def test_what_fails_again_says_so_and_is_the_same_letter_with_one_replay_more(dying: System) -> None:
    checkout_id = a_key()
    with no_trail_for(dying, checkout_id):
        dying.publish(wish(checkout_id, "again"))
        (first,) = dying.await_letters("checkout", checkout_id, 1)
        told = dying.dlq("replay", the_id(first), "--yes", "--wait", expect=1)
        assert told["outcomes"]["failed_again"] == 1
        second = dying.await_letters("checkout", checkout_id, 2)[1]
    assert the_id(second) == the_id(first)
    assert (first.headers["dlq-replay-count"], second.headers["dlq-replay-count"]) == (b"0", b"1")
    assert set(first.headers) == set(second.headers)
    assert (first.key, first.value) == (second.key, second.value)
    assert first.headers["dlq-first-failed-at"] == second.headers["dlq-first-failed-at"]
    dying.dlq("replay", the_id(first), "--yes", "--wait")
    assert [state for state, _ in entries(dying, the_id(first))] == [
        State.REPLAYING,
        State.FAILED_AGAIN,
        State.REPLAYING,
        State.RESOLVED,
    ]
    assert reasons(dying, checkout_id) == ["again"]


def test_a_copy_of_a_replay_has_no_second_effect_whoever_sends_it(dying: System) -> None:
    checkout_id = a_key()
    with no_trail_for(dying, checkout_id):
        dying.publish(wish(checkout_id, "once"))
        (letter,) = dying.await_letters("checkout", checkout_id, 1)
    dying.dlq("replay", the_id(letter), "--yes", "--wait")
    (sent,) = [m for m in dying.messages(retry_topic("checkout")) if m.key() == checkout_id.encode()]
    headers = dict(sent.headers() or ())
    for copy in (headers, headers | {"dlq-replay-id": str(uuid7()).encode()}):
        dying.shop.publish_raw(retry_topic("checkout"), checkout_id.encode(), sent.value(), copy)
    dying.shop.flush()
    outcomes = [(State.RESOLVED, "handled"), (State.RESOLVED, "duplicate")]
    wait_for(lambda: entries(dying, the_id(letter))[1:] == outcomes, "the second replay to be known as a duplicate")
    assert reasons(dying, checkout_id) == ["once"]
    refused = dying.dlq("replay", the_id(letter), "--yes", expect=None)
    assert "resolved" in str(refused)


def test_what_lies_on_a_retry_topic_by_mistake_is_a_letter_itself(dying: System) -> None:
    key = a_key()
    dying.shop.publish_raw(retry_topic("checkout"), key.encode(), b"what is this")
    dying.shop.flush()
    (letter,) = dying.await_letters("checkout", key, 1)
    assert letter.headers["dlq-disposition"] == b"undecodable"
    assert b"no replay of a dead letter" in letter.headers["dlq-error-message"]
    assert letter.value == b"what is this"


def test_a_letter_of_an_older_schema_replays_after_the_schema_moved_on(dying: System) -> None:
    request = dying.request()
    dying.publish(request)
    dying.await_status("checkout", request.checkout_id, "captured")
    value = _first_version(dying, request.checkout_id)
    jam = jammed(dying, "warehouse", "reservations", "UPDATE", f"OLD.checkout_id = '{request.checkout_id}'")
    with jam:
        dying.shop.publish_raw("checkout.failed", request.checkout_id.encode(), value)
        dying.shop.flush()
        (letter,) = dying.await_letters("warehouse", request.checkout_id, 1)
    assert letter.value == value
    shown = dying.dlq("show", the_id(letter))
    assert "FIRST_VERSION" in str(shown)
    told = dying.dlq("replay", the_id(letter), "--yes", "--wait")
    assert told["outcomes"]["handled"] == 1
    assert dying.status("warehouse", request.checkout_id) == "released"


def _first_version(system: System, checkout_id: str) -> bytes:
    """checkout.failed as its first version wrote it: without error_class and retryable."""
    schema = loads(published("checkout.failed")[0])
    with registry_client(system.env["SCHEMA_REGISTRY_URL"]) as client:
        subject = f"{system.env['TOPIC_PREFIX']}checkout.failed-value"
        number = client.get_version(subject, 1).schema_id
    body = BytesIO()
    record = {
        "event_id": uuid7(),
        "checkout_id": checkout_id,
        "occurred_at": datetime.now(UTC),
        "customer_id": "customer-1",
        "code": "FIRST_VERSION",
        "message": "Sorry.",
        "detail": "",
        "accepted": True,
    }
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), record)
    assert number is not None
    return struct.pack(">bI", 0, number) + body.getvalue()


def test_an_edited_letter_is_handled_and_its_original_can_not_be_replayed(dying: System) -> None:
    checkout_id = a_key()
    with no_trail_for(dying, checkout_id):
        dying.publish(wish(checkout_id, "a slip"))
        (letter,) = dying.await_letters("checkout", checkout_id, 1)
    dying.dlq("edit", the_id(letter), "--set", "reason=put right", "--why", "a slip of the pen", "--yes")
    edited = dying.await_letters("checkout", checkout_id, 2)[1]
    assert edited.headers["dlq-edit-of"] == the_id(letter).encode()
    refused = dying.dlq("replay", the_id(letter), "--yes", expect=None)
    assert "superseded" in str(refused)
    dying.dlq("replay", the_id(edited), "--yes", "--wait")
    assert reasons(dying, checkout_id) == ["put right"]


def test_a_replay_starts_a_trace_and_names_the_one_of_its_letter(dying: System) -> None:
    checkout_id = a_key()
    original = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with no_trail_for(dying, checkout_id):
        value = dying.codec.encode(Envelope(dying.request(checkout_id, total_minor=1), uuid7(), datetime.now(UTC)))
        dying.shop.publish_raw("checkout.requested", checkout_id.encode(), value, {"traceparent": original})
        dying.shop.flush()
        (letter,) = dying.await_letters("checkout", checkout_id, 1)
    assert letter.headers["traceparent"] == original
    dying.dlq("replay", the_id(letter), "--yes", "--wait")
    (failed,) = [Letter.of(m) for m in dying.messages("checkout.failed") if m.key() == checkout_id.encode()]
    assert failed.headers["linked_traceparent"] == original
    assert failed.headers["traceparent"][3:35] != original[3:35]


def test_after_all_replays_the_books_are_clean(dying: System) -> None:
    dying.await_rest()
    breaches = [b for b in dying.audit().breaches if b.invariant in (2, 3, 6)]
    assert not [b for b in breaches if b.offender.startswith("r-")], breaches
