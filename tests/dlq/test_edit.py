"""Edits: checked against schemas and locks, shown as a difference, and never both the old and the new one sent."""

import hmac
import json
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import fastavro
import pytest

from dlq.avro_json import from_json, to_json
from dlq.deeds import Action, Author
from dlq.desk import say
from dlq.dialects import NAMES
from dlq.edit import _measured
from dlq.ledger import State
from dlq.letter import text_headers
from dlq.locks import NOTHING, Change, EditError, assign, changes, check_locks
from dlq.messages import headers_of
from dlq.wire import Wire
from schemas.events import CheckoutAccepted
from schemas.registry import published
from tests.dlq.acting import START, Desk, desk_on, ended
from tests.servers import TestServers

SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "thing",
    "namespace": "a",
    "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "event_id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "raw", "type": "bytes", "default": ""},
        {"name": "count", "type": "int"},
        {"name": "maybe", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}], "default": None},
        {"name": "kind", "type": {"type": "enum", "name": "kind", "symbols": ["A", "B"]}, "default": "A"},
        {"name": "also", "type": "kind", "default": "A"},
        {"name": "parts", "type": {"type": "array", "items": {"type": "map", "values": "double"}}, "default": []},
        {"name": "ok", "type": "boolean", "default": False},
    ],
}
RECORD: Final[dict[str, Any]] = {
    "at": datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    "event_id": UUID(int=7),
    "raw": b"\x00\xff",
    "count": -1,
    "maybe": datetime(2026, 1, 2, tzinfo=UTC),
    "kind": "B",
    "also": "A",
    "parts": [{"x": 1.5}, {}],
    "ok": True,
}


@pytest.fixture
def desk(servers: TestServers) -> Iterator[Desk]:
    with desk_on(servers) as made:
        yield made


@pytest.fixture(scope="module")
def still(servers: TestServers) -> Iterator[Desk]:
    """A desk with one letter, for tests after which nothing may have changed."""
    with desk_on(servers) as made:
        made.put(made.letter())
        yield made


# JSON and locks


