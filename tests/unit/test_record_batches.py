"""Record batches are read as the client library reads them, and whatever the bytes are nothing else is raised."""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from schemas.kafka.batches import BadBatchError, Batch, batches, is_commit, records
from schemas.kafka.record import BAD_NAME, EPOCH, Header, KafkaRecord

PLAIN, GZIP, SNAPPY, LZ4, ZSTD = range(5)
TRANSACTIONAL, CONTROL, APPEND_TIME = 0x10, 0x20, 0x08
HEAD = struct.Struct(">qiibIhiqqqhii")
Content = tuple[bytes | None, bytes | None, list[Header]]

texts = st.text().map(lambda text: text.replace("\0", "0"))
contents = st.lists(
    st.tuples(
        st.none() | st.binary(),
        st.none() | st.binary(),
        st.lists(st.tuples(texts, st.none() | st.binary()), max_size=3),
    ),
    min_size=1,
    max_size=5,
)


def written(found: list[Content], codec: int = PLAIN, *, base: int = 0) -> bytes:
    """A batch as another client library writes it."""
    build: Any = DefaultRecordBatchBuilder
    batch = build(2, codec, False, 7, 0, 0, 1024 * 1024)
    for n, (key, value, headers) in enumerate(found):
        assert batch.append(n, 1_700_000_000_000 + n, key, value, headers) is not None
    return struct.pack(">q", base) + bytes(batch.build())[8:]


def stored(body: bytes, *, base: int = 0, count: int = 1, attributes: int = 0, **head: int) -> bytes:
    """A batch with any head: also length, magic, last, first_ms, max_ms, producer."""
    length, magic, last = head.get("length", 49 + len(body)), head.get("magic", 2), head.get("last", count - 1)
    times = head.get("first_ms", 0), head.get("max_ms", 0)
    return HEAD.pack(base, length, 0, magic, 0, attributes, last, *times, head.get("producer", 7), 0, 0, count) + body


def varint(number: int) -> bytes:
    number, out = (number << 1) ^ (number >> 63), bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def sized(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def a_record(
    key: bytes | None = b"k", value: bytes | None = b"v", *, headers: tuple[tuple[bytes, bytes | None], ...] = (),
    milliseconds: int = 0, offset: int = 0,
) -> bytes:  # fmt: skip
    body = b"\0" + varint(milliseconds) + varint(offset) + sized(key) + sized(value) + varint(len(headers))
    return sized(body + b"".join(sized(name) + sized(value) for name, value in headers))


def a_marker(kind: int, *, base: int = 0, producer: int = 7) -> bytes:
    body = a_record(struct.pack(">hh", 0, kind), b"\0" * 6)
    return stored(body, base=base, attributes=TRANSACTIONAL | CONTROL, producer=producer)


def read(data: bytes, **how: Any) -> list[KafkaRecord]:
    return [record for batch in batches(data) for record in records(batch, "t", 3, **how)]


@pytest.mark.parametrize("codec", [PLAIN, GZIP, SNAPPY, LZ4, ZSTD])
@given(found=contents, base=st.integers(0, 2**40))
def test_what_another_client_writes_is_read_as_it_was_written(codec: int, found: list[Content], base: int) -> None:
    seen = read(written(found, codec, base=base))
    assert [(record.key, record.value, record.headers) for record in seen] == found
    assert [record.place for record in seen] == [("t", 3, base + n) for n in range(len(found))]
    assert seen[0].timestamp == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert not any(record.defect for record in seen)


def exhausted(data: bytes) -> Iterator[Batch | KafkaRecord]:
    """Everything that reading these bytes gives, until the error that is allowed."""
    try:
        for batch in batches(data):
            yield batch
            if batch.is_control:
                is_commit(batch)
            try:
                yield from records(batch, "t", 0, limit=100_000)
            except BadBatchError:
                continue
    except BadBatchError:
        return


@given(st.binary(max_size=300))
def test_any_bytes_are_batches_or_a_bad_batch(data: bytes) -> None:
    list(exhausted(data))


@given(
    st.binary(max_size=200),
    st.integers(0, 0xFF),
    st.integers(0, 2**31 - 1) | st.integers(0, 5),
    st.integers(-(2**63), 2**63 - 1),
)
def test_any_body_under_a_sound_head_gives_records_or_a_bad_batch(
    body: bytes, attributes: int, count: int, first_ms: int
) -> None:
    data = stored(body, count=count, attributes=attributes, first_ms=first_ms, last=0)
    assert len(list(exhausted(data))) <= 1 + max(len(body), 0 if attributes & 7 == PLAIN else 100_000)


@given(contents, st.integers(PLAIN, ZSTD), st.data())
def test_a_batch_with_any_byte_changed_gives_records_or_a_bad_batch(
    found: list[Content], codec: int, data: st.DataObject
) -> None:
    changed = bytearray(written(found, codec))
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] = data.draw(st.integers(0, 255))
    list(exhausted(bytes(changed)))


