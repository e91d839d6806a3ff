"""One trace for each checkout, from the shop to the provider and the end, as a receiver of OTLP sees it."""

import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from uuid_utils.compat import uuid7

from compose.show import describe
from schemas.choreography import MAP, SERVICES
from schemas.envelope import Envelope
from tests.otlp import Receiver, Seen, receiving
from tests.servers import TestServers
from tests.system import CAPTURED, System, wait_for

LEAVES_S: Final = 12.0
SAID_BY: Final = {entry.event: entry.said_by for entry in MAP}
COMPENSATED: Final = (
    *CAPTURED[:6],
    "payment.capture_failed",
    "checkout.failed",
    "warehouse.released",
    "payment.voided",
)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def traced(servers: TestServers, scratch: Path, receiver: Receiver) -> Iterator[System]:
    """Few tries and quick ones; everything is told to the receiver."""
    settings: dict[str, Any] = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "RETRY_ATTEMPTS": "2",
        "PAYMENT_BREAKER_FAILURES": "1000",
        "PAYMENT_TIMEOUT_S": "0.4",
    }
    with System(servers, scratch, **settings) as system:
        yield system


def bare(system: System, span: Seen) -> str:
    """A span's name without the prefix of this test's topics."""
    return span.name.replace(system.servers.topic_prefix, "")


def names(system: System, spans: Sequence[Seen]) -> Counter[tuple[str, str]]:
    """How often each (service, name) is there."""
    return Counter((span.service, bare(system, span)) for span in spans)


def expected(events: Sequence[str], calls: Sequence[str]) -> Counter[tuple[str, str]]:
    """A `send` and the `process` of each listener for every event, and the calls."""
    heard = {entry.event: [reaction.service for reaction in entry.heard_by] for entry in MAP}
    found = Counter((SAID_BY[event], f"send {event}") for event in events)
    found += Counter((service, f"process {event}") for event in events for service in heard[event])
    return found + Counter(("payment", call) for call in calls)


def whole(system: System, receiver: Receiver, checkout_id: str, wanted: Counter[tuple[str, str]]) -> list[Seen]:
    """The trace of a checkout, once all of it has come."""

    def complete() -> list[Seen]:
        spans = receiver.of(checkout_id)
        return spans if names(system, spans) >= wanted else []

    spans: list[Seen] = wait_for(complete, f"the spans of {checkout_id}: {sorted(wanted)}")
    return spans


def assert_one_tree(system: System, spans: Sequence[Seen]) -> None:
    """One trace, one root, and everything below the span that caused it."""
    assert len({span.trace for span in spans}) == 1
    by_id = {span.id: span for span in spans}
    assert len(by_id) == len(spans)
    (root,) = [span for span in spans if not span.parent]
    assert (root.service, bare(system, root)) == ("shop", "send checkout.requested")
    for span in spans:
        assert span.began <= span.ended
        if span is not root:
            assert_below_its_cause(system, span, by_id[span.parent])


def assert_below_its_cause(system: System, span: Seen, parent: Seen) -> None:
    """An event's spans are below the one that said it; a call is below the one that asked for it."""
    operation, _, event = bare(system, span).partition(" ")
    if not event:
        assert (parent.service, bare(system, parent).split()[0]) == ("payment", "process")
    elif event == "checkout.requested":
        assert parent.service == "shop"
    else:
        assert (operation in ("send", "process"), parent.service) == (True, SAID_BY[event])
        assert bare(system, parent).startswith("process ")


def test_a_captured_checkout_is_one_tree(traced: System, receiver: Receiver) -> None:
    request = traced.request()
    traced.publish(request)
    spans = whole(traced, receiver, request.checkout_id, expected(CAPTURED, ["authorize", "capture"]))
    assert names(traced, spans) == expected(CAPTURED, ["authorize", "capture"])
    assert_one_tree(traced, spans)


def test_the_trace_is_named_beside_its_checkout(traced: System, receiver: Receiver) -> None:
    request = traced.request()
    traced.publish(request)
    spans = whole(traced, receiver, request.checkout_id, expected(CAPTURED, ["authorize", "capture"]))
    assert describe(traced.servers, request.checkout_id)["trace"] == spans[0].trace


def test_a_compensated_checkout_is_one_tree(traced: System, receiver: Receiver) -> None:
    request = traced.request(method="refuses-capture")
    traced.publish(request)
    wanted = expected(COMPENSATED, ["authorize", "capture", "void"])
    spans = whole(traced, receiver, request.checkout_id, wanted)
    assert names(traced, spans) == wanted
    assert_one_tree(traced, spans)


def test_spans_are_named_and_attributed_by_the_conventions(traced: System, receiver: Receiver) -> None:
    request = traced.request()
    traced.publish(request)
    spans = whole(traced, receiver, request.checkout_id, expected(CAPTURED, ["authorize", "capture"]))
    kinds = {"send": "PRODUCER", "process": "CONSUMER", "authorize": "CLIENT", "capture": "CLIENT"}
    assert {bare(traced, span).split()[0]: span.kind for span in spans} == kinds
    (sent,) = [span for span in spans if bare(traced, span) == "send payment.captured"]
    (heard,) = [span for span in spans if bare(traced, span) == "process payment.captured"]
    topic = f"{traced.servers.topic_prefix}payment.captured"
    for span, operation in ((sent, "send"), (heard, "process")):
        assert span.attributes["messaging.system"] == "kafka"
        assert span.attributes["messaging.operation.name"] == operation
        assert span.attributes["messaging.operation.type"] == operation
        assert span.attributes["messaging.destination.name"] == topic
    for name in ("messaging.message.id", "messaging.destination.partition.id", "messaging.kafka.offset"):
        assert sent.attributes[name] == heard.attributes[name]
    assert heard.attributes["messaging.consumer.group.name"] == f"{traced.servers.topic_prefix}checkout"
    assert heard.attributes["checkout.state"] == "captured"


