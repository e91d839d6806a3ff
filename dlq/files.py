"""Files of the commands; `-` is standard output."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile

import typer

from schemas.json_lines import STANDARD


def write_lines(file: str, lines: Iterable[str]) -> None:
    """Write a file as a whole or not at all: what was there stays until all of it is written. Raises OSError."""
    if file == STANDARD:
        for line in lines:
            typer.echo(line)
        return
    path = Path(file)
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as device:  # a pipe or device can't be replaced
            device.writelines(f"{line}\n" for line in lines)
        return
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as out:
        try:
            out.writelines(f"{line}\n" for line in lines)
        except BaseException:
            Path(out.name).unlink()
            raise
    Path(out.name).replace(path)
