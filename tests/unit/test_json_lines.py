"""JSON lines as Windows, editors and other programs write them."""

import io
import json
import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.publisher import BadLineError as BadRequestError
from compose.publisher import requests
from dlq.asking import json_in
from dlq.export import BadLineError as BadLetterError
from dlq.export import parcels
from dlq.locks import EditError
from schemas import json_lines
from schemas.json_lines import MAX_LINE_BYTES, BadTextError, opened, values, whole_value

TWO = '{"a": "é\u2028\x85\u0085x"}\n[1]\n'


def read(data: bytes) -> list[tuple[int, Any]]:
    return list(values(io.BytesIO(data), "f"))


NONE = "none"


def refusal_of(reading: Callable[[], Any], kind: type[Exception]) -> str:
    """What a reading said when it refused; NONE where it did not."""
    try:
        reading()
    except kind as error:
        return str(error)
    return NONE


@pytest.mark.parametrize(
    "data",
    [
        TWO.encode(),
        TWO.encode("utf-8-sig"),
        TWO.replace("\n", "\r\n").encode(),
        TWO.removesuffix("\n").encode(),
        TWO.replace("\n", "\r\n").encode("utf-8-sig"),
    ],
)
def test_lines_end_with_a_line_feed_alone(data: bytes) -> None:
    assert read(data) == [(1, {"a": "é\u2028\x85\u0085x"}), (2, [1])]


def test_empty_lines_are_counted_and_skipped() -> None:
    assert read(b"\n \r\n1\n\n2") == [(3, 1), (5, 2)]


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n", b"\n\n"])
def test_a_file_without_lines_has_none(data: bytes) -> None:
    assert read(data) == []


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (TWO.encode("utf-16"), "f: is UTF-16 (its byte order mark says so): save it as UTF-8"),
        (b"\xfe\xff" + TWO.encode("utf-16-be"), "f: is UTF-16"),
        (TWO.encode("utf-16-le"), "f: is UTF-16 (its NUL bytes say so): save it as UTF-8"),
        (TWO.encode("utf-16-be"), "f: is UTF-16"),
        (b"\r\n".decode().encode("utf-16-le") + TWO.encode("utf-16-le"), "f: is UTF-16"),
        (TWO.encode("utf-32"), "f: is UTF-32"),
        (TWO.encode("utf-32-be"), "f: is UTF-32"),
        (TWO.encode("utf-32-le"), "f: is UTF-32"),
        (
            '{"a": "é"}'.encode("latin-1"),
            "f:1: not UTF-8: byte 0xe9 at 7, as Latin-1 or Windows-1252 has it: save it as",
        ),
        (b'1\n{"a": "\x80"}', "f:2: not UTF-8: byte 0x80"),
        (b'1\n"\x00"', "f:2: has a NUL byte"),
        (b"1\n\xef\xbb\xbf2", "f:2: begins with a byte order mark"),
        (b"1\n" + b"[" * 100_000, "f:2: JSON nested more than 32 deep"),
        (b"1\n" + b'{"a":' * 33 + b"1" + b"}" * 33, "f:2: JSON nested more than 32 deep"),
        (b'1\n"\\ud800"', "f:2: a text with half of a surrogate pair"),
        (b"1\nNaN", "f:2: NaN is no JSON"),
        (b"1\n" + b"9" * 5000, "f:2: Exceeds the limit"),
        (b'1\n"a\n', "f:2: no JSON"),
        (b"1\r2\r3", "f:1: no JSON"),
        (b"1\n" + b" " * (MAX_LINE_BYTES + 1) + b"2", "f:2: a line of more than 16,777,216 bytes"),
    ],
)
def test_anything_else_is_refused_by_name(data: bytes, named: str) -> None:
    with pytest.raises(BadTextError) as caught:
        read(data)
    assert str(caught.value).startswith(named)


def test_a_line_may_be_as_long_as_the_limit_whatever_its_end() -> None:
    line = b'"' + b"x" * (MAX_LINE_BYTES - 2) + b'"'
    assert len(read(line + b"\r\n" + line + b"\n")) == 2


@given(st.binary(max_size=200))
def test_nothing_but_a_refusal_comes_of_any_bytes(data: bytes) -> None:
    for reading in (lambda: read(data), lambda: whole_value(data, "f")):
        assert refusal_of(reading, BadTextError).startswith(("f:", NONE))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=8,
)


@given(st.lists(json_values), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["utf-8", "utf-8-sig"]), st.booleans())
def test_whatever_was_written_is_read(found: list[Any], end: str, encoding: str, escaped: bool) -> None:
    data = "".join(json.dumps(value, ensure_ascii=escaped) + end for value in found).encode(encoding)
    assert [value for _, value in read(data)] == found


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda raw: b"\xff\xfe" + raw))
def test_the_commands_readers_refuse_any_bytes_in_one_line(data: bytes) -> None:
    for reader, refusal in ((requests, BadRequestError), (parcels, BadLetterError)):
        assert refusal_of(lambda: list(reader(io.BytesIO(data), "f")), refusal).startswith(("f:", NONE))  # noqa: B023


@given(json_values)
def test_the_commands_readers_refuse_any_json_in_one_line(value: Any) -> None:
    data = json.dumps(value).encode()
    for reader, refusal in ((requests, BadRequestError), (parcels, BadLetterError)):
        with pytest.raises(refusal, match=r"^f:1: "):
            list(reader(io.BytesIO(data), "f"))


def test_an_edited_value_is_read_by_the_same_rules(tmp_path: Path) -> None:
    file = tmp_path / "value.json"
    file.write_bytes('{\r\n "a": "\u2028"}'.encode("utf-8-sig"))
    assert json_in(file) == {"a": "\u2028"}
    for data, named in ((TWO.encode("utf-16"), "UTF-16"), (b"[" * 10_000, "nested"), (b"\xe9", "Latin-1")):
        file.write_bytes(data)
        with pytest.raises(EditError, match=named):
            json_in(file)


def test_a_large_file_is_not_held(tmp_path: Path) -> None:
    file = tmp_path / "large.jsonl"
    file.write_bytes((b'"' + b"x" * 1_000_000 + b'"\n') * 64)
    tracemalloc.start()
    with opened(str(file)) as found:
        assert sum(1 for _ in values(found, "f")) == 64
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16_000_000


def test_what_comes_through_a_pipe_can_be_read_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=lambda: pipe.write_bytes(b"1\n2\n"))
    writer.start()
    with opened(str(pipe)) as found:
        begin = found.tell()
        first = list(values(found, "f"))
        found.seek(begin)
        assert list(values(found, "f")) == first == [(1, 1), (2, 2)]
    writer.join()


def test_standard_input_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1")))
    with opened(json_lines.STANDARD) as found:
        assert list(values(found, json_lines.name_of("-"))) == [(1, 1)]
    assert json_lines.name_of("-") == "stdin"