def test_json_and_back_is_the_same_record() -> None:
    shown = json.loads(json.dumps(to_json(RECORD)))
    assert (shown["at"], shown["event_id"]) == ("2026-01-02T03:04:05.678901Z", str(UUID(int=7)))
    assert shown["raw"] == "AP8="
    back = from_json(SCHEMA, shown)
    assert back == RECORD
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(SCHEMA), back)
    buffer.seek(0)
    assert fastavro.schemaless_reader(buffer, fastavro.parse_schema(SCHEMA), None) == RECORD


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"count": "x"}, "count: 'x' is not a whole number (int)"),
        ({"count": 2**31}, f"count: {2**31} is not a whole number (int)"),
        ({"count": True}, "count: True is not a whole number (int)"),
        ({"at": "yesterday"}, "at: 'yesterday' is not timestamp-micros"),
        ({"at": 5}, "at: 5 is not timestamp-micros"),
        ({"event_id": "7"}, "event_id: '7' is not uuid"),
        ({"raw": "*"}, "raw: '*' is not base64"),
        ({"kind": "C"}, "kind: 'C' is not one of A, B"),
        ({"also": "C"}, "also: 'C' is not one of A, B"),
        ({"parts": [{}, {"x": "y"}]}, "parts[1].x: 'y' is not double"),
        ({"parts": {}}, "parts: {} is not a list"),
        ({"ok": 1}, "ok: 1 is not boolean"),
        ({"kimd": "A"}, "kimd: there is no such field; there is at, event_id"),
    ],
)
def test_a_mistake_is_named_by_its_path(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(EditError) as caught:
        from_json(SCHEMA, to_json(RECORD) | change)
    assert str(caught.value).startswith(sentence)


def test_only_fields_with_a_default_may_be_missing() -> None:
    shown = to_json(RECORD)
    del shown["raw"], shown["parts"]
    from_json(SCHEMA, shown)
    del shown["count"]
    with pytest.raises(EditError, match="count: is missing, and has no default"):
        from_json(SCHEMA, shown)


def test_a_difference_names_every_path_that_differs() -> None:
    old = {"a": 1, "b": {"c": [1, 2]}, "d": []}
    new = {"a": 1, "b": {"c": [1, 3, 4]}, "e": "x"}
    assert changes(old, new) == [
        Change("b.c[1]", "2", "3"),
        Change("d", "[]", "(nothing)"),
        Change("b.c[2]", "(nothing)", "4"),
        Change("e", "(nothing)", '"x"'),
    ]


@pytest.mark.parametrize(
    ("path", "locked"),
    [
        ("event_id", True),
        ("checkout_id", True),
        ("customer_id", True),
        ("total_minor", True),
        ("amount_minor", True),
        ("currency", True),
        ("lines[0].unit_price_minor", True),
        ("lines[12].product_id", True),
        ("order_id.part", True),
        ("lines[0].quantity", False),
        ("code", False),
        ("identity", False),
        ("idle", False),
    ],
)
def test_identities_and_sums_are_locked_and_nothing_else(path: str, locked: bool) -> None:
    assert Change(path, "1", "2").locked == locked


def test_a_locked_field_is_refused_by_name() -> None:
    with pytest.raises(EditError, match=r"total_minor \(1 -> 2\), currency"):
        check_locks([Change("total_minor", "1", "2"), Change("code", "1", "2"), Change("currency", "1", "2")])


@pytest.mark.parametrize(
    ("assignment", "after"),
    [
        ("a=x", {"a": "x", "b": [{"n": 1}]}),
        ("a=5", {"a": "5", "b": [{"n": 1}]}),
        ("b[0].n=5", {"a": "t", "b": [{"n": 5}]}),
        ("b.0.n=5", {"a": "t", "b": [{"n": 5}]}),
        ("b[0].n=x=y", {"a": "t", "b": [{"n": "x=y"}]}),
        ("b=[]", {"a": "t", "b": []}),
    ],
)
def test_an_assignment_sets_text_where_text_stands_and_json_elsewhere(assignment: str, after: Any) -> None:
    data = {"a": "t", "b": [{"n": 1}]}
    assign(data, assignment)
    assert data == after


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("a", "'a' is not path=value"),
        ("=1", "'=1' is not path=value"),
        ("a b=1", "'a b' is no path"),
        ("c=1", "c: there is no 'c'; there is a, b"),
        ("b[3].n=1", "b[3].n: there is no 3; there is 1 items"),
    ],
)
def test_an_assignment_that_means_nothing_is_refused(assignment: str, sentence: str) -> None:
    with pytest.raises(EditError) as caught:
        assign({"a": "t", "b": [{"n": 1}]}, assignment)
    assert str(caught.value).startswith(sentence)


# on real topics


def _value(desk: Desk, letter_id: str) -> CheckoutAccepted:
    event = desk.codec.decode("checkout.accepted", desk.letters()[letter_id].value).event
    assert isinstance(event, CheckoutAccepted)
    return event


def _edited(desk: Desk, letter_id: str, *arguments: str) -> str:
    ran = desk.dlq("edit", letter_id, "--yes", "--json", *arguments)
    assert ran.code == 0, ran
    return str(ran.json["edited_to"])


