"""What a crash, a stop and a broken disk leave behind."""

import contextlib
import http.client
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compose.sandbox import tables

from .conftest import StartProvider
from .driving import Answered, Provider, wait_until


def lookup(provider: Provider, checkout_id: str) -> Answered:
    return provider.get(f"/v1/idempotency-keys/checkout%3A{checkout_id}%3Aauth")


def test_whatever_was_answered_before_a_kill_is_there_after_it(start_provider: StartProvider) -> None:
    provider = start_provider()
    answers: dict[str, bytes] = {}

    def send_until_killed(client: int) -> None:
        number = 0
        with contextlib.suppress(OSError, http.client.HTTPException):  # the kill
            while True:
                checkout_id = f"c-{client}-{number}"
                answers[checkout_id] = provider.authorize(checkout_id).raw
                number += 1

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(send_until_killed, client) for client in range(8)]
        wait_until(lambda: len(answers) > 200, "200 answers")
        provider.kill()
        assert all(client.exception() is None for client in clients)
    provider.start()
    for checkout_id, raw in list(answers.items())[-50:]:
        again = provider.authorize(checkout_id)
        assert (again.replayed, again.raw) == (True, raw)
    journaled = [entry["checkout_id"] for entry in provider.journal()]
    assert len(journaled) == len(set(journaled))
    assert set(answers) <= set(journaled)


def test_every_effect_has_its_key_and_every_key_its_effect_after_a_kill(start_provider: StartProvider) -> None:
    provider = start_provider()
    with ThreadPoolExecutor(16) as pool:
        sent = [pool.submit(provider.authorize, f"c-{number}") for number in range(400)]
        wait_until(lambda: sum(one.done() for one in sent) > 100, "some answers")
        provider.kill()
    with contextlib.closing(sqlite3.connect(provider.ledger)) as ledger:
        keys = ledger.execute("SELECT key FROM keys ORDER BY 1").fetchall()
        entries = ledger.execute("SELECT idempotency_key FROM journal ORDER BY 1").fetchall()
        payments = ledger.execute("SELECT 'checkout:' || checkout_id || ':auth' FROM payments ORDER BY 1").fetchall()
    assert len(keys) > 100
    assert keys == entries == payments


@pytest.mark.parametrize("fault", ["reset_after", "lost_answer"])
def test_a_crash_between_effect_and_answer_replays_the_answer(start_provider: StartProvider, fault: str) -> None:
    provider = start_provider()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        provider.authorize("c1", fault=fault)
    provider.kill()
    provider.start()
    again = provider.authorize("c1")
    assert (again.status, again.replayed) == (200, True)
    assert provider.effects_of("c1") == ["authorized"]


def test_a_key_in_flight_without_effect_is_free_after_a_crash(start_provider: StartProvider) -> None:
    provider = start_provider()
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(provider.authorize, "c1", "tok_delay_1500")
        wait_until(lambda: lookup(provider, "c1").status == 200, "the request to be in flight")
        assert lookup(provider, "c1").body["state"] == "in_flight"
        provider.kill()
        assert sent.exception() is not None
    provider.start()
    assert lookup(provider, "c1").status == 404
    other = provider.authorize("c1", "tok_ok")
    assert (other.status, other.replayed) == (200, False)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_is_in_flight(start_provider: StartProvider, signal_number: signal.Signals) -> None:
    provider = start_provider()
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(provider.authorize, "c1", "tok_delay_600")
        wait_until(lambda: lookup(provider, "c1").status == 200, "the request to be in flight")
        provider.process.send_signal(signal_number)
        assert sent.result().status == 200
    assert provider.process.wait(10) == 0
    assert "stopped" in provider.log
    assert not provider.ledger.with_name("ledger.db-wal").exists()
    assert provider.start().effects_of("c1") == ["authorized"]


def test_a_stop_does_not_wait_for_ever(start_provider: StartProvider) -> None:
    provider = start_provider("--shutdown-timeout-s", "0.3")
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(provider.authorize, "slow", "tok_delay_60000")
        hung = pool.submit(provider.authorize, "hung", fault="hang")
        wait_until(lambda: lookup(provider, "slow").status == 200, "the slow request to be in flight")
        wait_until(lambda: "fault=hang" in provider.log, "the hang")
        begun = time.monotonic()
        assert provider.stop() == 0
        assert time.monotonic() - begun < 5
        assert slow.exception() is not None
        assert hung.exception() is not None
    assert "Traceback" not in provider.log
    assert provider.start().journal() == []


