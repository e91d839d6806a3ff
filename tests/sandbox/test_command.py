"""`checkout sandbox`: the provider in the foreground, and one line where it can't start."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from compose.fleet import die_with_parent
from compose.sandbox_cli import LEDGER, ledger_file
from tests.system import free_port, wait_for

CHECKOUT: Final = Path(sys.executable).with_name("checkout")


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    port, folder = free_port(), tmp_path / "a" / "ledger"
    command = [str(CHECKOUT), "sandbox", "--port", str(port), "--ledger", str(folder)]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509
    ) as running:
        wait_for(lambda: answers(port), "it to listen")
        running.send_signal(number)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 0, said
    assert (folder / LEDGER).is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--port", "65536"), "65536 is not a port"),
        (("--port", "-1"), "-1 is not a port"),
        (("--port", "0", "--key-ttl-s", "nan"), "nan is not a number of seconds"),
        (("--port", "0", "--ledger", "/proc/nowhere"), "/proc/nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    command = [str(CHECKOUT), "sandbox", "--ledger", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    [line] = done.stderr.splitlines()
    assert words in line
    assert (done.returncode > 0, done.stdout) == (True, "")


def test_an_existing_file_is_a_ledger_itself(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    assert ledger_file(file) == file / LEDGER
    other = tmp_path / "other"
    other.touch()
    assert ledger_file(other) == other
