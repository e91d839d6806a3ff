"""What the acting commands ask a person for: a yes, an edited text, to stop."""

import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import FrameType
from typing import Any, Final

import typer

from dlq.failing import DlqError
from dlq.locks import EditError
from schemas.json_lines import MAX_LINE_BYTES, BadTextError, whole_value
from schemas.terminal import flat, json_text

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


class NotConfirmedError(DlqError):
    """Nobody said yes."""


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal. Raises NotConfirmedError for a no, and where there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmedError(f"{question} Say --yes: there is no terminal to ask on. Nothing was done")
    if not typer.confirm(flat(question), err=True):
        raise NotConfirmedError("nothing was done")


@contextmanager
def stopping(tell: Callable[[str], None]) -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; the second time they end the process at once."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in _STOPPING}

    def asked(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop.set()
        tell("stopping after this chunk; once more ends it at once, which loses nothing either")

    for number in _STOPPING:
        signal.signal(number, asked)
    try:
        yield stop
    finally:
        for number in _STOPPING:
            signal.signal(number, before[number])


def json_in(file: Path) -> Any:
    """The JSON in a file. Raises EditError, OSError."""
    try:
        with file.open("rb") as found:
            # one byte more than is read, so that the file need not be read to its end to be too long
            return whole_value(found.read(MAX_LINE_BYTES + 1), str(file))
    except BadTextError as error:
        raise EditError(str(error)) from None


@contextmanager
def in_editor(data: Any, editor: str) -> Iterator[Any]:
    """What a person made of `data` in an editor; when it is refused, the text is kept and the error says where.

    editor: a command line. Raises EditError, OSError.
    """
    with NamedTemporaryFile("w", encoding="utf-8", suffix=".json", prefix="dlq-edit-", delete=False) as file:
        file.write(json_text(data, indent=2) + "\n")
    path = Path(file.name)
    if subprocess.run([*shlex.split(editor), str(path)], check=False).returncode:
        path.unlink()
        raise EditError(f"{editor} failed; nothing was changed")
    try:
        yield json_in(path)
    except EditError as error:
        raise EditError(f"{error}. Your text is kept: --file {path}") from error
    path.unlink()