def test_a_commit_reaches_the_disk_before_its_answer(tmp_path: Path) -> None:
    with contextlib.closing(tables.connect(tmp_path / "ledger.db")) as ledger:
        assert ledger.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: also through a power cut
        assert ledger.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_requests_that_wait_together_share_a_transaction(start_provider: StartProvider) -> None:
    provider = start_provider()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda number: provider.authorize(f"c-{number}"), range(300)))
    assert {answer.status for answer in answers} == {200}
    instants = {entry["at"] for entry in provider.journal()}  # one per transaction
    assert len(instants) < 300


def test_a_stop_does_not_wait_for_a_hang_at_all(start_provider: StartProvider) -> None:
    provider = start_provider("--shutdown-timeout-s", "60")
    with ThreadPoolExecutor(1) as pool:
        hung = pool.submit(provider.authorize, "hung", fault="hang")
        wait_until(lambda: "fault=hang" in provider.log, "the hang")
        assert provider.stop() == 0
        assert isinstance(hung.exception(), http.client.RemoteDisconnected)


def test_the_journal_refuses_to_be_changed(start_provider: StartProvider) -> None:
    provider = start_provider()
    provider.authorized()
    with contextlib.closing(sqlite3.connect(provider.ledger)) as ledger:
        for sql in ("DELETE FROM journal", "UPDATE journal SET amount_minor = 1"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                ledger.execute(sql)


def test_a_ledger_that_cannot_be_written_takes_no_effect_and_recovers(start_provider: StartProvider) -> None:
    provider = start_provider()
    with contextlib.closing(sqlite3.connect(provider.ledger, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert provider.authorize("c1").status == 503
        other.execute("ROLLBACK")
    again = provider.authorize("c1")
    assert (again.status, again.replayed) == (200, False)
    assert provider.effects_of("c1") == ["authorized"]


def test_a_transaction_that_fails_half_way_leaves_no_trace(start_provider: StartProvider) -> None:
    provider = start_provider()
    with contextlib.closing(sqlite3.connect(provider.ledger, isolation_level=None)) as other:
        other.execute("CREATE TRIGGER broken BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'broken'); END")
        assert [provider.authorize("c1").status for _ in range(2)] == [503, 503]
        assert provider.get("/v1/payments").body["payments"] == []
        other.execute("DROP TRIGGER broken")
    again = provider.authorize("c1")
    assert (again.status, again.replayed) == (200, False)
    assert provider.effects_of("c1") == ["authorized"]


def run_to_its_end(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "compose.sandbox", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return ended.returncode, ended.stderr


def test_two_providers_do_not_share_a_ledger(start_provider: StartProvider) -> None:
    provider = start_provider()
    code, said = run_to_its_end("--port", "0", "--ledger", str(provider.ledger))
    assert (code, said.count("\n")) == (1, 1)
    assert "another sandbox provider is using it" in said


def test_a_file_that_is_no_ledger_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are my notes, and not a database at all" * 50)
    for ledger in (tmp_path / "notes.txt", tmp_path / "nowhere" / "ledger.db"):
        code, said = run_to_its_end("--port", "0", "--ledger", str(ledger))
        assert (code, said.count("\n")) == (1, 1)
        assert str(ledger) in said
    assert (tmp_path / "notes.txt").read_text().startswith("these are my notes")


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = run_to_its_end("--port", port, "--ledger", str(tmp_path / "ledger.db"))
    assert (code, said.count("\n")) == (1, 1)
    assert port in said


@pytest.mark.parametrize("flag", [("--port", "70000"), ("--port", "x"), ("--authorization-ttl-s", "-1"), ("--nope",)])
def test_a_wrong_flag_is_told(tmp_path: Path, flag: tuple[str, ...]) -> None:
    code, said = run_to_its_end("--ledger", str(tmp_path / "ledger.db"), *flag)
    assert code == 2
    assert flag[0] in said