def test_an_edited_letter_takes_the_old_ones_place_in_one_step(desk: Desk) -> None:
    made = desk.letter()
    desk.put(made)
    new = _edited(desk, made.id, "--set", "lines[0].sku=sku-2", "--why", "sku renamed", "--by", "ann")
    assert _value(desk, new).lines[0].sku == "sku-2"
    old, letter = desk.letters()[made.id], desk.letters()[new]
    assert (old.state, letter.state) == (State.SUPERSEDED, State.OPEN)
    assert old.value == made.origin.value
    assert old.entry is not None
    assert (old.entry.edited_to, old.entry.by, old.entry.why) == (new, "ann", "sku renamed")
    assert UUID(new).version == 7
    schema_id = str(desk.schema_ids[f"{desk.prefix}checkout.accepted-value"])
    changed = {"dlq-id": new, "dlq-edit-of": made.id, "dlq-edit-root": made.id, "dlq-schema-id": schema_id}
    assert letter.info == old.info | changed
    assert letter.key == old.key
    ours = {
        "dlq-edit-salt",
        "dlq-id",
        "dlq-edit-of",
        "dlq-edit-root",
        "dlq-schema-id",
        *(n for n in NAMES if "dlq-value" in n),
    }
    assert sorted(h for h in letter.headers if h[0] not in ours) == sorted(h for h in old.headers if h[0] not in ours)
    [line] = desk.audit()
    assert (line["action"], line["why"], line["detail"]["edited_to"]) == ("edited", "sku renamed", new)
    [change] = line["detail"]["changes"]
    salt = bytes.fromhex((dict(letter.headers)["dlq-edit-salt"] or b"").decode())
    # whoever has the letter can tell what was changed, and nobody else
    assert change == {
        "path": "lines[0].sku",
        "old": {"bytes": 7, "hmac_sha256": hmac.new(salt, b'"sku-1"', "sha256").hexdigest()},
        "new": {"bytes": 7, "hmac_sha256": hmac.new(salt, b'"sku-2"', "sha256").hexdigest()},
    }
    [raw] = [bytes(record.value() or b"") for record in desk.records("dlq.audit")]
    assert not any(secret in raw for secret in (b"sku-1", b"sku-2", salt.hex().encode()))


def test_each_edit_has_a_salt_of_its_own_that_stays_on_its_letter(desk: Desk) -> None:
    [first] = desk.put(desk.letter())
    second = _edited(desk, first, "--set", "lines[0].sku=sku-2")
    third = _edited(desk, second, "--set", "lines[0].sku=sku-1")
    salts = [dict(desk.letters()[each].headers)["dlq-edit-salt"] for each in (second, third)]
    assert len({*salts}) == len(salts)
    one, other = (line["detail"]["changes"][0] for line in desk.audit())
    assert one["old"]["hmac_sha256"] != other["new"]["hmac_sha256"]
    assert desk.dlq("replay", third, "--yes", "--no-wait").code == 0
    assert [text_headers(message).get("dlq-edit-salt") for message in desk.retried()] == [None]


def test_what_was_not_there_before_has_no_length(desk: Desk) -> None:
    [old] = desk.put(desk.letter())
    lines = [{"sku": "sku-1", "quantity": 2, "unit_price_minor": 1250}]
    assert _measured(NOTHING, b"salt") is None
    assert _measured('"(nothing)"', b"salt") is not None
    new = _edited(desk, old, "--set", f"lines={json.dumps(lines[:1]).replace('sku-1', 'sku-é')}")
    assert [(c["path"], c["new"]["bytes"]) for c in desk.audit()[0]["detail"]["changes"]] == [("lines[0].sku", 8)]
    assert new in desk.letters()


def test_an_entry_of_an_earlier_version_is_shown_as_it_is(desk: Desk) -> None:
    [old] = desk.put(desk.letter())
    author = Author(by="ann@desk", at=START, why="sku renamed")
    detail = {"edited_to": "x", "changes": [["lines[0].sku", '"sku-1"', '"sku-2"']], "changes_in_all": 1}
    say(desk.settings, author.deed(Action.EDITED, detail=detail).record(f"payment/{old}"))
    for arguments in (("show", old), ("audit",)):
        shown = desk.dlq(*arguments)
        assert (shown.code, "sku renamed" in shown.out) == (0, True), shown
    assert desk.dlq("show", old, "--json").json["audit"][0]["detail"] == detail
    assert desk.dlq("audit", "--json").json[0]["detail"] == detail


