"""JSON lines from files that people and other programs write: UTF-8, ended by line feeds alone.

A byte order mark at the beginning and a carriage return before a line feed are what Windows writes; they are dropped.
Other encodings are refused by name. U+2028 and U+0085 within a string are text. A file is never held as a whole.

Sources: https://jsonlines.org; RFC 8259, section 8.1 (UTF-8, no byte order mark); RFC 4627, section 3 (where NUL bytes
stand tells the encoding).
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final

from schemas import strict_json

STANDARD: Final = "-"
"""Standard input."""
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
MAX_DEPTH: Final = 32
_SAVE: Final = "save it as UTF-8"
_HEAD_BYTES: Final = 4
_MARK: Final = b"\xef\xbb\xbf"
_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
"""Byte order marks of other encodings; the longer ones first."""


class BadTextError(ValueError):
    """What can't be read; the text says where (`file:line`) and why."""


def name_of(file: str) -> str:
    """How a file is called in errors."""
    return "stdin" if file == STANDARD else file


@contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """A file, or standard input, that can be read twice: what can't be wound back is copied first. Raises OSError."""
    if file != STANDARD:
        with Path(file).open("rb") as found:
            yield from _twice(found)
    else:
        yield from _twice(sys.stdin.buffer)


def _twice(found: BinaryIO) -> Iterator[BinaryIO]:
    if found.seekable():
        yield found
        return
    with TemporaryFile() as copy:
        shutil.copyfileobj(found, copy)
        copy.seek(0)
        yield copy


def lines(file: BinaryIO, source: str) -> Iterator[tuple[int, bytes]]:
    """(number, line without its end) of every line that is not empty, from where `file` stands. Raises BadTextError."""
    number, head = 0, b""
    while text := file.readline(MAX_LINE_BYTES + 2):
        number += 1
        if number == 1:
            head = text[:_HEAD_BYTES]
            _check_encoding(head, source)
            text = text.removeprefix(_MARK)
        line = text.removesuffix(b"\n").removesuffix(b"\r")
        if len(line) > MAX_LINE_BYTES:
            raise BadTextError(f"{source}:{number}: a line of more than {MAX_LINE_BYTES:,} bytes")
        if line.strip():
            yield number, line


def values(file: BinaryIO, source: str) -> Iterator[tuple[int, Any]]:
    """(number, value) of every line. Raises BadTextError at the first that is no JSON."""
    for number, line in lines(file, source):
        try:
            yield number, value_of(line)
        except ValueError as error:
            raise BadTextError(f"{source}:{number}: {error}") from None


def value_of(line: bytes) -> Any:
    """The value in one line, or in a whole text. Raises ValueError, whose text says what is wrong."""
    if line.startswith(_MARK):
        raise ValueError("begins with a byte order mark, which belongs at the beginning of a file only")
    if b"\x00" in line:
        raise ValueError(f"has a NUL byte, as UTF-16 has them: {_SAVE}")
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8: byte 0x{line[error.start]:02x} at {error.start}, as Latin-1 or Windows-1252 has it: {_SAVE}"
        ) from None
    return strict_json.loads(line, max_bytes=MAX_LINE_BYTES, max_depth=MAX_DEPTH)


def whole_value(data: bytes, source: str) -> Any:
    """The one value of a file. Raises BadTextError."""
    _check_encoding(data[:_HEAD_BYTES], source)
    try:
        return value_of(data.removeprefix(_MARK))
    except ValueError as error:
        raise BadTextError(f"{source}: {error}") from None


def _check_encoding(head: bytes, source: str) -> None:
    name = _encoding(head)
    if name:
        raise BadTextError(f"{source}: is {name}: {_SAVE}")


def _encoding(head: bytes) -> str:
    """The name of another encoding that a file's first bytes show; "" where they show none."""
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), "")
    if marked:
        return f"{marked} (its byte order mark says so)"
    if b"\x00" not in head:
        return ""
    return f"{'UTF-32' if head.count(0) > 2 else 'UTF-16'} (its NUL bytes say so)"  # noqa: PLR2004 - 2 of 4 in UTF-16
