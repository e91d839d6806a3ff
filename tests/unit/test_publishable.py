"""Rows of the outbox that anybody wrote: a record's headers, or a sentence; never another exception."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outbox.add import Record, _row, dump_headers
from outbox.letters import is_letter_topic
from outbox.publishable import headers_from, name_defect, readable_headers, size_defect, topic_defect
from outbox.waiting import parts
from schemas.kafka.record import is_never_packed

TEXT: Final = st.text(st.characters(codec=None), max_size=20)
"""Half surrogate pairs and NULs included, as JSON can spell them."""
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)
PAIRS: Final = st.lists(
    st.tuples(TEXT, st.none() | TEXT | st.fixed_dictionaries({"base64": TEXT}) | st.integers()) | JSON, max_size=5
)
BAD: Final = {
    "an object": '{"a": "b"}',
    "a number": "7",
    "a text": '"ab"',
    "null": "null",
    "a pair that is a text": '["ab"]',
    "a pair of three": '[["a", "b", "c"]]',
    "a pair of one": '[["a"]]',
    "a name that is a number": '[[1, "x"]]',
    "a name with half of a surrogate pair": r'[["\ud800", "x"]]',
    "a name with a NUL": r'[["a\u0000b", "x"]]',
    "a value that is a number": '[["a", 1]]',
    "a value that is true": '[["a", true]]',
    "a value with half of a surrogate pair": r'[["a", "\udfff"]]',
    "a value that is no base64": '[["a", {"base64": "not base64"}]]',
    "base64 that is a number": '[["a", {"base64": 1}]]',
    "an object as a value": '[["a", {"base64": "eA==", "b": 1}]]',
    "a list as a value": '[["a", ["b"]]]',
    "deeper than anybody reads": "[" * 100_000 + "]" * 100_000,
    "a number of ten thousand digits": f'[["a", {"1" * 10_000}]]',
}


@pytest.fixture(scope="module")
def producer() -> Producer:
    """The client as it is; nothing is sent."""
    return Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})


@pytest.mark.parametrize("stored", BAD.values(), ids=BAD.keys())
def test_headers_that_are_none_are_refused_in_a_sentence(stored: str) -> None:
    with pytest.raises(ValueError, match=r"^[ -~]{10,200}$"):
        headers_from(stored)


@given(st.binary() | TEXT.map(lambda text: text.encode("utf-8", "replace")), st.integers(0, 2))
def test_what_the_library_wrote_is_what_is_read(value: bytes, copies: int) -> None:
    headers = [("name", value), ("größe", None), ("", b""), *[("name", value)] * copies]
    assert headers_from(dump_headers(headers)) == headers
    assert readable_headers(dump_headers(headers)) == headers


def test_a_text_with_a_nul_is_not_cut_off() -> None:
    assert headers_from(r'[["a", "x\u0000y"]]') == [("a", b"x\0y")]


@settings(deadline=None)
@given(PAIRS | JSON)
@example([["\ud800", "x"]])
def test_whatever_json_stands_there_the_client_takes_what_is_not_refused(producer: Producer, stored: Any) -> None:
    text = json.dumps(stored)
    readable = readable_headers(text)
    try:
        headers = headers_from(text)
    except ValueError:
        headers = readable
    assert headers == readable
    # half of a surrogate pair as a name would end this process
    producer.produce("topic", b"", headers=[*headers])
    producer.purge()
    producer.poll(0)


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "ä", "a\n", "a" * 250, "a/b", "\ud800", "a\0"])
def test_a_topic_that_kafka_has_not_is_refused(topic: str) -> None:
    assert topic_defect(topic).isascii()
    assert topic_defect(topic)
    with pytest.raises(ValueError, match="no Kafka record"):
        _row(Record(topic, "k", b""))


@settings(deadline=None)
@given(TEXT)
def test_any_topic_that_is_not_refused_is_taken_by_the_client(producer: Producer, topic: str) -> None:
    if topic_defect(topic):
        return
    producer.produce(topic, b"")
    producer.purge()
    producer.poll(0)


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "\0", "ok\udfff"])
def test_a_name_that_no_record_can_have_is_refused_where_it_is_written(name: str) -> None:
    assert name_defect(name)
    with pytest.raises(ValueError, match="header's name"):
        _row(Record("topic", "k", b"", headers=[("fine", b"fine"), (name, b"x")]))


def test_any_other_name_is_written() -> None:
    assert _row(Record("topic", "k", b"", headers=[("größe", b"\xff"), ("", b"\0"), ("\U0001f4b6", None)]))


def test_what_no_record_can_hold_is_known_by_its_size() -> None:
    assert size_defect(100, 100, most=100) == ""
    assert "101" in size_defect(101, 0, most=100)
    # text of control characters is six times as long in JSON, so that it may still fit
    assert size_defect(0, 600, most=100) == ""
    assert "601" in size_defect(0, 601, most=100)


def test_large_rows_are_read_in_parts_of_so_many_bytes_or_alone() -> None:
    assert list(parts({1: 5, 2: 5, 3: 1, 4: 30, 5: 2}, 10)) == [[1, 2], [3], [4], [5]]
    assert list(parts({}, 10)) == []


# which topics a connector leaves out

LETTERS: Final = {
    "checkout.dlq": True,
    "p.payment.dlq": True,
    "p.checkout.retry": True,
    "dlq.ledger": True,
    "p.dlq.audit": True,
    "checkout.dlqs": False,
    "dlq": False,
    "retry": False,
    "xdlq.ledger": False,
    "payment.captured": False,
}


@pytest.mark.parametrize(("topic", "is_one"), LETTERS.items(), ids=LETTERS.keys())
def test_a_topic_of_letters_is_one_for_relay_and_readers(topic: str, is_one: bool) -> None:
    assert is_letter_topic(topic) == is_one
    assert is_never_packed(topic) == is_one


@pytest.mark.parametrize(("topic", "is_one"), LETTERS.items(), ids=LETTERS.keys())
def test_a_connector_leaves_out_exactly_the_topics_of_letters(topic: str, is_one: bool) -> None:
    lines = Path("compose/debezium/outbox.properties").read_text(encoding="utf-8").splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    # in a file of properties a backslash is written twice
    pattern = settings["predicates.letters.pattern"].replace(r"\\", "\\")
    assert bool(re.fullmatch(pattern, topic)) == is_one