def test_only_the_edited_letter_is_ever_sent(desk: Desk) -> None:
    [old] = desk.put(desk.letter())
    new = _edited(desk, old, "--set", "lines[0].sku=sku-2")
    ran = desk.dlq("replay", "--yes", "--json", "--no-wait")
    assert ran.json["refused"] == {"superseded": 1}
    [message] = desk.retried()
    said = text_headers(message)
    assert (said["dlq-id"], said["dlq-edit-of"], said["dlq-edit-root"]) == (new, old, old)
    event = desk.codec.decode("checkout.accepted", message.value()).event
    assert isinstance(event, CheckoutAccepted)
    assert event.lines[0].sku == "sku-2"
    assert ("traceparent", b"00-aa") in headers_of(message)


@pytest.mark.slow
def test_an_edit_of_an_edit_keeps_the_chain(desk: Desk) -> None:
    [first] = desk.put(desk.letter())
    second = _edited(desk, first, "--set", "lines[0].sku=sku-2")
    third = _edited(desk, second, "--set", "lines[0].sku=sku-3")
    found = desk.letters()
    assert [found[each].info["dlq-edit-of"] for each in (first, second, third)] == ["", first, second]
    assert [found[each].info["dlq-edit-root"] for each in (first, second, third)] == ["", first, first]
    assert [found[each].state for each in (first, second, third)] == [State.SUPERSEDED, State.SUPERSEDED, State.OPEN]
    entries = desk.ledger()
    assert [entries[each].edited_to for each in (first, second)] == [second, third]
    refused = desk.dlq("edit", first, "--set", "lines[0].sku=x", "--yes")
    assert (refused.code, f"superseded by {second}" in refused.err) == (2, True)


def test_the_replay_count_is_carried_over(desk: Desk) -> None:
    [old] = desk.put(desk.letter())
    desk.entry(old, State.FAILED_AGAIN, replay_count=5)
    new = _edited(desk, old, "--set", "lines[0].sku=sku-2")
    assert desk.letters()[new].replay_count == 5
    assert desk.dlq("replay", new, "--yes").code == 0
    assert [text_headers(message)["dlq-replay-count"] for message in desk.retried()] == ["6"]


@pytest.mark.parametrize("arguments", [["--set", "lines[0].sku=sku-1"], ["--set", "currency=EUR"]])
def test_an_edit_that_changes_nothing_writes_nothing(still: Desk, arguments: list[str]) -> None:
    [old] = still.letters()
    ran = still.dlq("edit", old, "--yes", *arguments)
    assert (ran.code, ran.out) == (0, "nothing changed\n")
    assert still.silence()
    assert len(still.records("payment.dlq")) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "total_minor=1"], "locked, because it would be another event then: total_minor (2500 -> 1)"),
        (["--set", "checkout_id=c-9"], 'checkout_id ("c-0" -> "c-9")'),
        (["--set", "currency=USD"], 'currency ("EUR" -> "USD")'),
        (["--set", "lines[0].unit_price_minor=1"], "lines[0].unit_price_minor (1250 -> 1)"),
        (["--set", "lines=[]"], "lines[0].unit_price_minor (1250 -> (nothing))"),
        (["--set", "lines[0].quantity=two"], "lines[0].quantity: 'two' is not a whole number"),
        (["--set", "expires_at=soon"], "expires_at: 'soon' is not timestamp-micros"),
        (["--set", "colour=red"], "colour: there is no 'colour'"),
        (["--file", "no-such-file"], "no-such-file: No such file or directory"),
        ([], "there is no terminal for an editor"),
    ],
)
def test_what_must_not_or_cannot_be_changed_is_refused(still: Desk, arguments: list[str], said: str) -> None:
    [old] = still.letters()
    ran = ended(still.start("edit", old, "--yes", *arguments))
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1
    assert still.silence()
    assert len(still.records("payment.dlq")) == 1


@pytest.mark.parametrize("state", [State.RESOLVED, State.REPLAYING, State.DISCARDED, State.SUPERSEDED])
def test_a_settled_letter_cannot_be_edited(desk: Desk, state: State) -> None:
    [old] = desk.put(desk.letter())
    desk.entry(old, state, replay_id="J", edited_to="other")
    ran = desk.dlq("edit", old, "--set", "lines[0].sku=x", "--yes")
    assert (ran.code, ran.err.startswith(f"dlq edit: {old} can't be edited: ")) == (2, True)
    assert len(desk.records("payment.dlq")) == 1


