"""Kafka's jars and Apicurio Registry's archive, resolved by jgo and kept in the cache folder.

A folder of the cache is complete or absent: it's filled under another name and renamed when it is whole and every file
has the checksum that is kept here. Where files come from, a proxy and certificates are jgo's own affair (its `jgo.conf`
names a mirror where there is one).
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from compose.stack.checksums import check
from compose.stack.errors import StackError, or_use_your_own
from compose.stack.paths import make_dir
from compose.stack.progress import Echo, FileProgress, download_progress
from compose.stack.state import locked

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

# what fills an empty folder with an artifact's files, showing each of them
Fetch = Callable[[Path, FileProgress], None]
# what looks at a file that came under these Maven coordinates, and raises for one that must not be used
Vet = Callable[[str, Path], None]

_LOCK_LIMIT_S = 900.0
_TIMEOUT_S = 30
_ATTEMPTS = 3
# the jars are small and the repository is far: eight at once take a quarter of the time
_AT_ONCE = 8


def cached(cache: Path, name: str, fetch: Fetch, echo: Echo) -> Path:
    """The folder `name` of the cache, filled by `fetch` if it isn't there.

    Raises StackError that says which artifact couldn't be had, why, and what to set instead.
    """
    folder = cache / name
    if folder.is_dir():
        return folder
    make_dir(cache, "CHECKOUT_CACHE_DIR")
    with locked(cache / f"{name}.lock", _LOCK_LIMIT_S):
        # another process may have brought it while this one waited
        return folder if folder.is_dir() else _fill(folder, fetch, echo)


def _fill(folder: Path, fetch: Fetch, echo: Echo) -> Path:
    for left_over in folder.parent.glob(f"{folder.name}.part-*"):
        shutil.rmtree(left_over, ignore_errors=True)  # of a process that was killed; we hold its lock
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        with download_progress(folder.name, echo) as show:
            _try_again(fetch, part, show)
        part.chmod(0o755)
        part.rename(folder)
    except StackError:
        raise
    # jgo lets everything through that its parts raise: requests, XML, assertions. Whatever it was, the user's
    # question is the same one: what is missing, why, and what now?
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise StackError(f"can't download {folder.name}: {why}\n{or_use_your_own()}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _try_again(fetch: Fetch, folder: Path, show: FileProgress) -> None:
    """Fetch; where the line was cut, try from the start again. One lost answer in two hundred is nobody's fault."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(OSError):  # what `requests` raises for a lost connection, a time-out, an unknown host
            fetch(folder, show)
            return
    fetch(folder, show)


def jars(coordinates: tuple[str, ...], *, vet: Vet = check) -> Fetch:
    """Fetch these Maven coordinates and everything that they need at run time, as one flat folder of jars."""

    def fetch(folder: Path, show: FileProgress) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-m2-") as repository:
            context = _maven(Path(repository), show)
            wanted = [context.create_dependency(text) for text in coordinates]
            named, needed = context.resolver.resolve(wanted)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for jar in pool.map(lambda dependency: _vetted(dependency.artifact, vet), [*named, *needed]):
                    jar.rename(folder / jar.name)

    return fetch


def archive(group: str, artifact: str, version: str, classifier: str, *, vet: Vet = check) -> Fetch:
    """Fetch a `tar.gz` artifact and unpack it."""

    def fetch(folder: Path, show: FileProgress) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-m2-") as repository:
            component = _maven(Path(repository), show).project(group, artifact).at_version(version)
            _unpack(_vetted(component.artifact(classifier=classifier, packaging="tar.gz"), vet), folder)

    return fetch


def _vetted(artifact: Artifact, vet: Vet) -> Path:
    """The artifact's file, downloaded and looked at."""
    file: Path = artifact.resolve()
    parts = (artifact.groupId, artifact.artifactId, artifact.version, artifact.classifier, artifact.packaging)
    vet(":".join(part for part in parts if part), file)
    return file


def _unpack(packed: Path, folder: Path) -> None:
    with tarfile.open(packed) as content:
        if hasattr(tarfile, "data_filter"):
            content.extractall(folder, filter="data")
        else:  # Python 3.11 before 3.11.4, as Debian 12 has it
            content.extractall(folder, members=[member for member in content if _stays_inside(member)])  # noqa: S202


def _stays_inside(member: tarfile.TarInfo) -> bool:
    path = Path(member.name)
    return (member.isfile() or member.isdir()) and not path.is_absolute() and ".." not in path.parts


def _maven(repository: Path, show: FileProgress) -> MavenContext:
    # imported here: it takes 0.2 s, and only the first start needs it
    from jgo.config import GlobalSettings  # noqa: PLC0415
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415

    return MavenContext(
        # of our own, thrown away afterwards: jgo writes into it in place, so a killed download leaves half a file
        repo_cache=repository,
        # the user's mirrors from jgo.conf; without them jgo's default
        remote_repos=GlobalSettings.load().repositories or None,
        resolver=PythonResolver(progress_callback=show),
        timeout=_TIMEOUT_S,
    )
