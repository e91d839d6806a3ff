"""Letters as they are read from Kafka, each with its state."""

import json
import time
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from dlq.contents import SOME, SOME_BYTES, GoneError, parts, whole, whole_letters
from dlq.dialects import NAMES
from dlq.filters import Filter, search_for
from dlq.ledger import State
from dlq.letter import Replay, headers_of
from dlq.letters import DeadLetter, letter_in
from dlq.reading import read_ledger, read_letters, settled
from dlq.settings import DlqSettings
from dlq.topics import NoTopicError, dump
from schemas.kafka.record import KafkaRecord
from tests.as_sent import store_as_sent
from tests.dlq.making import NOW, enter, letter, many, produce, put

TEN_THOUSAND_S = 2.0


def only(letters: list[DeadLetter]) -> DeadLetter:
    assert len(letters) == 1
    return letters[0]


def test_a_letter_is_read_as_it_was_written(settings: DlqSettings) -> None:
    written = letter(
        value=b"\x00\xff", headers=[("ce_id", b"1"), ("odd", b"\xff\x00"), ("odd", None)], prefix=settings.topic_prefix
    )
    put(settings, written)
    listed = only(read_letters(settings))
    assert (listed.key, listed.value, listed.headers, listed.value_bytes) == (b"c-1", None, [], 2)
    found = whole(settings, listed)
    assert listed.info == found.info | {"dlq-error-stack": ""}
    assert found.place[0] == f"{settings.topic_prefix}payment.dlq"
    assert (found.key, found.value) == (b"c-1", b"\x00\xff")
    assert found.headers[:3] == [("ce_id", b"1"), ("odd", b"\xff\x00"), ("odd", None)]
    said = {name: text for name, text in headers_of(written).items() if name.startswith("dlq-")}
    assert found.info == dict.fromkeys(NAMES, "") | said
    assert (found.id, found.service, found.dialect) == (written.id, "payment", "ours")
    assert (found.event_type, found.checkout_id) == ("warehouse.reserved", "c-1")
    assert (found.first_failed_at, found.failed_at) == (NOW, NOW)


def test_our_own_header_names_are_all_known() -> None:
    assert set(NAMES) == {name for name in headers_of(letter()) if name.startswith("dlq-")}


def test_a_letter_without_an_entry_is_open_and_one_with_entries_is_what_the_newest_says(settings: DlqSettings) -> None:
    untouched, touched = letter(), letter()
    put(settings, untouched, touched)
    enter(settings, touched, State.REPLAYING, replay_count=1)
    enter(settings, touched, State.RESOLVED, replay_count=1)
    states = {found.id: (found.state, found.unresolved) for found in read_letters(settings)}
    assert states == {untouched.id: (State.OPEN, True), touched.id: (State.RESOLVED, False)}


def test_a_letter_that_failed_again_is_one_letter_with_its_last_failure(settings: DlqSettings) -> None:
    first = letter("one", first_failed=NOW - timedelta(hours=2), failed=NOW - timedelta(hours=2))
    again = letter("one", first_failed=NOW - timedelta(hours=2), failed=NOW, replay=Replay("r-1", 1))
    put(settings, first, again)
    put(settings, first)  # an old export that was put back
    found = only(read_letters(settings))
    assert (found.failed_at, found.replay_count) == (NOW, 1)


def test_the_same_id_of_two_services_is_two_letters(settings: DlqSettings) -> None:
    put(settings, letter("same", service="payment"), letter("same", service="warehouse"))
    assert {found.ledger_key for found in read_letters(settings)} == {"payment/same", "warehouse/same"}


def test_letters_come_in_the_order_of_their_first_failures(settings: DlqSettings) -> None:
    hours = [3, 1, 2, 5, 4]
    put(settings, *(letter(str(h), checkout=f"c-{h}", failed=NOW - timedelta(hours=h)) for h in hours))
    assert [found.id for found in read_letters(settings)] == ["5", "4", "3", "2", "1"]


