"""locks/*.txt as data, with what the tests ask of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
PEERS: Final = ROOT / "compose" / "bench" / "peers"
LOCKS: Final = sorted([*(ROOT / "locks").glob("*.txt"), *PEERS.glob("*.txt")])


@dataclass(frozen=True)
class Pinned:
    """One requirement of a lock. hashes: `sha256:` and 64 hexadecimal digits."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name, as an index writes it."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The one version that it may have."""
        return str(self.requirement.specifier).removeprefix("==")


@cache
def pinned(lock: Path) -> tuple[Pinned, ...]:
    """What a lock names."""
    return tuple(_read(lock.read_text(encoding="utf-8")))


def _read(text: str) -> Iterator[Pinned]:
    for line in text.replace("\\\n", " ").splitlines():
        content = re.sub(r"(^|\s)#.*", "", line).strip()
        if content:
            requirement, *hashes = re.split(r"\s+--hash=", content)
            yield Pinned(Requirement(requirement.strip()), tuple(each.strip() for each in hashes))
