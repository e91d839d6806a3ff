"""Every package that is installed has one version and the hashes of its files, wherever it comes from."""

import configparser
import re
from pathlib import Path
from typing import Final

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.compose.locks import LOCKS, PEERS, ROOT, pinned

SOURCES: Final = {
    "image": ("", "observer"),
    "dev": ("", "dev", "observer", "stack"),
    "bench": ("", "dev", "observer", "stack", "bench"),
}
"""Lock -> what of setup.cfg it is made of; "" for what is always needed."""
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
DOCKERFILE: Final = (ROOT / "compose" / "Dockerfile").read_text(encoding="utf-8")
INSTALLS: Final = re.compile(r"(?!INSTALL).*(\$\(INSTALL\)|pip\b.* (install|wheel)) ")


def stem(path: Path) -> str:
    """A lock's name in a test's."""
    return path.stem


def wanted(*extras: str) -> list[Requirement]:
    """What setup.cfg asks for."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    sections = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    lines = [line for extra in extras for line in sections[extra].splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [each for each in found if each.name != "checkout-choreography"]


@pytest.mark.parametrize("lock", LOCKS, ids=stem)
def test_every_file_has_a_hash(lock: Path) -> None:
    assert pinned(lock)
    for each in pinned(lock):
        assert re.fullmatch(r"==[\w.!+]+", str(each.requirement.specifier)), each.name
        assert each.hashes, each.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in each.hashes), each.name


@pytest.mark.parametrize("lock", LOCKS, ids=stem)
def test_a_lock_says_nothing_of_where_packages_come_from(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*-[a-z-]", re.sub(r"^\s+--hash=", "", text, flags=re.MULTILINE), re.MULTILINE)


@pytest.mark.parametrize("name", SOURCES)
def test_a_lock_has_what_setup_cfg_asks_for(name: str) -> None:
    have = {each.name: each.version for each in pinned(ROOT / "locks" / f"{name}.txt")}
    for requirement in wanted(*SOURCES[name]):
        assert requirement.specifier.contains(have[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("name", ["image", "dev"])
def test_a_package_has_the_same_version_everywhere(name: str) -> None:
    widest = {(each.name, str(each.requirement.marker)): each for each in pinned(ROOT / "locks" / "bench.txt")}
    largest = {name for name, _ in widest}
    assert {each.name for each in pinned(ROOT / "locks" / f"{name}.txt")} <= largest
    versions = {each.name: each.version for each in widest.values()}
    assert [each.name for each in pinned(ROOT / "locks" / f"{name}.txt") if versions[each.name] != each.version] == []


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(("system", "machine"), [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")])
def test_a_package_is_named_once_on_every_platform(python: str, system: str, machine: str) -> None:
    here = {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": system,
        "platform_machine": machine,
        "platform_system": system.title(),
    }
    for lock in LOCKS:
        markers = [(each.name, each.requirement.marker) for each in pinned(lock)]
        named = [name for name, marker in markers if marker is None or marker.evaluate({**here})]
        assert len(named) == len(set(named)), lock.name


@pytest.mark.parametrize("text", [MAKEFILE, DOCKERFILE], ids=["Makefile", "Dockerfile"])
def test_nothing_is_installed_without_a_hash(text: str) -> None:
    lines = re.findall(
        r"^(?!INSTALL).*(?:\$\(INSTALL\)|pip\b.* (?:install|wheel)) .*$", text.replace("\\\n", " "), re.MULTILINE
    )
    assert lines
    assert [line for line in lines if "--require-hashes" not in line and "--no-deps" not in line] == []


@pytest.mark.parametrize("source", sorted([*(ROOT / "locks").glob("*.in"), *PEERS.glob("*.in")]), ids=stem)
def test_a_lock_has_what_its_source_asks_for(source: Path) -> None:
    have = {each.name: each.version for each in pinned(source.with_suffix(".txt"))}
    lines = [line for line in source.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    for requirement in map(Requirement, lines):
        assert requirement.specifier.contains(have[canonicalize_name(requirement.name)]), requirement