def test_without_a_yes_the_difference_is_shown_and_nothing_is_written(still: Desk) -> None:
    [old] = still.letters()
    ran = ended(still.start("edit", old, "--set", "lines[0].sku=sku-2"))
    assert ran.code == 2
    assert '  lines[0].sku: "sku-1" -> "sku-2"' in ran.out.splitlines()
    assert still.silence()


@pytest.mark.slow
def test_a_letter_that_is_sent_while_it_is_edited_is_not_superseded(desk: Desk, tmp_path: Path) -> None:
    [old] = desk.put(desk.letter())
    editor = _editor(tmp_path, f'replay("{old}")')
    ran = desk.dlq_on_terminal("edit", old, "--yes", editor=editor)
    assert ran.code == 2, ran
    assert f"{old} can't be edited: being replayed by job" in ran.err
    assert len(desk.records("payment.dlq")) == 1
    assert set(desk.retried_ids()) == {old}


@pytest.mark.slow
def test_an_editor_gets_the_value_and_a_refused_text_is_kept(desk: Desk, tmp_path: Path) -> None:
    [old] = desk.put(desk.letter())
    good = desk.dlq_on_terminal("edit", old, "--yes", editor=_editor(tmp_path, ""))
    assert good.code == 0, good
    [new] = [each for each in desk.letters() if each != old]
    assert _value(desk, new).lines[0].sku == "sku-edited"
    bad = desk.dlq_on_terminal("edit", new, "--yes", editor=_editor(tmp_path, 'data["total_minor"] = 1'))
    assert bad.code == 2
    kept = Path(bad.err.split("--file ")[1].strip())
    assert json.loads(kept.read_text())["total_minor"] == 1
    kept.unlink()


def _editor(folder: Path, more: str) -> str:
    """A program that edits as a person would."""
    script = folder / "editor.py"
    script.write_text(
        "import json, sys, subprocess\n"
        "def replay(letter):\n"
        "    code = 'from dlq.cli import main; main()'\n"
        "    subprocess.run([sys.executable, '-c', code, 'replay', letter, '--yes', '--no-wait'], check=True)\n"
        "data = json.load(open(sys.argv[1]))\n"
        "data['lines'][0]['sku'] = 'sku-edited'\n"
        f"{more}\n"
        "json.dump(data, open(sys.argv[1], 'w'))\n"
    )
    program = folder / "editor"
    program.write_text(f'#!/bin/sh\nexec "{os.sys.executable}" "{script}" "$1"\n')  # type: ignore[attr-defined]
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


# schemas


def _failed_v1(desk: Desk) -> tuple[int, bytes, dict[str, Any]]:
    """A checkout.failed as services of the first version wrote it."""
    old = json.loads(published("checkout.failed")[0])
    client = Wire(desk.settings)
    with closing(client):
        versions = client._client.now()
        schema_id = versions.get_version(f"{desk.prefix}checkout.failed-value", 1).schema_id
    assert schema_id is not None
    record = {
        "event_id": UUID(int=1),
        "checkout_id": "c-0",
        "occurred_at": START,
        "customer_id": "customer-1",
        "code": "OUT_OF_STOCK",
        "message": "m",
        "detail": "d",
        "accepted": True,
    }
    body = BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(old), record)
    return schema_id, b"\x00" + schema_id.to_bytes(4, "big") + body.getvalue(), record


def test_a_letter_of_an_older_schema_is_replayed_as_it_is(desk: Desk) -> None:
    schema_id, value, _ = _failed_v1(desk)
    assert schema_id != desk.schema_ids[f"{desk.prefix}checkout.failed-value"]
    desk.put(desk.letter(value=value, topic="checkout.failed"))
    assert desk.dlq("replay", "--yes").code == 0
    assert [message.value() for message in desk.retried()] == [value]


