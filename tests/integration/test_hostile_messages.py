"""One message stops nothing: what ends a process, what poses as another message, what poses as a replay, floods."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from confluent_kafka import Producer
from uuid_utils.compat import uuid7

from compose.fleet import Fleet
from outbox.relay import producer_config
from schemas.envelope import Envelope, rfc3339
from schemas.events import CheckoutCancelRequested, Event, PaymentCaptured
from tests.dying import DEADLY
from tests.servers import TestServers
from tests.system import Letter, System, wait_for


@pytest.fixture(scope="module")
def own(servers: TestServers, scratch: Path) -> Iterator[System]:
    with System(servers, scratch, partitions=1) as running:
        yield running


@cache
def producer_to(servers: str) -> Producer:
    """One for all messages: making one takes longer than what it sends."""
    return Producer(producer_config(servers))


def put(system: System, topic: str, value: bytes | None, key: bytes | None, headers: Any = ()) -> int:
    """A message, as it is; its offset."""
    found: list[int] = []
    producer = producer_to(system.env["KAFKA_BOOTSTRAP_SERVERS"])
    producer.produce(
        system.servers.topic_prefix + topic, value, key, partition=0, headers=list(headers),
        on_delivery=lambda error, message: found.append(-1 if error else message.offset() or 0),
    )  # fmt: skip
    assert producer.flush(20) == 0
    return found[0]


def said(system: System, event: Event, event_id: UUID | None = None) -> bytes:
    return system.codec.encode(Envelope(event, event_id or uuid7(), datetime.now(UTC)))


def letter_about(system: System, service: str, topic: str, offset: int) -> Letter:
    """The one letter of a service about a message."""

    def found() -> list[Letter]:
        letters = [Letter.of(message) for message in system.letters(service)]
        place = (f"{system.servers.topic_prefix}{topic}".encode(), str(offset).encode())
        return [x for x in letters if (x.headers["dlq-original-topic"], x.headers["dlq-original-offset"]) == place]

    letters: list[Letter] = wait_for(found, f"a letter of {service} about {topic}/{offset}")
    assert len(letters) == 1
    return letters[0]


def test_a_message_that_ends_the_process_twice_is_set_aside_unread(servers: TestServers, scratch: Path) -> None:
    with System(servers, scratch, services=("payment", "warehouse"), partitions=1) as system:
        environ = system.env | {"READING_FOLDER": str(system.folder / "reading")}
        fleet = Fleet(environ, system.folder / "checkout", ("checkout",), {"checkout": "tests.dying"})
        before, after = system.request(), system.request()
        system.publish(before)
        offset = put(system, "checkout.requested", DEADLY, b"whoever")
        system.publish(after)
        deaths = 0
        try:
            fleet.start()
            while system.status("checkout", after.checkout_id) != "captured":
                if not fleet.pids("checkout"):
                    deaths += 1
                    assert deaths <= 3, "it ends whoever reads it"
                    fleet.start()
                wait_for(
                    lambda: not fleet.pids("checkout") or system.status("checkout", after.checkout_id) == "captured",
                    "the process to end or the checkout",
                )
            letter = letter_about(system, "checkout", "checkout.requested", offset)
            assert b"ended twice" in letter.headers["dlq-error-message"]
            assert (deaths, letter.value) == (2, DEADLY)
            system.await_status("checkout", before.checkout_id, "captured")
            system.await_rest([before.checkout_id, after.checkout_id])
            system.assert_clean()
        finally:
            fleet.stop()


def test_one_event_id_on_two_topics_is_two_events(own: System) -> None:
    request, same = own.request(method="slow"), uuid7()
    put(own, "checkout.requested", said(own, request, same), request.checkout_id.encode())
    own.await_status("payment", request.checkout_id, "authorizing")
    wish = CheckoutCancelRequested(checkout_id=request.checkout_id, reason="changed my mind")
    put(own, "checkout.cancel_requested", said(own, wish, same), request.checkout_id.encode())
    own.await_status("checkout", request.checkout_id, "compensated")


def test_one_event_id_for_many_checkouts_is_many_events(own: System) -> None:
    requests = [own.request() for _ in range(20)]
    for request in requests:
        put(own, "checkout.requested", said(own, request, UUID(int=0)), request.checkout_id.encode())
    for request in requests:
        own.await_status("checkout", request.checkout_id, "captured")


@pytest.mark.parametrize("apart", [False, True], ids=["in one batch", "one after the other"])
def test_another_message_under_the_same_identity_is_a_letter(own: System, apart: bool) -> None:
    request, same = own.request(), uuid7()
    key = request.checkout_id.encode()
    put(own, "checkout.requested", said(own, request, same), key)
    if apart:
        own.await_status("checkout", request.checkout_id, "captured")
    other = own.request(request.checkout_id, method="declines-insufficient_funds")
    offset = put(own, "checkout.requested", said(own, other, same), key)
    letter = letter_about(own, "checkout", "checkout.requested", offset)
    assert b"conflicting duplicate" in letter.headers["dlq-error-message"]
    own.await_status("checkout", request.checkout_id, "captured")


def test_the_very_same_message_again_is_dropped(own: System) -> None:
    request = own.request()
    value, key = said(own, request), request.checkout_id.encode()
    for _ in range(3):
        put(own, "checkout.requested", value, key)
    own.await_status("checkout", request.checkout_id, "captured")
    own.await_rest([request.checkout_id])
    assert not [m for m in own.letters("checkout") if m.key() == key]


def test_a_hundred_unreadable_messages_stop_no_partition(own: System) -> None:
    before = len(own.letters("checkout"))
    for number in range(100):
        put(own, "checkout.requested", b"not Avro %d" % number, b"k-%d" % number)
    request = own.request()
    own.publish(request)
    own.await_status("checkout", request.checkout_id, "captured")
    wait_for(lambda: len(own.letters("checkout")) == before + 100, "a letter for each of them")


def forged_replay(system: System, checkout_id: str, **changes: str) -> list[tuple[str, bytes]]:
    """Headers of a replay that no command sent: of a payment that was never captured."""
    now, letter = rfc3339(datetime.now(UTC)), str(uuid4())
    told = {
        "dlq-id": letter, "dlq-event-id": letter, "dlq-service": "checkout", "dlq-replay-id": "job",
        "dlq-replay-count": "1", "dlq-edit-of": "", "dlq-edit-root": "",
        "dlq-original-topic": f"{system.servers.topic_prefix}payment.captured", "dlq-original-partition": "0",
        "dlq-original-offset": "812", "dlq-original-timestamp": now, "dlq-first-failed-at": now,
    }  # fmt: skip
    return [(name, value.encode()) for name, value in (told | changes).items()]


def captured(system: System, checkout_id: str) -> bytes:
    event = PaymentCaptured(checkout_id=checkout_id, payment_id="forged", amount_minor=1, currency="EUR")
    return said(system, event)


@pytest.mark.parametrize("edit", [False, True], ids=["a letter", "an edit"])
def test_a_replay_of_a_letter_that_was_never_written_is_refused(own: System, edit: bool) -> None:
    request = own.request(method="refuses-capture")
    key = request.checkout_id.encode()
    changes = {"dlq-edit-of": str(uuid4()), "dlq-edit-root": str(uuid4())} if edit else {}
    headers = forged_replay(own, request.checkout_id, **changes)
    offset = put(own, "checkout.retry", captured(own, request.checkout_id), key, headers)
    letter = letter_about(own, "checkout", "checkout.retry", offset)
    assert b"no replay" in letter.headers["dlq-error-message"]
    # the letter of the refusal is no way in either: its content is a captured payment, its topic the retry topic
    own.publish(request)
    own.await_status("checkout", request.checkout_id, "compensated")
    own.dlq("replay", letter.headers["dlq-id"].decode(), "--yes", "--why", "a test", expect=None)
    own.await_rest([request.checkout_id])
    assert own.status("checkout", request.checkout_id) == "compensated"


def test_a_replay_with_other_content_than_its_letter_is_refused(own: System) -> None:
    request = own.request(method="refuses-capture")
    key = request.checkout_id.encode()
    offset = put(own, "checkout.requested", b"not Avro", key)
    letter = letter_about(own, "checkout", "checkout.requested", offset)
    place = {name: letter.headers[name].decode() for name in letter.headers if name.startswith("dlq-original-")}
    headers = forged_replay(own, request.checkout_id, **{"dlq-id": letter.headers["dlq-id"].decode()}, **place)
    sent = put(own, "checkout.retry", said(own, request), key, headers)
    refused = letter_about(own, "checkout", "checkout.retry", sent)
    assert b"its content is not that of the letter" in refused.headers["dlq-error-message"]
    headers = forged_replay(own, request.checkout_id, **{"dlq-id": letter.headers["dlq-id"].decode()})
    sent = put(own, "checkout.retry", b"not Avro", key, headers)
    refused = letter_about(own, "checkout", "checkout.retry", sent)
    assert b"the letter is of" in refused.headers["dlq-error-message"]
    assert own.status("checkout", request.checkout_id) is None


def test_after_all_of_it_the_books_are_clean(own: System) -> None:
    own.await_rest()
    own.assert_clean()
