"""Writes compose/stack/checksums.txt anew: `python -m compose.write_checksums`, after a change of versions.

It downloads everything again and believes what it gets: look at the difference before it is committed. A version that
stayed must keep its checksum.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from compose.debezium.connect import JARS as DEBEZIUM
from compose.stack.checksums import FILE, sha256, written
from compose.stack.downloads import Fetch, Vet, archive, jars
from compose.stack.kafka import JARS as KAFKA
from compose.stack.progress import download_progress
from compose.stack.registry import ARCHIVE


def fetches(vet: Vet) -> Mapping[str, Fetch]:
    """What is downloaded, by a name to show."""
    return {
        "kafka": jars(KAFKA, vet=vet),
        "apicurio-registry": archive(*ARCHIVE, vet=vet),
        "debezium": jars(DEBEZIUM, vet=vet),
    }


def downloaded() -> dict[str, str]:
    """Maven coordinates -> SHA-256 of what the repository serves now."""
    sums: dict[str, str] = {}

    def note(coordinates: str, file: Path) -> None:
        sums[coordinates] = sha256(file)

    for name, fetch in fetches(note).items():
        with tempfile.TemporaryDirectory() as folder, download_progress(name, print) as show:
            part = Path(folder) / name
            part.mkdir()
            fetch(part, show)
    return sums


def main() -> None:
    """Write the file."""
    FILE.write_text(written(downloaded()), encoding="ascii")


if __name__ == "__main__":
    main()
