"""The rules that need no server: downloads, ports, whose process it is, what the environment names."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compose.stack import Stack, StackError, paths
from compose.stack.cli import NOT_RUNNING, app
from compose.stack.downloads import cached
from compose.stack.environment import is_external
from compose.stack.errors import EXTERNAL_SERVERS
from compose.stack.kafka import Kafka
from compose.stack.launching import choose_ports, tail
from compose.stack.ports import free_port, is_free
from compose.stack.processes import identify, is_alive, kill
from compose.stack.progress import FileProgress
from compose.stack.state import ProcessId


def _quiet(_line: str) -> None:
    """Say nothing."""


def _cut_off(folder: Path, _show: FileProgress) -> None:
    (folder / "half.jar").write_bytes(b"half")
    raise ConnectionError("name resolution failed")


def _whole(folder: Path, _show: FileProgress) -> None:
    (folder / "whole.jar").write_bytes(b"whole")


def test_a_failed_download_says_what_is_missing_why_and_what_to_set_instead(tmp_path: Path) -> None:
    with pytest.raises(StackError) as error:
        cached(tmp_path, "kafka-4.4.0", _cut_off, _quiet)
    message = str(error.value)
    assert "kafka-4.4.0" in message
    assert "name resolution failed" in message
    assert all(name in message for name in EXTERNAL_SERVERS)


def test_a_half_done_download_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    with pytest.raises(StackError):
        cached(tmp_path, "kafka-4.4.0", _cut_off, _quiet)
    (tmp_path / "kafka-4.4.0.part-killed").mkdir()  # as a killed process leaves it
    assert not (tmp_path / "kafka-4.4.0").exists()
    folder = cached(tmp_path, "kafka-4.4.0", _whole, _quiet)
    assert [path.name for path in folder.iterdir()] == ["whole.jar"]
    assert not list(tmp_path.glob("*.part-*"))


def test_of_two_that_start_at_once_one_downloads(tmp_path: Path) -> None:
    fetched = []
    both = threading.Barrier(2, timeout=10)

    def slowly(folder: Path, show: FileProgress) -> None:
        fetched.append(folder)
        threading.Event().wait(0.2)
        _whole(folder, show)

    def start() -> None:
        both.wait()
        cached(tmp_path, "kafka-4.4.0", slowly, _quiet)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1


def test_up_reports_a_failed_download_and_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compose.stack.registry.archive", lambda *_names, **_more: _cut_off)
    stack = Stack(tmp_path / "data", cache_dir=tmp_path / "cache", environ={}, echo=_quiet)
    with pytest.raises(StackError, match="can't download apicurio-registry"):
        stack.up()
    assert {server.state for server in stack.status()} == {"stopped"}


@contextmanager
def _listener() -> Iterator[int]:
    port = free_port([])
    with socket.create_server(("127.0.0.1", port)):
        yield port


def test_a_server_keeps_its_port_unless_somebody_else_took_it() -> None:
    with _listener() as taken:
        ports = {"kafka": taken, "kafka-controller": free_port([taken])}
        kept = ports["kafka-controller"]
        assert not is_free(taken)
        choose_ports(ports, Kafka(), alive=True)
        assert ports["kafka"] == taken  # it's the server itself that listens
        choose_ports(ports, Kafka(), alive=False)
    assert ports["kafka"] not in {taken, kept}
    assert ports["kafka-controller"] == kept


def test_a_pid_that_is_another_process_by_now_is_left_alone() -> None:
    with subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE) as other:
        remembered = ProcessId(pid=other.pid, created=identify(other.pid).created - 3600)
        assert not is_alive(remembered)
        kill(remembered)
        assert other.poll() is None
        other.communicate(b"\n")
    assert other.returncode == 0


@pytest.mark.parametrize(
    ("named", "not_started"),
    [
        ({}, set()),
        ({"KAFKA_BOOTSTRAP_SERVERS": "b:9092"}, {"kafka"}),
        ({"CHECKOUT_DATABASE_URL": "x", "PAYMENT_DATABASE_URL": "x"}, set()),
        # the registry is ours still, and keeps its schemas in our Postgres
        ({name: "x" for name in EXTERNAL_SERVERS if "DATABASE" in name}, set()),
        (dict.fromkeys(EXTERNAL_SERVERS, "x"), {"kafka", "postgres", "registry"}),
    ],
)
def test_a_server_named_in_the_environment_is_not_started(named: Mapping[str, str], not_started: set[str]) -> None:
    assert {name for name in ("kafka", "postgres", "registry", "provider") if is_external(name, named)} == not_started


def test_the_cache_follows_its_setting_then_xdg_then_home() -> None:
    assert paths.cache_dir({"CHECKOUT_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/c")
    assert paths.cache_dir({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/checkout")
    assert paths.cache_dir({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == Path("/h/.cache/checkout")


def test_the_end_of_a_log_is_what_this_start_wrote_without_javas_stack_frames(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("of yesterday\nCaused by: port taken\n\tat java.base/sun.nio.ch.Net.bind0\n\t... 4 more\n")
    assert tail(log, len("of yesterday\n")) == "  Caused by: port taken"


def test_commands_tell_by_their_exit_code(tmp_path: Path) -> None:
    run = CliRunner().invoke
    options = ["--data", str(tmp_path / "data")]
    assert run(app, ["status", *options]).exit_code == NOT_RUNNING
    assert run(app, ["down", *options]).exit_code == 0
    failed = run(app, ["env", *options])
    assert failed.exit_code == 1
    assert "checkout stack up" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_env_prints_what_a_shell_can_read(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"ports": {"kafka": 20001, "provider": 20002}}))
    named = dict.fromkeys(EXTERNAL_SERVERS, "") | {"SCHEMA_REGISTRY_URL": "http://r/?a=1&b='2' $c"}
    printed = CliRunner().invoke(app, ["env", "--data", str(tmp_path)], env=named)
    shell = subprocess.run(
        ("sh", "-c", printed.stdout + "printenv KAFKA_BOOTSTRAP_SERVERS SCHEMA_REGISTRY_URL"),
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert shell.stdout == "127.0.0.1:20001\nhttp://r/?a=1&b='2' $c\n"
