"""What is fetched is read to its end, whatever a producer wrote: record by record, bounded, offset by offset."""

import os
import struct
from typing import Any, Final

import cramjam
import pytest
from aiokafka.consumer import fetcher
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import MAX_VALUE_BYTES
from services.observer.batches import Batches, Defect, Record, read_safely
from services.observer.unpacking import MOST_UNPACKED
from tests.observing import Written, batch, checked

BASE: Final = 0
CODECS: Final = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TRACE: Final = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
HONEST: Final[list[Written]] = [(b"k1", b"v1", [TRACE, ("other", None)]), (b"k2", None, []), (None, b"v3", [TRACE])]


def read(data: bytes) -> list[Record]:
    batches, found = Batches(data), list[Record]()
    while batches.has_next():
        made = batches.next_batch()
        assert made is not None
        found += made
    return found


def why(record: Record) -> str:
    """Why it can't be read; "" for one that can."""
    name = record.headers[0][0] if record.headers else ""
    return str(name) if isinstance(name, Defect) else ""


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_sound_records_are_read_with_the_headers_that_matter(codec: int) -> None:
    records: list[Written] = [(key, value or bytes(500), headers) for key, value, headers in HONEST]
    found = read(batch(records, codec) + batch(records, codec, base=BASE + 3))
    assert [record.offset for record in found] == list(range(BASE, BASE + 6))
    assert [(record.key, record.value) for record in found[:3]] == [(key, value) for key, value, _ in records]
    assert [record.headers for record in found[:3]] == [[TRACE], [], [TRACE]]
    assert found[2].timestamp == 1_700_000_000_002


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_of_a_header_name_that_is_no_utf_8_only_its_record_suffers(codec: int) -> None:
    plain = batch([(b"k1", b"v1", []), (b"k2", b"v2", [("XY", b"x")]), (b"k3", b"v3", [TRACE])])
    found = read(checked(plain.replace(b"XY", b"\xff\xfe"))) if codec == 0 else read(repacked(plain, codec))
    assert [(record.offset, record.value) for record in found] == [(BASE, b"v1"), (BASE + 1, None), (BASE + 2, b"v3")]
    assert [bool(why(record)) for record in found] == [False, True, False]
    assert "UTF-8" in why(found[1])


def repacked(plain: bytes, codec: int) -> bytes:
    """The batch with a bad header name, compressed."""
    filled = batch([(b"", bytes(2000), [])], codec)
    body = plain.replace(b"XY", b"\xff\xfe")[61:]
    packer: Any = {
        1: cramjam.gzip.compress,
        2: cramjam.snappy.compress_raw,
        3: cramjam.lz4.compress,
        4: cramjam.zstd.compress,
    }
    packed = bytes(packer[codec](body))
    head = bytearray(plain[:61])
    struct.pack_into(">i", head, 8, 61 - 12 + len(packed))
    head[21:23] = filled[21:23]
    return checked(bytes(head) + packed)


@pytest.mark.parametrize("mib", [30, 90])
@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_zeros_are_passed_over_without_being_unpacked(codec: int, mib: int) -> None:
    [found] = read(batch([(b"k", bytes(mib * 2**20), [])], codec))
    assert f"can't be unpacked within {MOST_UNPACKED // 2**20} MiB" in why(found)
    assert (found.offset, found.value) == (BASE, None)


def test_what_is_too_large_for_a_reader_is_not_handed_out() -> None:
    found = read(batch([
        (b"k", bytes(MAX_VALUE_BYTES), []),
        (b"k", bytes(MAX_VALUE_BYTES + 1), []),
        (bytes(70_000), b"v", []),
        (b"k", b"v", [("h", b"")] * 10_000),
        (b"k", b"v", [("h", b"")] * 20_001),
    ]))  # fmt: skip
    assert [why(record).split(";")[0] for record in found] == [
        "", "1,048,577 bytes", "a key of 70,000 bytes", "", "20,001 headers",
    ]  # fmt: skip
    assert max(len(record.headers) for record in found) == 1


def test_a_batch_that_is_corrupt_or_of_another_format_is_one_record_and_then_its_end() -> None:
    sound, broken = batch(HONEST), bytearray(batch(HONEST))
    broken[-1] ^= 0xFF
    old = bytearray(sound)
    old[16] = 1
    for data in (bytes(broken), checked(old), sound[:30]):
        data = data[:8] + struct.pack(">i", len(data) - 12) + data[12:]  # noqa: PLW2901
        found = read(data + batch(HONEST, base=BASE + 3))
        assert why(found[0])
        assert [record.offset for record in found[-3:]] == [BASE + 3, BASE + 4, BASE + 5]


def test_a_transactions_mark_and_what_was_compacted_away_end_with_a_record_that_is_none() -> None:
    mark = bytearray(batch([(b"\0\0\0\1", b"\0\0\0\0\0\0", [])]))
    mark[22] |= 0x30
    compacted = bytearray(batch(HONEST))
    struct.pack_into(">i", compacted, 23, 7)
    empty = bytearray(checked(compacted)[:61])
    struct.pack_into(">i", empty, 8, 49)
    struct.pack_into(">i", empty, 57, 0)
    for data, count, last in ((mark, 1, BASE), (compacted, 4, BASE + 7), (empty, 1, BASE + 7)):
        found = read(checked(data))
        assert (len(found), found[-1].offset, found[-1].headers) == (count, last, [("", None)])
        assert isinstance(found[-1].headers[0][0], Defect)


def test_what_is_cut_off_by_the_fetch_waits_for_the_next_one() -> None:
    sound = batch(HONEST)
    for length in range(len(sound)):
        assert not Batches(sound[:length]).has_next()
        assert [record.offset for record in read(sound + sound[:length])] == [BASE, BASE + 1, BASE + 2]


SAMPLES: Final = [batch([(b"k", os.urandom(4) * 20, [TRACE, ("h", None)])] * 3, codec) for codec in CODECS.values()]


@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from([0, 1, 0x7F, 0x80, 0xFE, 0xFF])), max_size=8),
    st.integers(61, 10_000),
)
def test_nothing_that_is_in_a_batch_stops_the_reading_of_it(sample: bytes, changes: Any, length: int) -> None:
    data = bytearray(sample[:length])
    for place, byte in changes:
        # what lies before is the broker's own
        data[27 + place % (len(data) - 27)] = byte
    struct.pack_into(">i", data, 8, len(data) - 12)
    found = read(checked(data) + batch(HONEST, base=BASE + 50))
    assert [record.offset for record in found[-3:]] == [BASE + 50, BASE + 51, BASE + 52]
    assert found[-4].offset == BASE + 2
    assert all(BASE <= record.offset < BASE + 3 for record in found[:-3])


@given(st.binary(max_size=300))
def test_bytes_that_are_no_batch_at_all_come_to_an_end(data: bytes) -> None:
    assert all(isinstance(record, Record) for record in read(data))


def test_consumers_read_with_it() -> None:
    read_safely()
    assert vars(fetcher)["MemoryRecords"] is Batches


def test_an_offset_outside_of_its_batch_leads_nowhere() -> None:
    """The fetcher goes on behind the last offset that it was given."""
    odd = bytearray(batch([(b"k", b"v", [])]))
    odd[64] = 0x7E
    found = read(checked(odd) + batch(HONEST, base=1))
    assert [record.offset for record in found] == [0, 1, 2, 3]
