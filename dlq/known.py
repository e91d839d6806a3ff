"""The file with the fingerprints that a watch has reported: one a line, `#` begins a comment."""

from collections.abc import Collection
from pathlib import Path


def read_known(file: Path) -> set[str]:
    """The fingerprints in a file; none where it isn't there yet. Raises OSError."""
    if not file.exists():
        return set()
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return {text for line in lines if (text := line.split("#", 1)[0].strip())}


def add_known(file: Path, fingerprints: Collection[str], note: str) -> None:
    """Add fingerprints, each with a note, at the end; what a person wrote there stays. Raises OSError."""
    with file.open("a", encoding="utf-8") as out:
        out.writelines(f"{fingerprint}  # {note}\n" for fingerprint in fingerprints)
