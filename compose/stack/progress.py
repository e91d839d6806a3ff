"""How a download shows itself: a progress bar on a terminal, a line for each large file elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

Echo = Callable[[str], None]
# called with a file's name and size in bytes; gives what is called with the size of each piece that arrived
FileProgress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

_LARGE_BYTES = 5_000_000


@contextmanager
def download_progress(what: str, echo: Echo) -> Iterator[FileProgress]:
    """Show the download of `what` for as long as the block runs."""
    echo(f"{what}: downloading (once; kept for the next time)")
    if sys.stderr.isatty():
        with _bars() as bars:
            overall = bars.add_task(f"{what}: resolving", total=None)
            yield _bar_for_each_file(bars)
            bars.remove_task(overall)
    else:
        yield _line_for_each_large_file(echo)


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)


def _bar_for_each_file(bars: Progress) -> FileProgress:
    @contextmanager
    def show(name: str, size: int) -> Iterator[Callable[[int], None]]:
        task = bars.add_task(name, total=size)
        yield lambda count: bars.advance(task, count)
        bars.remove_task(task)

    return show


def _line_for_each_large_file(echo: Echo) -> FileProgress:
    @contextmanager
    def show(name: str, size: int) -> Iterator[Callable[[int], None]]:
        if size > _LARGE_BYTES:
            echo(f"  {name}: {size / 1e6:.0f} MB")
        yield lambda _count: None

    return show
