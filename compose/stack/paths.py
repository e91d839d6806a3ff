"""Where the stack keeps its data and its downloads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from compose.stack.errors import StackError

DEFAULT_DATA_DIR = Path(".checkout") / "stack"


def data_dir(environ: Mapping[str, str]) -> Path:
    """The data folder: CHECKOUT_STACK_DIR, or `.checkout/stack` under the current directory."""
    return Path(environ.get("CHECKOUT_STACK_DIR") or DEFAULT_DATA_DIR).expanduser().absolute()


def cache_dir(environ: Mapping[str, str]) -> Path:
    """The download cache, shared by every checkout of this user: CHECKOUT_CACHE_DIR, or the XDG cache."""
    if named := environ.get("CHECKOUT_CACHE_DIR"):
        return Path(named).expanduser().absolute()
    xdg = environ.get("XDG_CACHE_HOME", "")
    # the XDG specification tells to ignore a relative path
    base = Path(xdg) if xdg.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".cache"
    return base / "checkout"


def make_dir(path: Path, setting: str, mode: int = 0o777) -> Path:
    """Make a folder and its parents; raises StackError that names the setting to change."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as error:
        raise StackError(f"can't make the folder {path} ({error.strerror}): set {setting} to another one") from error
    return path
