"""`dlq groups`, `list`, `show`, `audit`: what a person or a program reads."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from dlq.ledger import State
from dlq.letter import Disposition, Fault, Replay
from dlq.settings import DlqSettings
from schemas.codec import Codec
from schemas.envelope import Envelope, event_headers, rfc3339
from schemas.events import WarehouseReserved
from schemas.registry import register
from schemas.registry_client import registry_client
from tests.dlq.making import NOW, enter, environment, letter, many, produce, put, write_audit
from tests.dlq.running import answer, dlq, refusal

GROUPS_S = 3.0
SILENCE_S = 10.0
COMMANDS = (["groups"], ["list"], ["show", "x"], ["export", "-"], ["watch"], ["audit"])


def test_groups_are_by_cause_with_ages_states_and_a_sample(settings: DlqSettings) -> None:
    again = letter(
        "again", failed=NOW - timedelta(hours=1), first_failed=NOW - timedelta(days=2), replay=Replay("r", 1)
    )
    put(settings, letter("a", failed=NOW - timedelta(hours=3)), again, letter("done"))
    put(settings, letter("other", service="warehouse", fault=Fault("ValueError", "bad", "", "f-bad")))
    enter(settings, again, State.FAILED_AGAIN, replay_count=1)
    enter(settings, letter("done"), State.RESOLVED)
    first, second = answer(settings, "groups")
    assert again.id == first["sample_id"]
    assert {name: first[name] for name in ("service", "event_type", "error_class", "fingerprint", "count")} == {
        "service": "payment",
        "event_type": "warehouse.reserved",
        "error_class": "ProviderError",
        "fingerprint": "f-provider",
        "count": 2,
    }
    assert first["states"] == {"open": 1, "failed_again": 1}
    assert (first["replayed"], first["failed_again"], first["message"]) == (1, 1, "the provider said 500")
    assert datetime.fromisoformat(first["first_failed_at"]) == NOW - timedelta(days=2)
    assert 2 * 86_400 <= first["oldest_age_s"] < 2 * 86_400 + 600
    assert (second["service"], second["error_class"], second["count"]) == ("warehouse", "ValueError", 1)


def test_settled_letters_are_shown_when_asked_for(settings: DlqSettings) -> None:
    put(settings, letter("open"), letter("done"))
    enter(settings, letter("done"), State.DISCARDED)
    assert [found["id"] for found in answer(settings, "list")] == ["open"]
    assert {found["id"] for found in answer(settings, "list", "--all")} == {"open", "done"}
    assert [found["id"] for found in answer(settings, "list", "--state", "discarded")] == ["done"]
    assert "1 letters are settled and not shown" in dlq(settings, "groups").stderr


def test_filters_combine(settings: DlqSettings) -> None:
    put(
        settings,
        letter("a", checkout="c-1"),
        letter("b", checkout="c-2", failed=NOW - timedelta(days=2)),
        letter("c", checkout="c-2", disposition=Disposition.FATAL, headers=[("tenant", b"Acme")]),
        letter("d", checkout="c-2", service="warehouse"),
    )
    payment = ("--service", "payment")
    asked = {
        (*payment, "--checkout", "c-2"): {"b", "c"},
        (*payment, "--disposition", "fatal"): {"c"},
        (*payment, "--since", "1d"): {"a", "c"},
        (*payment, "--until", "1d"): {"b"},
        ("--match", "acme"): {"c"},
        ("--checkout", "c-1", "--checkout", "c-2", "--since", "1d"): {"a", "c", "d"},
        ("--fingerprint", "f-none"): set(),
    }
    assert {ask: {found["id"] for found in answer(settings, "list", *ask)} for ask in asked} == asked


def test_a_list_for_people_names_every_letter_and_says_when_there_are_more(settings: DlqSettings) -> None:
    put(settings, *(letter(f"letter-{n}", failed=NOW - timedelta(minutes=n)) for n in range(5)))
    shown = dlq(settings, "list", "--limit", "2")
    assert [line.split()[0] for line in shown.stdout.splitlines() if line.startswith("letter")] == [
        "letter-4",
        "letter-3",
    ]
    assert "3 more letters" in shown.stderr


def test_what_lies_on_a_topic_can_not_move_the_cursor(settings: DlqSettings) -> None:
    put(settings, letter("odd", checkout="\x1b[2Jc", fault=Fault("E", "[red]\x1b]0;title\x07", "\x1b[1m", "f")))
    for command in (["list"], ["groups"], ["show", "odd"]):
        shown = dlq(settings, *command)
        assert "\x1b" not in shown.stdout
        assert "\x07" not in shown.stdout
        assert "[red]" in shown.stdout


def said(settings: DlqSettings, checkout: str, at: datetime) -> Envelope:
    """An event of a checkout on its topic, as its service says it."""
    envelope = Envelope(WarehouseReserved(checkout_id=checkout, expires_at=at), uuid4(), at)
    with closing(Codec(settings.schema_registry_url, settings.topic_prefix)) as codec:
        value = codec.encode(envelope)
    topic, headers = f"{settings.topic_prefix}warehouse.reserved", event_headers(envelope, "warehouse", "cause", [])
    produce(settings, [{"topic": topic, "partition": 1, "key": checkout.encode(), "value": value, "headers": headers}])
    return envelope


def test_show_tells_everything_of_a_letter(settings: DlqSettings) -> None:
    with closing(registry_client(settings.schema_registry_url)) as client:
        register(client, settings.topic_prefix)
    envelope = said(settings, "c-1", NOW)
    said(settings, "c-other", NOW)
    with closing(Codec(settings.schema_registry_url, settings.topic_prefix)) as codec:
        value = codec.encode(envelope)
    written = letter("l-1", value=value, headers=[("ce_id", b"7")], prefix=settings.topic_prefix, offset=0)
    put(settings, written)
    enter(settings, written, State.REPLAYING, replay_id="job-1", replay_count=1, why="provider is back")
    write_audit(settings, "payment/l-1", action="note", why="mine")
    # later: lines of one moment lie in whatever order their partitions are read
    later = rfc3339(NOW + timedelta(seconds=1))
    write_audit(settings, "job-1", action="replay", replay_id="job-1", letters=3, at=later)
    write_audit(settings, "payment/l-2", action="note", why="not mine")
    found = answer(settings, "show", "l-1")
    assert found["value"]["schema"] == "warehouse.reserved"
    assert found["value"]["decoded"]["checkout_id"] == "c-1"
    assert found["value"]["why"] == ""
    assert found["headers"][0] == ["ce_id", "7"]
    assert found["error_stack"] == "Traceback\n  frame"
    assert (found["state"], found["entry"]["why"]) == ("replaying", "provider is back")
    assert [line["action"] for line in found["audit"]] == ["note", "replay"]
    (event,) = found["saga"]
    assert (event["event_id"], event["event_type"], event["source"], event["is_letter"]) == (
        str(envelope.event_id),
        "warehouse.reserved",
        "warehouse",
        True,
    )
    for text in ("provider is back", '"checkout_id": "c-1"', "Traceback", "this letter's message", "l-1"):
        assert text in dlq(settings, "show", "l-").stdout


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "no value"),
        (b"", "shorter than the Confluent prefix"),
        (b"{}json", "not the Confluent wire format"),
        (b"\x00\x7f\xff\xff\xff\x01", "unknown to the registry"),
    ],
)
def test_show_says_why_a_value_is_not_decoded_and_shows_its_bytes(
    settings: DlqSettings, value: bytes | None, why: str
) -> None:
    put(settings, letter("l-1", value=value))
    found = answer(settings, "show", "l-1", "--no-saga")["value"]
    assert found["decoded"] is None
    assert why in found["why"]
    assert found["bytes"] == (None if value is None else len(value))
    assert found["preview"] == "" if not value else value.hex(" ") in found["preview"]
    assert why in dlq(settings, "show", "l-1", "--no-saga").stdout


def test_show_works_without_a_registry_and_says_so(settings: DlqSettings) -> None:
    put(settings, letter("l-1"))
    away = settings.model_copy(update={"schema_registry_url": "http://127.0.0.1:9"})
    assert "the schema registry does not answer" in answer(away, "show", "l-1", "--no-saga")["value"]["why"]


def test_show_of_an_unknown_or_ambiguous_letter_is_one_line(settings: DlqSettings) -> None:
    put(settings, letter("l-1"), letter("l-2"))
    assert "there is no letter nobody" in refusal(dlq(settings, "show", "nobody"))
    assert "2 letters are called l-: payment/l-1, payment/l-2" in refusal(dlq(settings, "show", "l-"))


def test_show_tells_of_a_message_in_every_service_that_has_a_letter_of_it(settings: DlqSettings) -> None:
    put(settings, letter("l-1"), letter("l-1", service="warehouse"))
    told = dlq(settings, "show", "l-1")
    assert told.returncode == 0, told.stderr
    assert ("payment.dlq" in told.stdout, "warehouse.dlq" in told.stdout) == (True, True)
    assert "2 letters are called l-1" in refusal(dlq(settings, "show", "l-1", "--json"))
    assert answer(settings, "show", "warehouse/l-1")["service"] == "warehouse"


def test_the_audit_is_told_in_the_order_of_its_times(settings: DlqSettings) -> None:
    write_audit(settings, "payment/2", at=rfc3339(NOW), detail={"n": 1})
    write_audit(settings, "payment/1", at=rfc3339(NOW - timedelta(hours=1)))
    produce(settings, [{"topic": f"{settings.topic_prefix}dlq.audit", "key": b"k", "value": b"no json"}])
    ran = dlq(settings, "audit", "--json")
    assert [(line["key"], line["by"]) for line in json.loads(ran.stdout)] == [
        ("payment/1", "somebody"),
        ("payment/2", "somebody"),
    ]
    assert "1 records of dlq.audit can't be read" in ran.stderr
    assert "payment/1" in dlq(settings, "audit").stdout
    assert answer(settings, "audit", "--since", rfc3339(datetime.now(UTC) + timedelta(hours=1))) == []


def test_a_missing_broker_is_one_line_within_ten_seconds(settings: DlqSettings) -> None:
    away = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:9"})
    begin = time.monotonic()
    with ThreadPoolExecutor() as pool:
        said_of_it = [refusal(ran) for ran in pool.map(lambda command: dlq(away, *command), COMMANDS)]
    assert all("KAFKA_BOOTSTRAP_SERVERS" in line for line in said_of_it)
    assert time.monotonic() - begin < SILENCE_S


@pytest.mark.parametrize(
    ("arguments", "said_of_it"),
    [
        (["list", "--wrong"], "--wrong"),
        (["nothing"], "nothing"),
        (["show"], "ID"),
        (["list", "--since", "yesterday"], "yesterday"),
        (["list", "--state", "opne"], "opne"),
        (["list", "--limit", "many"], "--limit"),
        (["groups", "--topic", "nobody.dlq"], "no topic nobody.dlq"),
        (["import", "/nowhere/letters.jsonl"], "/nowhere/letters.jsonl"),
        (["export", "/nowhere/letters.jsonl"], "/nowhere"),
        (["watch", "--max-age", "old"], "old"),
        (["watch", "--known", "/nowhere/known"], "/nowhere/known"),
    ],
)
def test_a_wrong_flag_or_file_is_one_line(settings: DlqSettings, arguments: list[str], said_of_it: str) -> None:
    assert said_of_it in refusal(dlq(settings, *arguments))


def test_a_missing_setting_is_one_line_that_names_it(settings: DlqSettings) -> None:
    ran = dlq(settings, "groups", KAFKA_BOOTSTRAP_SERVERS="")
    assert "KAFKA_BOOTSTRAP_SERVERS" in refusal(ran)


@pytest.mark.slow
def test_a_reader_that_has_had_enough_is_no_error(settings: DlqSettings) -> None:
    put(settings, *many(2_000))
    for command in ("dlq list", "dlq list --json", "dlq export -"):
        ran = subprocess.run(
            ["bash", "-c", f"{command} | head -n 1"],
            env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment(settings)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert len(ran.stdout.splitlines()) == 1
        assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_groups_of_ten_thousand_letters_are_told_within_three_seconds(settings: DlqSettings) -> None:
    put(settings, *many(10_000))
    begin = time.monotonic()
    assert sum(group["count"] for group in answer(settings, "groups")) == 10_000
    assert time.monotonic() - begin < GROUPS_S
