"""The observer beside the running system: timelines, the overview, the conservation monitor, and what it outlives."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer

from schemas.choreography import SERVICES
from schemas.events import CheckoutRequested, PaymentCaptured
from tests.as_sent import store_as_sent
from tests.observing import Worker, batch, checked, publish_to, worker, write
from tests.servers import TestServers
from tests.system import CAPTURED, System, wait_for

HAPPY: Final = list(CAPTURED)


@pytest.fixture(scope="module")
def observer(system: System) -> Iterator[Worker]:
    """One worker beside the system."""
    with worker(system) as made:
        yield made


def ended(system: System, observer: Worker) -> tuple[CheckoutRequested, CheckoutRequested, CheckoutRequested]:
    """A captured, a declined and a refused checkout, as the observer has seen them to their ends."""
    captured, declined = system.request(), system.request(method="declines-lost_card")
    refused = system.request(total_minor=1)
    system.publish(captured, declined, refused)
    observer.await_state(captured.checkout_id, "captured")
    observer.await_state(declined.checkout_id, "compensated")
    observer.await_state(refused.checkout_id, "refused")
    return captured, declined, refused


def test_checkouts_are_seen_as_timelines_and_in_the_overview(system: System, observer: Worker) -> None:
    before = observer.live()["states"]
    captured, declined, _ = ended(system, observer)
    view = observer.checkout(captured.checkout_id)
    assert [event["event"] for event in view["events"]] == HAPPY
    assert {event["said_by"] for event in view["events"]} == {"shop", *SERVICES}
    assert view["events"][6]["facts"]["amount_minor"] == 2500
    assert view["events"][6]["trace_id"]
    assert view["events"][6]["topic"] == f"{system.servers.topic_prefix}payment.captured"
    assert (view["breaches"], view["waiting"]) == ([], [])
    assert observer.checkout(declined.checkout_id)["code"] == "CARD_BLOCKED"
    live = observer.live()
    for state in ("captured", "compensated", "refused"):
        assert live["states"][state] == before.get(state, 0) + 1
        assert observer.metric("checkouts", state=state) == live["states"][state]
    assert "CARD_BLOCKED" in {rate["code"] for rate in live["rates"] if rate["outcome"] == "failed"}
    assert observer.metric("outcomes_rate", outcome="failed", code="CARD_BLOCKED") > 0
    assert {step["step"] for step in live["steps"]} >= {"reserve", "authorize", "capture", "undo", "release"}
    assert live["shows"] == "all 3 partitions, 1 worker"


def test_pages_are_for_people_and_for_programs(system: System, observer: Worker) -> None:
    captured, _, _ = ended(system, observer)
    status, page = observer.ask(f"/checkouts/{captured.checkout_id}", "text/html,application/xhtml+xml,*/*")
    assert status == 200
    assert "payment.captured" in page
    page_of_captured = page
    assert observer.ask(f"/checkouts/{captured.checkout_id}?format=json", "text/html")[1].startswith("{")
    status, page = observer.ask("/checkouts/nobody-knows", "text/html")
    assert (status, "have said nothing about a checkout nobody-knows" in page) == (404, True)
    assert observer.ask("/checkouts/%3Cscript%3E", "text/html")[0] == 404
    assert "<html" in observer.ask("/live", "text/html")[1]
    assert observer.ask(f"/live?id={captured.checkout_id}", "text/html") == (200, page_of_captured)
    assert observer.ask("/healthz")[0] == 200
    assert observer.ask("/router/")[0] == 404


def test_a_second_capture_is_a_breach_that_names_its_event(system: System, observer: Worker) -> None:
    captured, _, _ = ended(system, observer)
    before = observer.metric("breaches", rule="captured_once")
    forged = PaymentCaptured(checkout_id=captured.checkout_id, payment_id="forged", amount_minor=2500, currency="EUR")
    system.publish(forged)
    [breach] = wait_for(lambda: observer.checkout(captured.checkout_id)["breaches"], "the breach to be seen")
    view = observer.checkout(captured.checkout_id)
    [event] = [each for each in view["events"] if each["facts"].get("payment_id") == "forged"]
    assert (breach["rule"], breach["event"]) == ("captured_once", "payment.captured")
    assert {name: breach[name] for name in ("event_id", "topic", "partition", "offset")} == {
        name: event[name] for name in ("event_id", "topic", "partition", "offset")
    }
    assert breach["checkout_id"] in {each["checkout_id"] for each in observer.live()["breaches"]}
    assert observer.metric("breaches", rule="captured_once") == before + 1
    wait_for(lambda: breach["event_id"] in observer.log.read_text(), "the breach to be logged")
    [line] = [line for line in observer.log.read_text().splitlines() if breach["event_id"] in line]
    assert '"level": "critical"' in line


def test_a_capture_that_nobody_confirmed_is_a_breach_after_the_grace_time(system: System, observer: Worker) -> None:
    forged = PaymentCaptured(checkout_id="forged-1", payment_id="forged", amount_minor=99, currency="EUR")
    system.publish(forged)
    view = wait_for(lambda: observer.checkout("forged-1"), "the forged event to be seen")
    assert view["state"] == "unknown"

    def broken() -> Any:
        rows = observer.checkout("forged-1")["breaches"]
        return rows if len(rows) == 2 else None

    rows = wait_for(broken, "the breaches to be seen")
    assert {row["what"] for row in rows} == {
        "captured without warehouse.confirmed",
        "captured without payment.authorized",
    }
    assert observer.metric("breaches", rule="captured_with_grounds") == 1


def test_what_can_not_be_decoded_is_left_behind(system: System, observer: Worker) -> None:
    producer, topic = Producer({"bootstrap.servers": system.env["KAFKA_BOOTSTRAP_SERVERS"]}), "payment.captured"
    for key, value in ((b"junk", b"junk"), (b"junk", b"\x01\x00\x00\x00\x01junk"), (None, None), (b"\xff", b"")):
        producer.produce(f"{system.servers.topic_prefix}{topic}", value, key)
    producer.flush(10)
    wait_for(lambda: observer.metric("undecodable_total", event=topic) == 4, "the junk to be counted")
    ended(system, observer)


def test_what_no_client_should_write_is_counted_and_passed_over(system: System, observer: Worker) -> None:
    topic, before = "checkout.completed", observer.metric("undecodable_total", event="checkout.completed")
    odd_name = batch([(b"n-1", b"x", [("XY", b"")])]).replace(b"XY", b"\xff\xfe")
    zeros = [batch([(b"n-1", bytes(90 * 2**20), [])], codec) for codec in (1, 3, 4)]
    store_as_sent(system.servers.kafka_bootstrap_servers, f"{system.servers.topic_prefix}{topic}")
    for data in (checked(odd_name), *zeros):
        for partition in range(3):
            write(system, f"{system.servers.topic_prefix}{topic}", partition, data)

    def counted() -> bool:
        return observer.metric("undecodable_total", event=topic) == before + 12

    wait_for(counted, "each to be counted")
    ended(system, observer)
    assert observer.process.poll() is None


def end_with_a_mark(system: System, topic: str) -> None:
    """The last offset of every partition is a transaction's mark, which is no record."""
    servers = {"bootstrap.servers": system.env["KAFKA_BOOTSTRAP_SERVERS"]}
    producer = Producer({**servers, "transactional.id": f"{topic}-test"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for partition in range(3):
        producer.produce(topic, b"garbage", b"k-0", partition=partition)
    producer.commit_transaction(30)


GARBAGE: Final = (b"", b"\xff\xfe", b"[" * 5000, b"{}", b"null", b'["x",false,[]]', b'["k-1",false,[[1,2,3,4,5,6,7]]]')


@pytest.mark.slow
def test_garbage_on_its_own_topics_is_nothing_known_and_replaced_by_what_is_heard(system: System) -> None:
    producer = Producer({"bootstrap.servers": system.env["KAFKA_BOOTSTRAP_SERVERS"], "partitioner": "murmur2_random"})
    app = f"{system.servers.topic_prefix}observer-v71"
    with worker(system, OBSERVER_VERSION="71") as first:
        captured, _, _ = ended(system, first)
        first.stop()
    for number, value in enumerate(GARBAGE):
        for topic in (f"{app}-checkouts-changelog", f"{app}-elsewhere"):
            for key in (captured.checkout_id.encode(), f"k-{number}".encode(), b"\xff\xfe"):
                producer.produce(topic, value, key)
    assert producer.flush(10) == 0
    for partition in range(3):
        write(system, f"{app}-checkouts-changelog", partition, batch([(b"k-0", bytes(90 * 2**20), [])], codec=4))
    end_with_a_mark(system, f"{app}-checkouts-changelog")
    with worker(system, OBSERVER_VERSION="71") as again:
        assert again.checkout(captured.checkout_id) is None
        wait_for(lambda: again.metric("undecodable_total", event="elsewhere") == 3 * len(GARBAGE), "all to be counted")
        paths = [f"/checkouts/{captured.checkout_id}", *(f"/checkouts/k-{number}" for number in range(len(GARBAGE)))]
        for path in (
            "/live",
            "/metrics",
            "/readyz",
            *paths,
            "/live?format=html",
            "/checkouts/%ff",
            "/checkouts/4242424242424242",
        ):
            assert again.ask(path)[0] == (404 if "/checkouts/" in path else 200), path
        assert "4242424242424242" not in again.ask("/checkouts/4242424242424242")[1]
        publish_to(0, system, captured)
        again.await_state(captured.checkout_id, "requested")
        ended(system, again)


def test_a_request_that_lies_in_another_partition_is_part_of_its_timeline(system: System, observer: Worker) -> None:
    """A shop's own client may hash keys another way."""
    requests = [system.request() for _ in range(6)]
    publish_to(0, system, *requests)
    for request in requests:
        observer.await_state(request.checkout_id, "captured")
    wait_for(lambda: all(said(observer, request.checkout_id) == HAPPY for request in requests), "all to be heard")
    for request in requests:
        view = observer.checkout(request.checkout_id)
        assert view["events"][0]["partition"] == 0
        assert view["breaches"] == []


def said(observer: Worker, checkout_id: str) -> list[str]:
    view = observer.checkout(checkout_id)
    return [event["event"] for event in view["events"]] if view else []


def views(observer: Worker, ids: list[str]) -> dict[str, Any]:
    """The timelines, without who holds them."""
    found = {checkout_id: observer.checkout(checkout_id) for checkout_id in ids}
    assert all(found.values())
    return {checkout_id: {n: v for n, v in view.items() if n != "held_by"} for checkout_id, view in found.items()}


def shows(observer: Worker, what: str) -> bool:
    return bool(observer.live()["shows"] == what)


def counts(observer: Worker, states: Any) -> bool:
    return bool(observer.live()["states"] == states)


def ids_of(live: Any) -> list[str]:
    return [row["checkout_id"] for row in live["recent"]]


@pytest.mark.slow
def test_a_restart_keeps_the_table_and_a_reset_builds_the_same(system: System) -> None:
    with worker(system, OBSERVER_VERSION="11") as first:
        ended(system, first)
        wait_for(lambda: first.live()["recent"], "checkouts")
        ids, states = ids_of(first.live()), first.live()["states"]
        before = views(first, ids)
        first.stop()
    with worker(system, OBSERVER_VERSION="11") as again:
        assert views(again, ids) == before
        assert again.live()["states"] == states
        assert again.heard() == 0, "it read the topics from their beginning"
        again.stop()
    with worker(system, OBSERVER_VERSION="12") as reset:
        assert views(reset, ids) == before
        assert reset.live()["states"] == states
        assert reset.heard() > 0


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(system: System) -> None:
    with worker(system, OBSERVER_VERSION="21") as first:
        requests = [system.request() for _ in range(100)]
        system.publish(*requests[:50])
        wait_for(lambda: first.live()["states"].get("captured", 0) > 5, "some checkouts to be captured")
        first.end()
    system.publish(*requests[50:])
    with worker(system, OBSERVER_VERSION="21") as again:
        for request in requests:
            view = again.await_state(request.checkout_id, "captured")
            assert [event["event"] for event in view["events"]] == HAPPY


@pytest.mark.slow
def test_two_workers_share_the_checkouts_and_each_shows_all(system: System) -> None:
    with worker(system, OBSERVER_VERSION="31") as first:
        for _ in range(4):
            ended(system, first)
        ids, states = ids_of(first.live()), first.live()["states"]
        before = views(first, ids)
        with worker(system, OBSERVER_VERSION="31") as second:
            for each in (first, second):
                wait_for(partial(shows, each, "all 3 partitions, 2 workers"), "the work to be shared")
            held = [each.checkout(checkout_id)["held_by"]["url"] for each in (first, second) for checkout_id in ids]
            assert set(held) == {first.url, second.url}
            for each in (first, second):
                assert views(each, ids) == before
                wait_for(partial(counts, each, states), "what the first gave away not to be counted there any more")
            elsewhere = [system.request() for _ in range(6)]
            publish_to(0, system, *elsewhere)
            for each, request in product((first, second), elsewhere):
                whole = each.await_state(request.checkout_id, "captured")
                assert [event["event"] for event in whole["events"]] == HAPPY
            states = first.live()["states"]
            for state, count in states.items():
                assert sum(each.metric("checkouts", state=state) for each in (first, second)) == count
            first.stop()
            wait_for(partial(shows, second, "all 3 partitions, 1 worker"), "the other to take over")
            wait_for(lambda: second.live()["states"] == states, "the other to have read the table")
            assert views(second, ids) == before


@pytest.mark.slow
def test_without_the_registry_nothing_is_lost_and_it_can_still_be_stopped(system: System, observer: Worker) -> None:
    captured, declined, refused = ended(system, observer)
    away = Worker(system, OBSERVER_VERSION="41", SCHEMA_REGISTRY_URL="http://127.0.0.1:9/")
    try:
        wait_for(lambda: "waiting for the schema registry" in away.log.read_text(), "the registry to be missed")
        away.stop()
    finally:
        away.end()
    with worker(system, OBSERVER_VERSION="41") as back:
        for request, state in ((captured, "captured"), (declined, "compensated"), (refused, "refused")):
            assert back.await_state(request.checkout_id, state)["breaches"] == []
        # what lies in another partition is passed on, and comes a moment later
        wait_for(lambda: back.heard() == observer.heard(), "all that was waiting for the registry to be heard")


@pytest.mark.slow
def test_a_step_past_its_deadline_and_a_stuck_checkout_are_seen_until_it_goes_on(system: System) -> None:
    limits = {"OBSERVER_STUCK_S": "1", "OBSERVER_STEP_DEADLINES": "authorize=0.5", "OBSERVER_GRACE_S": "0.5"}
    with worker(system, OBSERVER_VERSION="51", **limits) as observer:
        request = system.request(method="slower")
        system.publish(request)

        def late() -> Any:
            live = observer.live()
            stuck = {row["checkout_id"] for row in live["stuck"]}
            rules = {row["rule"] for row in live["breaches"] if row["checkout_id"] == request.checkout_id}
            return rules if request.checkout_id in stuck and rules else None

        assert wait_for(late, "it to be late") == {"steps_in_time"}
        assert observer.metric("stuck_checkouts", state="accepted") == 1
        assert observer.await_state(request.checkout_id, "captured")["breaches"] == []
        assert observer.metric("stuck_checkouts", state="accepted") == 0


@pytest.mark.slow
def test_a_broker_that_is_killed_is_waited_for(system: System, servers: TestServers) -> None:
    if servers.stack is None:
        pytest.skip("the servers are not ours to stop: they come from the environment or from containers")
    with worker(system, OBSERVER_VERSION="61") as observer:
        ended(system, observer)
        servers.stack.stop_server("kafka", kill=True)
        assert observer.ask("/healthz")[0] == 200
        servers.stack.start_server("kafka")
        for _ in range(2):
            ended(system, observer)
        assert observer.process.poll() is None
        servers.stack.stop_server("kafka", kill=True)
        try:
            observer.stop()
        finally:
            servers.stack.start_server("kafka")
    with worker(system, OBSERVER_VERSION="61") as again:
        ended(system, again)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
def test_what_is_said_while_a_worker_starts_again_is_heard(
    servers: TestServers, scratch: Path, *, killed: bool
) -> None:
    """Partitions move while events come: twice, where a killed worker is still in the group."""
    with System(servers, scratch) as own:
        for _ in range(6):
            again, said = Worker(own), []
            for _ in range(6):
                request = own.request(method="declines-lost_card")
                own.publish(request)
                own.await_status("checkout", request.checkout_id, "compensated")
                said.append(request.checkout_id)
            again.await_ready()
            for checkout_id in said:
                again.await_state(checkout_id, "compensated")
            (again.end if killed else again.stop)()
