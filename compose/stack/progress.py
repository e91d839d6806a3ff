"""How a download shows itself: a progress bar on a terminal, a line for each large file elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

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
            yield _bars_for_files(bars, bars.add_task(what, total=None))
    else:
        yield _line_for_each_large_file(echo)


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _bars_for_files(bars: Progress, whole: TaskID) -> FileProgress:
    """One bar for the whole, and one for each large file; a hundred small ones would only flicker."""

    @contextmanager
    def show(name: str, size: int) -> Iterator[Callable[[int], None]]:
        file = bars.add_task(f"  {name}", total=size, visible=size > _LARGE_BYTES)

        def advance(count: int) -> None:
            bars.advance(whole, count)
            bars.advance(file, count)

        yield advance
        bars.remove_task(file)

    return show


def _line_for_each_large_file(echo: Echo) -> FileProgress:
    @contextmanager
    def show(name: str, size: int) -> Iterator[Callable[[int], None]]:
        if size > _LARGE_BYTES:
            echo(f"  {name}: {size / 1e6:.0f} MB")
        yield lambda _count: None

    return show
