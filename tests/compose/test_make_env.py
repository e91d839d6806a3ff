"""The passwords of the containers are made once, at random, and are for their owner's eyes only."""

import stat
import subprocess
import sys
from pathlib import Path

from compose import make_env as module
from compose.make_env import PASSWORDS, make_env


def read(path: Path) -> dict[str, str]:
    """Variable -> value."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if not line.startswith("#"))


def test_every_password_is_long_random_and_safe_in_a_url(tmp_path: Path) -> None:
    assert make_env(tmp_path / "one")
    assert make_env(tmp_path / "two")
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert tuple(one) == PASSWORDS
    values = [*one.values(), *two.values()]
    assert len(set(values)) == len(values)
    assert all(len(value) >= 32 and value.isalnum() for value in values)


def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    make_env(tmp_path / ".env")
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=mine\n")
    assert not make_env(tmp_path / ".env")
    assert (tmp_path / ".env").read_text() == "POSTGRES_PASSWORD=mine\n"


def test_the_script_needs_nothing_installed_and_tells_no_password(tmp_path: Path) -> None:
    script = tmp_path / "make_env.py"
    script.write_text(Path(module.__file__).read_text())
    # -I -S: no environment, no installed packages
    done = subprocess.run([sys.executable, "-I", "-S", str(script)], capture_output=True, text=True, check=True)
    assert "wrote" in done.stdout
    assert not any(value in done.stdout for value in read(tmp_path / ".env").values())
