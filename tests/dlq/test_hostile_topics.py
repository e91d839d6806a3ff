"""The commands on topics on which anything lies: they answer, in safe text, and hide nothing that is sound."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.envelope import Header
from tests.dlq.acting import Desk, desk_on
from tests.dlq.making import produce
from tests.servers import TestServers
from tests.unit.test_terminal import hostile

OSC = "\x1b]0;owned\x07\x1b[2J\u202e\u200b[/][bold red]x[/bold red]"
DEEP = b"[" * 50_000
ODD: list[list[Header]] = [
    [],
    [("dlq-id", b"not a uuid"), ("dlq-event-id", b"neither"), ("dlq-first-failed-at", b"soon")],
    [("dlq-id", b"odd-1"), ("dlq-service", b"payment"), ("dlq-replay-count", "\u0663".encode())],
    [("dlq-id", b"odd-2"), ("dlq-service", b"payment"), ("dlq-replay-count", b"9" * 5000)],
    [("dlq-id", b"odd-3"), ("dlq-service", b"payment"), ("dlq-original-partition", b"9" * 5000)],
    [("dlq-id", b"odd-4"), ("dlq-service", b"payment"), ("dlq-first-failed-at", b"0001-01-01T00:00:00+23:59")],
    [("dlq-id", b"odd-5"), ("dlq-service", b"payment"), ("dlq-original-timestamp", b"0001-01-01T00:00:00Z")],
    [("dlq-id", b"odd-6"), ("dlq-service", b"payment"), ("outbox-headers", DEEP)],
    [("dlq-id", b"odd-7"), ("dlq-service", b"payment"), ("dlq-value-cut", b"head of 5 bytes"),
     ("dlq-original-topic", b"checkout.accepted")],
    [("dlq-id", OSC.encode()), ("dlq-service", b"payment")],
    [("dlq-id", b"odd-8"), ("dlq-service", b"payment"), *((name, OSC.encode()) for name in (
        "dlq-error-class", "dlq-error-message", "dlq-error-stack", "dlq-fingerprint", "dlq-disposition", OSC,
        "dlq-original-topic", "dlq-attempts", "dlq-handler", "dlq-event-id",
    ))],
    [("kafka_dlt-original-topic", b"\xff"), ("kafka_dlt-original-timestamp", b"\x7f" * 8)],
    [("dlq-id", None), ("dlq-service", None)],
    [("dlq-id", b"odd-9"), ("dlq-id", b"odd-9"), ("dlq-service", b"payment")],
    [(f"h{n}", b"v") for n in range(5000)],
]  # fmt: skip
OURS = {f"odd-{n}" for n in range(1, 9)}
ENTRIES: list[Any] = [
    b"", DEEP, b"[1]", b"\xff", b'{"state": "open"}', b'"\\ud800"',
    {"service": "warehouse", "letter": "sound"}, {"why": 7}, {"replay_count": "x"}, {"state": ["discarded"]},
    {"at": None},
]  # fmt: skip
LINES: list[Any] = [
    b"", DEEP, b"[1]", b"\xff", {"detail": "x"}, {"letters": {"a": 1}}, {"at": 5}, {"by": ["x"]}, {"replay_id": 7},
    {"why": OSC, "detail": {OSC: OSC}}, {"action": "replay_started", "replay_id": "job-1", "letters": "many"},
]  # fmt: skip


@pytest.fixture(scope="module")
def odd(servers: TestServers) -> Iterator[Desk]:
    """Topics with every odd thing on them, and one sound letter."""
    with desk_on(servers) as desk:
        desk.put(desk.letter(id="sound"))
        letters = f"{desk.prefix}payment.dlq"
        for number, headers in enumerate(ODD):
            value, key = (None, b"\xff\xfe") if number % 2 else (OSC.encode(), OSC.encode())
            produce(desk.settings, [{"topic": letters, "key": key, "value": value, "headers": headers}])
        entry = {"service": "payment", "letter": "sound", "state": "discarded", "at": "x", "by": "x"}
        for each in ENTRIES:
            value = each if isinstance(each, bytes) else json.dumps(entry | each).encode()
            desk.say("dlq.ledger", b"payment/sound", value, [])
        line = {"at": "2026-01-01T00:00:00Z", "by": "x", "action": "note"}
        for each in LINES:
            desk.say("dlq.audit", None, each if isinstance(each, bytes) else json.dumps(line | each).encode(), [])
        yield desk


def told(desk: Desk, *arguments: str) -> str:
    """What a command says; nothing of it is obeyed by a terminal."""
    ran = desk.dlq(*arguments)
    assert ran.code in (0, 1, 2), ran
    assert not hostile((ran.out + ran.err).replace("\n", "").replace("\t", ""))
    return ran.out + ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "--all"],
        ["list", "--since", "2h"],
        ["list", "--match", "owned"],
        ["groups"],
        ["groups", "--json"],
        ["watch"],
        ["watch", "--json"],
        ["audit"],
        ["audit", "--json"],
        ["show", "odd-"],
        ["export", "-"],
        ["replay", "--dry-run"],
        ["replay", "--dry-run", "--json"],
        ["replay", "--resume", "job-1", "--yes"],
        ["cancel", f"job{OSC}"],
        ["discard", OSC, "--why", "x", "--yes"],
        ["restore", "sound", "--yes"],
        ["edit", "odd-7", "--set", "a=b", "--yes"],
        ["edit", OSC, "--set", "a=b", "--yes"],
    ],
    ids=lambda arguments: ascii(" ".join(arguments)),
)
def test_a_command_answers_whatever_lies_there(odd: Desk, arguments: list[str]) -> None:
    assert told(odd, *arguments)


def test_every_letter_is_listed_and_can_be_shown(odd: Desk) -> None:
    ran = odd.dlq("list", "--json")
    by_dialect: dict[str, set[str]] = {}
    for letter in ran.json:
        by_dialect.setdefault(letter["dialect"], set()).add(letter["id"])
        for form in ([], ["--json"]):
            assert told(odd, "show", letter["id"], *form)
    assert by_dialect["ours"] == OURS | {"sound"}
    assert len(by_dialect["spring"]) == 1
    assert len(by_dialect["unknown"]) == len(ODD) - len(OURS) - 1
    assert f"{len(ENTRIES)} records of dlq.ledger can't be read" in ran.err


def test_what_can_be_exported_can_be_imported_and_the_rest_is_refused_by_line(odd: Desk, tmp_path: Path) -> None:
    file = tmp_path / "odd.jsonl"
    assert "exported" in told(odd, "export", str(file))
    assert not hostile(file.read_text().replace("\n", ""))
    assert "not a letter of payment" in told(odd, "import", str(file))
    told(odd, "export", str(file), "--match", "head of 5 bytes")
    assert "0 put back, 1 lay there already" in told(odd, "import", str(file))


def test_letters_that_hold_a_part_of_their_message_say_where_all_of_it_lies(odd: Desk) -> None:
    for command in (["replay", "odd-7", "--yes"], ["edit", "odd-7", "--set", "a=b", "--yes"]):
        assert "head of 5 bytes; the whole message lies at checkout.accepted/" in told(odd, *command)
    assert "head of 5 bytes" in told(odd, "show", "odd-7")
