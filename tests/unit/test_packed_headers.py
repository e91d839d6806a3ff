"""The headers of an outbox row come out as they went in, also where Debezium carries all of them in one."""

import pytest

from dlq.messages import PACKED, unpacked
from outbox.add import dump_headers
from schemas.envelope import Header

HEADERS: list[Header] = [
    ("a", b"1"),
    ("a", b"2"),
    ("none", None),
    ("empty", b""),
    ("bytes", b"\xff\x00"),
    ("é", "ü".encode()),
]


def test_headers_that_come_one_by_one_stay_as_they_are() -> None:
    assert unpacked(HEADERS) is HEADERS


def test_headers_that_come_in_one_are_what_the_row_said() -> None:
    carried: list[Header] = [("id", b"x"), ("ce_type", b"y"), (PACKED, dump_headers(HEADERS).encode())]
    assert unpacked(carried) == HEADERS


@pytest.mark.parametrize("foreign", [b"", b"no json", b"1", b"[1]", b'[["a"]]', b'[["a", {"b": 1}]]', b"\xff", None])
def test_a_foreign_header_of_that_name_is_left_alone(foreign: bytes | None) -> None:
    carried: list[Header] = [("a", b"1"), (PACKED, foreign)]
    assert unpacked(carried) == carried
