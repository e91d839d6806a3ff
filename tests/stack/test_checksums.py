"""What is downloaded is what compose/stack/checksums.txt names, or nothing of it is used."""

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from compose import write_checksums
from compose.debezium.connect import JARS as DEBEZIUM
from compose.stack import StackError
from compose.stack.checksums import FILE, check_among, known, read, written
from compose.stack.downloads import Fetch, archive, cached, jars
from compose.stack.kafka import JARS as KAFKA
from compose.stack.registry import ARCHIVE
from tests.stack.maven import JAR, NEEDED, THING, Repository

TRUE_SUMS: Final[Mapping[str, str]] = {THING: hashlib.sha256(JAR).hexdigest(), NEEDED: hashlib.sha256(JAR).hexdigest()}
OTHER: Final = "0" * 64


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """A Maven repository on loopback, with a jar that needs another, from which jgo downloads."""
    files = Repository(tmp_path / "repository")
    handler = partial(QuietHandler, directory=str(files.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = tmp_path / "jgo.conf"
        settings.write_text(f"[repositories]\nours = http://127.0.0.1:{server.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
        yield files
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Says nothing of its requests."""

    def log_message(self, format: str, *_arguments: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


def fetched(tmp_path: Path, fetch: Fetch) -> list[str]:
    """The files that are in the cache after a fetch."""
    folder = cached(tmp_path / "cache", "thing-1", fetch, lambda _line: None)
    return sorted(path.name for path in folder.iterdir())


def thing(sums: Mapping[str, str]) -> Fetch:
    """The jar and what it needs, held against these sums."""
    return jars(("org.example:thing:1",), vet=partial(check_among, sums))


@pytest.mark.usefixtures("repository")
def test_a_jar_with_its_checksum_is_kept_with_what_it_needs(tmp_path: Path) -> None:
    assert fetched(tmp_path, thing(TRUE_SUMS)) == ["needed-2.jar", "thing-1.jar"]


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("exchanged", [THING, NEEDED])
def test_a_jar_that_was_exchanged_is_refused_and_nothing_of_it_is_kept(tmp_path: Path, exchanged: str) -> None:
    with pytest.raises(StackError) as error:
        fetched(tmp_path, thing({**TRUE_SUMS, exchanged: OTHER}))
    message = str(error.value)
    assert message.startswith(f"{exchanged} is not the file that compose/stack/checksums.txt names")
    assert OTHER in message
    assert TRUE_SUMS[exchanged] in message
    assert "\n" not in message
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thing-1.lock"]


@pytest.mark.usefixtures("repository")
def test_a_jar_that_nobody_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=re.escape(f"{NEEDED} is not in compose/stack/checksums.txt")):
        fetched(tmp_path, thing({THING: TRUE_SUMS[THING]}))


def test_an_archive_that_was_exchanged_is_not_even_unpacked(tmp_path: Path, repository: Repository) -> None:
    repository.add("archive", "1", "all.tar.gz", b"what tar would make of it is not asked")
    fetch = archive("org.example", "archive", "1", "all", vet=partial(check_among, {}))
    with pytest.raises(StackError, match=re.escape("org.example:archive:1:all:tar.gz is not in")):
        fetched(tmp_path, fetch)


def test_everything_that_is_asked_for_has_a_checksum() -> None:
    named = [f"{coordinates}:jar" for coordinates in (*KAFKA, *DEBEZIUM)] + [":".join((*ARCHIVE, "tar.gz"))]
    assert [coordinates for coordinates in named if coordinates not in known()] == []


def test_the_file_is_as_it_would_be_written() -> None:
    text = FILE.read_text(encoding="ascii")
    assert written(read(text)) == text
    assert all(re.fullmatch(r"[0-9a-f]{64}", checksum) for checksum in known().values())


def test_the_file_is_written_of_what_is_downloaded(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.add("archive", "1", "all.tar.gz", repository.packed())
    monkeypatch.setattr(write_checksums, "KAFKA", ("org.example:thing:1",))
    monkeypatch.setattr(write_checksums, "DEBEZIUM", ("org.example:needed:2",))
    monkeypatch.setattr(write_checksums, "ARCHIVE", ("org.example", "archive", "1", "all"))
    packed = hashlib.sha256(repository.packed()).hexdigest()
    assert write_checksums.downloaded() == {**TRUE_SUMS, "org.example:archive:1:all:tar.gz": packed}
