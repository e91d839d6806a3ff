"""SECURITY.md names tests and files that exist; the licence is the one that the package declares."""

import configparser
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SECURITY: Final = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
TESTS: Final = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", SECURITY)


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_a_test_that_the_security_note_names_exists(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_threat_has_a_test() -> None:
    section = SECURITY[SECURITY.index("## What is defended") : SECURITY.index("## What is not defended")]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::\w+`", row)] == []


def test_every_file_that_the_security_note_names_exists() -> None:
    files = re.findall(r"`((?:schemas|outbox|dlq|services|compose|docs|locks)/[\w./-]+)`", SECURITY)
    assert files
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_the_note_says_whom_to_tell_and_names_no_address() -> None:
    assert "private security advisories" in SECURITY
    assert "@" not in SECURITY


def test_the_licence_is_the_one_that_the_package_declares() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["license_expression"] == "Apache-2.0"
    assert config["metadata"]["license_files"].split() == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