def test_only_the_services_that_are_asked_for_are_read(settings: DlqSettings) -> None:
    put(settings, letter("p"), letter("w", service="warehouse"))
    assert [found.id for found in read_letters(settings, ["warehouse"])] == ["w"]


def test_a_key_that_is_no_text_is_no_checkout(settings: DlqSettings) -> None:
    put(settings, letter("bytes", key=b"\xff"), letter("none", key=None))
    assert {(found.id, found.key, found.checkout_id) for found in read_letters(settings)} == {
        ("bytes", b"\xff", ""),
        ("none", None, ""),
    }


def test_what_the_ledger_says_in_an_unknown_way_is_counted_and_left_out(settings: DlqSettings) -> None:
    enter(settings, letter("good"), State.DISCARDED)
    topic = f"{settings.topic_prefix}dlq.ledger"
    values = (b"no json", b"[1]", b'{"state": "gone"}', b'{"state": "open"}', b"\xff")
    produce(settings, ({"topic": topic, "key": str(n).encode(), "value": value} for n, value in enumerate(values)))
    said: list[str] = []
    assert list(read_ledger(settings, warn=said.append)) == ["payment/good"]
    assert said == ["5 records of dlq.ledger can't be read and were left out"]


def test_a_tombstone_takes_an_entry_away(settings: DlqSettings) -> None:
    entry = enter(settings, letter("gone"), State.DISCARDED)
    produce(settings, [{"topic": f"{settings.topic_prefix}dlq.ledger", "key": entry.key.encode(), "value": None}])
    assert read_ledger(settings) == {}


def test_a_wrong_prefix_is_an_error_and_not_an_empty_answer(settings: DlqSettings) -> None:
    wrong = settings.model_copy(update={"topic_prefix": "nobody."})
    with pytest.raises(NoTopicError, match=r"nobody\.payment\.dlq.*TOPIC_PREFIX"):
        read_letters(wrong)


def test_ten_thousand_letters_are_read_in_two_seconds_of_processor_time(settings: DlqSettings) -> None:
    put(settings, *many(10_000))
    begin = time.process_time()
    assert len(read_letters(settings)) == 10_000
    assert time.process_time() - begin < TEN_THOUSAND_S


# what letters hold


def test_values_stay_on_their_topic_while_letters_are_read(settings: DlqSettings) -> None:
    put(settings, *(letter(f"l-{n}", checkout=f"c-{n}", value=bytes([n]) * 900_000) for n in range(60)))
    tracemalloc.start()
    found = read_letters(settings)
    listed, peak = tracemalloc.get_traced_memory()
    assert {each.value_bytes for each in found} == {900_000}
    assert (listed < 1_000_000, peak < 30_000_000) == (True, True)
    tracemalloc.reset_peak()
    for each in whole_letters(settings, found):
        assert each.value == bytes([int(each.id[2:])]) * 900_000
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_what_is_looked_for_in_values_is_looked_for_while_they_are_there(settings: DlqSettings) -> None:
    put(settings, letter("a", value=b"needle 1"), letter("b", value=b"hay"), letter("c", headers=[("h", b"Needle")]))
    found = read_letters(settings, search=search_for(["needle", "n.*1"]))
    assert {each.id: sorted(each.found) for each in found} == {"a": ["n.*1", "needle"], "b": [], "c": ["needle"]}
    assert [each.id for each in found if Filter(match=["needle", "n.*1"]).matches(each)] == ["a"]


