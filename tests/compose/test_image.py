"""What compose/Dockerfile installs works: the same files, in a fresh environment, outside the tree."""

import configparser
import fnmatch
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.composition import ROOT

DOCKERFILE = (ROOT / "compose" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
STEPS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
EXIT_CONFIG = 78
# a fresh environment is filled from an index, which may be far
pytestmark = pytest.mark.timeout(900)
NO_INDEX = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError", "Connection to ")
LISTING = "from importlib.metadata import files; print(*files('checkout-choreography'), sep='\\n')"


def copied() -> list[str]:
    """The files and folders that the build stage copies from the tree, in its order."""
    copies = [words.split() for step, words in STEPS if step == "COPY" and not words.startswith("--from")]
    return [source for *sources, _ in copies for source in sources]


def tops() -> set[str]:
    """What of the tree's top they lie in."""
    return {name.split("/")[0] for name in copied()}


def sent() -> list[str]:
    """The patterns of .dockerignore that let something through."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def tracked() -> list[str]:
    """The files of the tree, those that aren't committed yet included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git clone")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_everything_copied_is_there_and_reaches_the_build() -> None:
    assert copied()
    for name in copied():
        assert (ROOT / name).exists(), name
    assert tops() == set(sent())


def test_every_package_of_the_project_is_copied() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    packages = {name.removesuffix("*") for name in config["options.packages.find"]["include"].split()}
    assert packages <= set(copied())


def test_a_change_of_the_code_installs_no_dependency_again() -> None:
    """What they depend on is installed before the first line of the project is copied, and pinned."""
    steps = [(step, words) for step, words in STEPS if step in ("COPY", "RUN")]
    installs = [number for number, (_, words) in enumerate(steps) if " install " in words and "pip " in words]
    first, second = installs
    before = {name for step, words in steps[:first] if step == "COPY" for name in words.split()[:-1]}
    assert before == {"locks/build.txt", "locks/image.txt"}
    assert "install --require-hashes -r locks/image.txt" in steps[first][1]
    assert "--no-deps --no-index" in steps[second][1]


def test_what_other_containers_read_makes_no_new_image() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    folders = [path for path in (ROOT / "compose").iterdir() if path.is_dir() and path.name != "__pycache__"]
    others = {f"compose/{folder.name}" for folder in folders if not (folder / "__init__.py").exists()}
    assert {"compose/prometheus", "compose/kubernetes"} < others
    assert others <= set(lines)


def test_secrets_do_not_reach_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert any(fnmatch.fnmatch("compose/.env", line) for line in lines[lines.index("!compose") :])


def test_the_image_is_pinned_has_no_root_and_no_entry_point() -> None:
    last = {step: words for step, words in STEPS if step in ("USER", "CMD")}
    assert last == {"USER": "10001:10001", "CMD": '["checkout", "--help"]'}
    bases = [words.removesuffix(" AS build") for step, words in STEPS if step == "FROM"]
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases[0])
    assert not {"ENTRYPOINT", "ADD", "ARG"} & {step for step, _ in STEPS}
    assert "://" not in DOCKERFILE


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh environment with what the image installs; its `bin`."""
    folder = tmp_path_factory.mktemp("image")
    for name in tracked():
        if name.split("/")[0] in tops():
            (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "src" / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    locks = folder / "src" / "locks"
    steps: tuple[list[str | Path], ...] = (
        ["--require-hashes", "-r", locks / "build.txt", "-r", locks / "image.txt"],
        ["--no-deps", "--no-build-isolation", folder / "src"],
    )
    for what in steps:
        pip: list[str | Path] = [folder / "venv" / "bin" / "pip", "install", "--quiet", "--retries", "1", *what]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode != 0 and any(word in done.stderr for word in NO_INDEX):
            pytest.skip("no package index can be reached")
        assert done.returncode == 0, done.stderr
    yield folder / "venv" / "bin"
    shutil.rmtree(folder, ignore_errors=True)


def run(bin_dir: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in an empty folder, with nothing in its environment."""
    folder = bin_dir.parent / "empty"
    folder.mkdir(exist_ok=True)
    argv = [str(bin_dir / command[0]), *command[1:]]
    return subprocess.run(argv, cwd=folder, env={}, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("service", ["checkout", "payment", "warehouse"])
@pytest.mark.slow
def test_a_service_without_settings_says_so_in_one_line(installed: Path, service: str) -> None:
    done = run(installed, "python", "-m", f"services.{service}")
    assert done.returncode == EXIT_CONFIG, done.stderr
    assert done.stderr.startswith("settings: ")
    assert f"{service.upper()}_DATABASE_URL" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_provider_starts_from_the_image(installed: Path) -> None:
    assert "--ledger" in run(installed, "python", "-m", "compose.sandbox", "--help").stdout


@pytest.mark.slow
def test_the_command_line_works_without_the_local_stack(installed: Path) -> None:
    shown = run(installed, "checkout", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "setup" in shown.stdout
    done = run(installed, "checkout", "setup")
    assert done.returncode == EXIT_CONFIG, done.stderr
    assert done.stderr.startswith("settings: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_schemas_and_migrations_are_installed(installed: Path) -> None:
    done = run(installed, "python", "-c", LISTING)
    assert done.returncode == 0, done.stderr
    patterns = ("schemas/*.avsc", "schemas/published/*.avsc", "services/*/migrations/*.py")
    wanted = {name for name in tracked() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}
    assert len(wanted) > len(patterns)
    assert wanted <= set(done.stdout.splitlines())