@given(contents, st.integers(1, 60))
def test_a_last_batch_that_is_cut_off_is_left_out(found: list[Content], cut: int) -> None:
    whole = written(found)
    assert len(list(batches(whole + whole[:-cut]))) == 1


@pytest.mark.parametrize(
    "bad", [stored(b"", magic=1), stored(b"", length=3), stored(b"", last=-1), stored(b"", count=-1)]
)
def test_bytes_that_are_no_batch_are_told_after_those_before_them(bad: bytes) -> None:
    found = batches(written([(b"k", b"v", [])]) + bad)
    assert next(found).count == 1
    with pytest.raises(BadBatchError):
        next(found)


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
def test_a_batch_that_unpacks_to_more_than_the_limit_is_not_unpacked(codec: int) -> None:
    library: Any = {GZIP: cramjam.gzip, LZ4: cramjam.lz4, ZSTD: cramjam.zstd}[codec]
    data = stored(bytes(library.compress(a_record(value=bytes(1000)))), attributes=codec)
    assert read(data, limit=2000)[0].value == bytes(1000)
    with pytest.raises(BadBatchError, match="can't be unpacked into 900 bytes"):
        read(data, limit=900)


def test_snappy_in_one_block_is_unpacked_and_limited_too() -> None:
    data = stored(bytes(cramjam.snappy.compress_raw(a_record(value=bytes(1000)))), attributes=SNAPPY)
    assert read(data, limit=2000)[0].value == bytes(1000)
    with pytest.raises(BadBatchError):
        read(data, limit=900)


def test_a_name_that_is_no_utf_8_is_the_defect_of_its_record_only() -> None:
    body = a_record(headers=((b"a", b"1"), (b"\xff", b"2"))) + a_record(headers=((b"a\0b", None),), offset=1)
    bad, good = read(stored(body, count=2))
    assert (bad.headers, bad.defect, bad.value) == ([], BAD_NAME, b"v")
    assert (good.headers, good.defect) == ([("a", None)], "")


def test_the_broker_s_time_goes_before_the_producer_s_where_the_topic_says_so() -> None:
    body = a_record(milliseconds=5)
    assert read(stored(body, first_ms=1000, max_ms=9000))[0].timestamp.timestamp() == 1.005
    assert read(stored(body, first_ms=1000, max_ms=9000, attributes=APPEND_TIME))[0].timestamp.timestamp() == 9


def test_a_time_that_is_no_date_is_1970() -> None:
    body = a_record(milliseconds=2**62)
    assert read(stored(body, first_ms=2**62))[0].timestamp == EPOCH


def test_packed_headers_are_unpacked_where_a_connector_publishes() -> None:
    data = stored(a_record(headers=((b"outbox-headers", b'[["a", "1"]]'),)))
    assert read(data)[0].headers == [("outbox-headers", b'[["a", "1"]]')]
    assert read(data, unpack=True)[0].headers == [("a", b"1")]


def test_markers_say_how_a_transaction_ended() -> None:
    commit, abort = batches(a_marker(1) + a_marker(0))
    assert commit.is_control
    assert is_commit(commit)
    assert not is_commit(abort)


def test_a_marker_that_says_nothing_is_a_bad_batch() -> None:
    for empty in (stored(b"", count=0, attributes=CONTROL), stored(a_record(b"\0"), attributes=CONTROL)):
        with pytest.raises(BadBatchError):
            is_commit(next(batches(empty)))
