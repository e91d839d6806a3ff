"""The files of the published language that are made, not written; a test holds them equal to what would be made."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from compose.language import asyncapi, page

ROOT: Final = Path(__file__).parents[2]
FILES: Final[dict[str, Callable[[], str]]] = {"schemas/asyncapi.yaml": asyncapi.text, "docs/events.html": page.text}


def stale(root: Path = ROOT) -> list[str]:
    """Those that are missing or differ from what the code says now."""
    return [name for name, made in FILES.items() if _there(root / name) != made()]


def write(root: Path = ROOT) -> list[str]:
    """Make those that are stale; their names. Raises OSError."""
    names = stale(root)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(FILES[name](), encoding="utf-8")
    return names


def _there(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
