"""A stack of the tests' own; what the environment names is left out, so that every server is ours."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from compose.stack import Stack
from compose.stack.environment import VARIABLES


@pytest.fixture(scope="session")
def environ() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name not in VARIABLES}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, environ: Mapping[str, str]) -> Iterator[Stack]:
    """All servers, up."""
    stack = Stack(tmp_path_factory.mktemp("stack") / "data", environ=environ)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


def processes_of(folder: Path) -> list[str]:
    """Everything alive that works in this folder or names it; found without the stack's own bookkeeping."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                words = [process.cwd(), *process.cmdline()]
                found += [f"{process.pid} {process.name()}"] if any(str(folder) in word for word in words) else []
        except psutil.Error:
            continue  # ended meanwhile, or another user's
    return found
