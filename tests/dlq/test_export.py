"""Letters as JSON lines, and back."""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlq.dialects import NAMES
from dlq.export import BadLineError, Parcel, line, parcels
from dlq.ledger import State
from dlq.letters import DeadLetter, letter_from
from dlq.reading import read_letters
from dlq.settings import DlqSettings
from dlq.topics import dump
from schemas.envelope import Header
from tests.dlq.making import NOW, enter, letter, own_topics, put
from tests.dlq.running import answer, dlq, refusal
from tests.servers import TestServers

ODD: list[Header] = [("twice", b"1"), ("a", None), ("twice", b"2"), ("b", b""), ("c", b"\xff\x00"), ("", b"\xc3\xa9")]
Bytes = bytes | None


def as_they_lie(settings: DlqSettings) -> dict[str, tuple[str, Bytes, Bytes, list[Header]]]:
    """Every record of the dead-letter topics, without its place and time."""
    names = [f"{settings.topic_prefix}{service}.dlq" for service in ("checkout", "payment", "warehouse")]
    found = [letter_from(m, settings.topic_prefix) for m in dump(settings.kafka_bootstrap_servers, names)]
    assert len({x.ledger_key for x in found}) == len(found)
    prefix = settings.topic_prefix
    return {x.ledger_key: (x.place[0].removeprefix(prefix), x.key, x.value, x.headers) for x in found}


def test_a_round_trip_changes_no_byte(settings: DlqSettings, servers: TestServers, tmp_path: Path) -> None:
    put(
        settings,
        letter("null", key=None, value=None),
        letter("empty", key=b"", value=b""),
        letter("bytes", key=b"\xff\x00k", value=bytes(range(256)), headers=ODD),
        letter("text", checkout="café", value="naïve\n\u2028\x00".encode(), service="warehouse"),
        letter("large", value=b"\x00" * 900_000, service="checkout"),
    )
    file = tmp_path / "letters.jsonl"
    assert answer(settings, "export", str(file)) == {"exported": 5, "file": str(file)}
    before = as_they_lie(settings)
    assert before["payment/null"][1:3] == (None, None)
    assert before["payment/empty"][1:3] == (b"", b"")
    assert before["payment/bytes"][3][: len(ODD)] == ODD
    with own_topics(servers) as elsewhere:
        assert answer(elsewhere, "import", str(file))["imported"] == 5
        assert as_they_lie(elsewhere) == before


def test_export_and_import_are_filters_of_a_pipe(settings: DlqSettings, servers: TestServers) -> None:
    put(settings, letter("a"), letter("b", service="warehouse"))
    enter(settings, letter("a"), State.RESOLVED)
    exported = dlq(settings, "export", "-", "--service", "payment")
    assert [json.loads(text)["letter"]["id"] for text in exported.stdout.splitlines()] == ["a"]
    with own_topics(servers) as elsewhere:
        assert answer(elsewhere, "import", "-", stdin=exported.stdout)["imported"] == 1


def test_what_lies_there_already_is_not_put_back_twice(settings: DlqSettings, tmp_path: Path) -> None:
    put(settings, letter("a"), letter("b"))
    file = tmp_path / "letters.jsonl"
    answer(settings, "export", str(file))
    ran = dlq(settings, "import", str(file))
    assert (ran.returncode, ran.stdout) == (0, "0 put back, 2 lay there already\n")
    assert len(as_they_lie(settings)) == 2


def test_nothing_is_put_back_when_a_line_is_bad(settings: DlqSettings, servers: TestServers, tmp_path: Path) -> None:
    put(settings, letter("a"))
    file = tmp_path / "letters.jsonl"
    answer(settings, "export", str(file))
    file.write_text(file.read_text() + "\n{}\n")
    with own_topics(servers) as elsewhere:
        assert f"{file}:3: topic is missing" in refusal(dlq(elsewhere, "import", str(file)))
        assert as_they_lie(elsewhere) == {}


def test_an_export_that_fails_leaves_the_old_file(settings: DlqSettings, tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    file.write_text("precious")
    refusal(dlq(settings, "export", str(file), "--topic", "nobody"))
    assert file.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [file]


def ours(letter_id: str) -> list[tuple[str, bytes]]:
    """What makes a letter one of payment's."""
    return [("dlq-id", letter_id.encode()), ("dlq-service", b"payment")]


def read_back(*texts: bytes) -> list[Parcel]:
    """The letters in these lines."""
    return list(parcels(BytesIO(b"\n".join(texts)), "f"))


def good(**fields: Any) -> dict[str, Any]:
    """A line that can be put back, unless `fields` says otherwise."""
    headers = [[name, base64.b64encode(value).decode()] for name, value in ours("1")]
    return {"topic": "payment.dlq", "key": None, "value": "", "headers": headers, **fields}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"no json", "no JSON: Expecting value at line 1 column 1"),
        (b"[1]", "no JSON object"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "nested more than 32 deep"),
        (json.dumps(good(topic="orders.DLT")).encode(), "is none of checkout.dlq, payment.dlq, warehouse.dlq"),
        (json.dumps(good(topic=["payment.dlq"])).encode(), "is none of"),
        (json.dumps(good(key="no base64!")).encode(), "key: no base64"),
        (json.dumps(good(value=7)).encode(), "value: neither base64 nor null"),
        (json.dumps(good(headers=[])).encode(), "not a letter of payment"),
        (json.dumps(good(headers=[["dlq-id", ""]])).encode(), "not a letter of payment"),
        (json.dumps(good(headers=[["dlq-id"]])).encode(), "name and its value"),
        (json.dumps(good(headers=[["\ud800", None]])).encode(), "surrogate pair"),
        (json.dumps(good(headers=[["a\0b", None]])).encode(), "a name with a NUL"),
        (json.dumps(good(headers=[*good()["headers"], ["dlq-service", "eA=="]])).encode(), "not a letter of payment"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(text: bytes, reason: str) -> None:
    with pytest.raises(BadLineError, match=rf"^f:2: .*({reason})"):
        read_back(b"", text)


def test_the_same_letter_twice_in_a_file_is_refused() -> None:
    text = json.dumps(good()).encode()
    with pytest.raises(BadLineError, match="f:2: the same letter as in line 1"):
        read_back(text, text)


values = st.none() | st.binary(max_size=40)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
names = texts.filter(lambda name: not name.startswith("dlq-"))


@given(key=values, value=values, headers=st.lists(st.tuples(names, values), max_size=5))
def test_any_letter_survives_its_line(key: Bytes, value: Bytes, headers: list[Header]) -> None:
    every: list[Header] = [*headers, *ours("1")]
    info = {"dlq-id": "1", "dlq-service": "payment", "dlq-original-topic": "t"}
    one = DeadLetter(
        place=("x.payment.dlq", 0, 0),
        at=NOW,
        key=key,
        value=value,
        headers=every,
        dialect="ours",
        info=dict.fromkeys(NAMES, "") | info,
        topic_prefix="x.",
    )
    (back,) = read_back(line(one).encode())
    assert (back.topic, back.key, back.value, back.headers) == ("payment.dlq", key, value, every)


def test_what_was_put_back_is_a_letter_again(settings: DlqSettings, servers: TestServers, tmp_path: Path) -> None:
    written = letter("a")
    put(settings, written)
    file = tmp_path / "letters.jsonl"
    answer(settings, "export", str(file))
    with own_topics(servers) as elsewhere:
        answer(elsewhere, "import", str(file))
        (found,) = read_letters(elsewhere)
    assert (found.id, found.state, found.first_failed_at) == ("a", State.OPEN, NOW)