def test_a_letter_of_an_older_schema_is_edited_into_the_newest(desk: Desk) -> None:
    _, value, record = _failed_v1(desk)
    [old] = desk.put(desk.letter(value=value, topic="checkout.failed"))
    assert desk.dlq("show", old, "--json", "--no-saga").json["value"]["decoded"]["code"] == "OUT_OF_STOCK"
    assert desk.dlq("edit", old, "--yes", "--set", "code=OUT_OF_STOCK").out == "nothing changed\n"
    assert len(desk.records("payment.dlq")) == 1
    edited = _edited(desk, old, "--set", "code=UNKNOWN_SKU")
    new = desk.letters()[edited]
    newest = desk.schema_ids[f"{desk.prefix}checkout.failed-value"]
    assert new.info["dlq-schema-id"] == str(newest)
    envelope = desk.codec.decode("checkout.failed", new.value)
    assert (envelope.event_id, envelope.occurred_at) == (record["event_id"], record["occurred_at"])
    assert getattr(envelope.event, "code", "") == "UNKNOWN_SKU"
    assert getattr(envelope.event, "error_class", None) == ""


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"\x00\x00\x0f\xff\xff\x02", "schema id 1048575 is unknown to the registry"),
        (b"no", "2 bytes: shorter than the Confluent prefix"),
        (None, "no value (a tombstone)"),
        ("cut", "not schema id"),
        ("long", "3 more bytes follow the record"),
        ("other", "is checkout.failed, not checkout.accepted"),
    ],
)
@pytest.mark.slow
def test_a_letter_that_cannot_be_read_is_repaired_with_a_whole_value(
    desk: Desk, tmp_path: Path, value: bytes | str | None, why: str
) -> None:
    made = desk.letter()
    good = made.origin.value or b""
    special = {"cut": good[:-5], "long": good + b"abc", "other": _failed_v1(desk)[1]}
    broken = special[value] if isinstance(value, str) else value
    desk.put(replace(made, origin=replace(made.origin, value=broken)))
    refused = desk.dlq("edit", made.id, "--set", "lines[0].sku=x", "--yes")
    assert refused.code == 2
    assert why in refused.err
    file = tmp_path / "value.json"
    file.write_text(json.dumps(_whole(desk, good)))
    new = _edited(desk, made.id, "--file", str(file))
    assert _value(desk, new).total_minor == 2500
    assert desk.dlq("replay", new, "--yes").code == 0
    assert set(desk.retried_ids()) == {new}


def _whole(desk: Desk, value: bytes) -> dict[str, Any]:
    envelope = desk.codec.decode("checkout.accepted", value)
    event = envelope.event
    assert isinstance(event, CheckoutAccepted)
    return {
        "event_id": str(envelope.event_id),
        "checkout_id": event.checkout_id,
        "occurred_at": "2026-11-20T10:00:00Z",
        "customer_id": event.customer_id,
        "payment_method_id": event.payment_method_id,
        "currency": event.currency,
        "total_minor": event.total_minor,
        "lines": [{"sku": line.sku, "quantity": line.quantity, "unit_price_minor": line.unit_price_minor}
                  for line in event.lines],
        "expires_at": "2026-11-21T10:00:00Z",
    }  # fmt: skip


def test_a_repair_must_be_of_the_same_checkout_and_event(desk: Desk, tmp_path: Path) -> None:
    ce_id = str(UUID(int=5))
    made = desk.letter(value=b"no", headers=[("ce_id", ce_id.encode())])
    desk.put(made)
    whole = _whole(desk, desk.letter().origin.value or b"")
    file = tmp_path / "value.json"
    for change, name in (({"checkout_id": "c-9", "event_id": ce_id}, "checkout_id"), ({}, "event_id")):
        file.write_text(json.dumps(whole | change))
        ran = desk.dlq("edit", made.id, "--file", str(file), "--yes")
        assert (ran.code, f"locked: {name} is" in ran.err) == (2, True)
    assert desk.silence()