def test_a_batch_is_linked_to_what_was_in_it(traced: System, receiver: Receiver) -> None:
    request = traced.request()
    traced.publish(request)
    spans = whole(traced, receiver, request.checkout_id, expected(CAPTURED, ["authorize", "capture"]))
    (heard,) = [span for span in spans if bare(traced, span) == "process payment.captured"]

    def linked() -> list[Seen]:
        return [span for span in receiver.spans if f"{heard.trace}-{heard.id}" in span.links]

    batches = wait_for(linked, "the span of the batch")
    assert [batch.name for batch in batches] == ["settle batch"]
    assert batches[0].trace != heard.trace


def test_the_time_in_the_retry_table_is_seen(traced: System, receiver: Receiver) -> None:
    traced.faults({"fault": "error:503", "operation": "capture", "times": 2})
    request = traced.request()
    traced.publish(request)
    traced.await_status("checkout", request.checkout_id, "captured")
    traced.faults()

    def named(name: str) -> Any:
        return lambda: [s for s in receiver.of(request.checkout_id) if bare(traced, s) == name]

    (wait,) = wait_for(named("wait warehouse.confirmed"), "the span of the wait")
    assert wait.ended - wait.began >= 250_000_000
    assert wait.attributes["error.type"] == "ProviderUnavailable"
    # a process tells its spans in the order in which they ended, so the failed try is there before the wait
    failed = [span for span in named("process warehouse.confirmed")() if span.error]
    assert [span.attributes["error.type"] for span in failed] == ["ProviderUnavailable"]
    assert {span.trace for span in failed} == {wait.trace}


def test_what_a_timer_causes_stays_in_the_trace(traced: System, receiver: Receiver) -> None:
    # where payment lives, it may say that the deadline has passed before the checkout's own timer does
    traced.fleet.kill("payment")
    request = traced.request(expires_at=datetime.now(UTC) + timedelta(seconds=4))
    traced.publish(request)
    traced.await_status("checkout", request.checkout_id, "failed")
    traced.fleet.start("payment")
    traced.await_status("checkout", request.checkout_id, "compensated")

    def whole_story() -> list[Seen]:
        """Services tell at their own pace, so the last event's span may be there before the timer's."""
        spans = receiver.of(request.checkout_id)
        told = {bare(traced, span) for span in spans}
        wanted = {"timer.deadline_passed", "send checkout.failed", "process payment.voided"}
        return spans if wanted <= told else []

    spans = wait_for(whole_story, "the spans of timer, failure and compensation")
    assert len({span.trace for span in spans}) == 1
    (timer,) = [span for span in spans if span.name.startswith("timer.")]
    (failed,) = [span for span in spans if bare(traced, span) == "send checkout.failed"]
    assert (timer.service, failed.parent) == ("checkout", timer.id)


def test_a_dead_letter_and_its_replay_are_linked_to_the_original(traced: System, receiver: Receiver) -> None:
    traced.faults({"fault": "error:503", "operation": "capture"})
    request = traced.request()
    traced.publish(request)
    traced.await_status("checkout", request.checkout_id, "compensated")
    traced.faults()
    traced.await_letters("payment", request.checkout_id, 1)
    traced.dlq("replay", "--checkout", request.checkout_id, "--yes", "--wait")

    def linked(name: str) -> Any:
        return lambda: [s for s in receiver.of(request.checkout_id) if bare(traced, s) == name and s.links]

    (letter,) = wait_for(linked("send payment.dlq"), "the letter's span")
    (replay,) = wait_for(linked("process warehouse.confirmed"), "the replay's span")
    (confirmed,) = [s for s in receiver.of(request.checkout_id) if bare(traced, s) == "process checkout.confirmed"]
    for span in (letter, replay):
        assert span.parent == ""
        assert span.trace != confirmed.trace
        assert span.links == (f"{confirmed.trace}-{confirmed.id}",)


def test_what_the_shop_does_not_sample_nobody_keeps(traced: System, receiver: Receiver) -> None:
    request = traced.request()
    value = traced.codec.encode(Envelope(request, uuid7(), datetime.now(UTC)))
    parent = f"00-{'c' * 32}-{'d' * 16}-00"
    traced.shop.publish_raw(request.TYPE, request.checkout_id.encode(), value, {"traceparent": parent})
    traced.shop.flush()
    traced.await_status("checkout", request.checkout_id, "captured")
    other = traced.request()
    traced.publish(other)
    whole(traced, receiver, other.checkout_id, expected(CAPTURED, ["authorize", "capture"]))
    assert receiver.trace("c" * 32) == []
    assert receiver.of(request.checkout_id) == []


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(False, id="nobody listens", marks=pytest.mark.slow),
        pytest.param(True, id="somebody listens and never answers"),
    ],
)
def test_a_receiver_that_is_away_holds_up_neither_checkouts_nor_a_stop(
    servers: TestServers, scratch: Path, *, answers: bool
) -> None:
    with socket.socket() as receiver:
        receiver.bind(("127.0.0.1", 0))
        if answers:
            receiver.listen(64)
        endpoint = f"http://127.0.0.1:{receiver.getsockname()[1]}"
        with System(servers, scratch, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as system:
            request = system.request()
            system.publish(request)
            system.await_status("checkout", request.checkout_id, "captured")
            began = time.monotonic()
            system.fleet.stop()
            assert time.monotonic() - began < LEAVES_S
            ends = [system.fleet.log(service).read_text().splitlines()[-1] for service in SERVICES]
            assert all('"gone"' in end for end in ends), ends