def test_parts_are_bounded_by_count_and_by_bytes() -> None:
    (one,) = settled([letter_in(KafkaRecord("payment.dlq", 0, 0, NOW, b"k", b"v", []))], {})
    large = replace(one, size_bytes=SOME_BYTES // 2)
    assert [len(each) for each in parts([one] * (SOME + 1))] == [SOME, 1]
    assert [len(each) for each in parts([large] * 5)] == [2, 2, 1]
    assert [len(each) for each in parts([replace(one, size_bytes=3 * SOME_BYTES)] * 2)] == [1, 1]


def test_a_letter_that_is_gone_meanwhile_is_named(settings: DlqSettings) -> None:
    put(settings, letter("here"))
    found = only(read_letters(settings))
    gone = replace(found, place=(found.place[0], found.place[1], found.place[2] + 5))
    with pytest.raises(GoneError, match=r"letter here lies no longer at .*payment\.dlq/\d/\d"):
        whole(settings, gone)


def test_an_entry_under_the_key_of_another_letter_hides_nothing(settings: DlqSettings) -> None:
    put(settings, letter("here"))
    topic = f"{settings.topic_prefix}dlq.ledger"
    other = {"service": "warehouse", "letter": "x", "state": "resolved", "at": "2026-01-01T00:00:00Z", "by": "x"}
    produce(settings, [{"topic": topic, "key": b"payment/here", "value": json.dumps(other).encode()}])
    said: list[str] = []
    assert only(read_letters(settings, warn=said.append)).state is State.OPEN
    assert said == ["1 records of dlq.ledger can't be read and were left out"]


def test_a_record_that_cannot_be_unpacked_hides_no_other(settings: DlqSettings) -> None:
    put(settings, letter("before"))
    topic = f"{settings.topic_prefix}payment.dlq"
    store_as_sent(settings.kafka_bootstrap_servers, topic)
    bomb = Producer({**settings.kafka, "compression.type": "zstd", "message.max.bytes": 200_000_000})
    for partition in range(2):
        bomb.produce(topic, bytes(90_000_000), b"zeros", partition=partition)
    assert bomb.flush(30) == 0
    put(settings, letter("after", checkout="c-1"), letter("beside", checkout="c-2"))
    said: list[str] = []
    assert {each.id for each in read_letters(settings, warn=said.append)} == {"before", "after", "beside"}
    assert said[0].startswith(f"2 records can't be decompressed and were left out, the first at {topic}/")


# dump


def values(settings: DlqSettings, since: datetime | None = None) -> list[bytes]:
    topic = f"{settings.topic_prefix}payment.dlq"
    return sorted(m.value() or b"" for m in dump(settings.kafka_bootstrap_servers, [topic], since))


def transaction(settings: DlqSettings, value: bytes, *, commit: bool) -> None:
    producer = Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "transactional.id": f"{settings.topic_prefix}t"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(f"{settings.topic_prefix}payment.dlq", value, b"c-1")
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def test_a_topic_that_ends_with_a_committed_transaction_is_read_to_its_end(settings: DlqSettings) -> None:
    transaction(settings, b"said", commit=True)
    assert values(settings) == [b"said"]


def test_a_topic_that_ends_with_an_aborted_transaction_is_read_to_its_end(settings: DlqSettings) -> None:
    transaction(settings, b"said", commit=True)
    transaction(settings, b"unsaid", commit=False)
    assert values(settings) == [b"said"]


def test_a_topic_with_nothing_but_an_aborted_transaction_is_empty(settings: DlqSettings) -> None:
    transaction(settings, b"unsaid", commit=False)
    assert values(settings) == []


def test_since_leaves_out_what_is_older(settings: DlqSettings) -> None:
    topic, at = f"{settings.topic_prefix}payment.dlq", int(NOW.timestamp() * 1000)
    ages = {b"old": 7200, b"at": 3600, b"new": 60}
    produce(
        settings,
        ({"topic": topic, "value": v, "key": b"k", "timestamp": at - age * 1000} for v, age in ages.items()),
    )
    assert values(settings, NOW - timedelta(hours=1)) == [b"at", b"new"]
    assert values(settings, NOW + timedelta(days=1)) == []
    assert values(settings, datetime(1900, 1, 1, tzinfo=UTC)) == [b"at", b"new", b"old"]


def test_reading_leaves_no_trace_in_the_broker(settings: DlqSettings) -> None:
    put(settings, letter())
    read_letters(settings)
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    groups = admin.list_consumer_groups(request_timeout=30).result().valid
    assert "dlq-reader" not in {group.group_id for group in groups}


def test_progress_ends_with_everything_passed(settings: DlqSettings) -> None:
    put(settings, *(letter(checkout=f"c-{n}") for n in range(50)))
    told: list[tuple[int, int]] = []
    read_letters(settings, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (50, 50)
