"""What was measured: a table for people, JSON for programs, one file for each time that it was run."""

import json
import os
import platform
import sysconfig
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from compose.bench.figures import Figure


def table(figures: Sequence[Figure]) -> Table:
    """Figure, what was wanted, what was measured."""
    shown = Table(title=machine(), title_justify="left")
    for column in ("figure", "wanted", "measured", ""):
        shown.add_column(column)
    for figure in figures:
        verdict = "" if figure.good is None else "[green]reached" if figure.good else "[red]missed"
        shown.add_row(figure.name, figure.wanted, figure.measured, verdict)
    return shown


def machine() -> str:
    """Where it was measured: figures of other machines are others."""
    optimized = "optimized" if "PGO" in _flags() or "-fprofile-use" in _flags() else "not optimized"
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, Python {platform.python_version()} "
        f"({optimized}), everything on them"
    )


def write(figures: Sequence[Figure], folder: Path) -> Path:
    """The figures and all their runs as JSON; the file's path."""
    now = datetime.now(UTC)
    content: dict[str, Any] = {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "figures": [asdict(figure) for figure in figures],
    }
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    text = json.dumps(content, indent=1)
    for file in (path, folder / "latest.json"):
        file.write_text(text, encoding="utf-8")
    return path


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the table."""
    console.print(table(figures))


def _flags() -> str:
    return " ".join(str(sysconfig.get_config_var(name)) for name in ("CONFIG_ARGS", "PGO_PROF_USE_FLAG", "PY_CFLAGS"))
