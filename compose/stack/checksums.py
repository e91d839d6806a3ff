"""The SHA-256 of every jar and archive that is downloaded, as `checksums.txt` beside this file has them.

The file's lines are those of `sha256sum`: the hexadecimal sum, two spaces, the Maven coordinates
`group:artifact:version[:classifier]:packaging`. `python -m compose.write_checksums` writes it for other versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from compose.stack.errors import StackError

FILE: Final = Path(__file__).with_name("checksums.txt")
_NAME: Final = "compose/stack/checksums.txt"


def sha256(file: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@cache
def known() -> Mapping[str, str]:
    """Maven coordinates -> SHA-256."""
    return read(FILE.read_text(encoding="ascii"))


def read(text: str) -> Mapping[str, str]:
    """Maven coordinates -> SHA-256, from lines of `sha256sum`."""
    pairs = (line.split("  ", 1) for line in text.splitlines())
    return {coordinates: checksum for checksum, coordinates in pairs}


def written(sums: Mapping[str, str]) -> str:
    """The lines of `sha256sum`, sorted by coordinates."""
    return "".join(f"{sums[coordinates]}  {coordinates}\n" for coordinates in sorted(sums))


def check(coordinates: str, file: Path) -> None:
    """Raises StackError when the file isn't the one that `checksums.txt` has under these coordinates."""
    check_among(known(), coordinates, file)


def check_among(sums: Mapping[str, str], coordinates: str, file: Path) -> None:
    """Raises StackError when the file isn't the one that has its SHA-256 in `sums`."""
    wanted, found = sums.get(coordinates), sha256(file)
    if wanted is None:
        raise StackError(
            f"{coordinates} is not in {_NAME}, so nothing of it is used; "
            "`python -m compose.write_checksums` writes that file after a change of versions"
        )
    if found != wanted:
        raise StackError(
            f"{coordinates} is not the file that {_NAME} names, so nothing of it is used: "
            f"its SHA-256 is {found}, not {wanted}"
        )
