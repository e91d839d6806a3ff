"""Any bytes on the topics of the dead letters: whatever lies there, the commands have an answer, and it is safe."""

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import SecretStr
from rich.console import Console

from dlq import showing, telling
from dlq.deeds import Author, deed_from
from dlq.describing import describe, print_letter
from dlq.dialects import NAMES, OURS
from dlq.edit import Draft, Edit, new_headers
from dlq.export import line, parcels
from dlq.filters import Filter, search_for
from dlq.groups import groups
from dlq.jobs import UnknownJobError, interrupted, jobs_in
from dlq.ledger import Entry, State, entry_of_record
from dlq.letters import DeadLetter, letter_in, slim
from dlq.messages import whole_number
from dlq.metrics import Letters, Look
from dlq.plan import make_plan, refusal_of
from dlq.reading import settled
from dlq.request import Request, request_from
from dlq.retention import leaves_at
from dlq.retry import replaying, retry_record
from dlq.saga import _said
from dlq.trail import Line, about, line_in
from dlq.watch import Limits, findings
from dlq.wire import Versioned
from schemas.envelope import Header
from schemas.kafka.record import PACKED, KafkaRecord, instant_of
from tests.unit.test_terminal import hostile

NOW = datetime(2026, 11, 29, tzinfo=UTC)
AUTHOR = Author(by="ann", at=NOW, why="a test")

words = st.sampled_from([
    b"", b"payment", b"checkout", b"\xff\xfe", b"\x00", b"not a uuid", "\u0663".encode(), b"9" * 5000, b"-1", b"0",
    b"2026-11-29T10:00:00Z", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"soon", b"\x1b]0;x\x07",
    "\u202e[/][bold]".encode(), b"head of 5 bytes", b"a" * 300, b"1", b"[" * 2000, b"2026-11-29T10:00:00",
])  # fmt: skip
header_values = st.none() | words | st.binary(max_size=20)
names = (
    st.sampled_from(NAMES)
    | st.sampled_from(
        [PACKED, "x-original-topic", "kafka_dlt-original-topic", "kafka_dlt-original-timestamp", "ce_time"]
    )
    | st.sampled_from(["__connect.errors.topic", "__streams.errors.offset", "__dlq.errors.partition", "", "\x1b[2J"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
)
ours: st.SearchStrategy[list[Header]] = st.just([("dlq-id", b"l-1"), ("dlq-service", b"payment")])
headers: st.SearchStrategy[list[Header]] = st.lists(st.tuples(names, header_values), max_size=12)
times = st.sampled_from([-1, 0, 1764400000000000, 2**63 - 1, -(2**63), 253402300799999, -62135596800000, 1764400000000])
topics = st.sampled_from(["payment.dlq", "checkout.dlq", "orders.DLT", "dlq.audit", ""])
keys = st.none() | st.binary(max_size=10) | st.just(b"\xff" * 3000) | st.just(b"c-1")
defects = st.sampled_from(["", "the name of a header is not UTF-8; its headers can't be read"])


def record(
    topic: str, key: bytes | None, value: bytes | None, found: Sequence[list[Header]], at: int, defect: str
) -> KafkaRecord:
    return KafkaRecord(topic, 0, 7, instant_of(at), key, value, [pair for each in found for pair in each], defect)


records = st.builds(
    record, topics, keys, st.none() | st.binary(max_size=20), st.tuples(ours | st.just([]), headers), times, defects
)
entries = st.none() | st.builds(
    Entry,
    service=st.just("payment"),
    letter=st.just("l-1"),
    state=st.sampled_from(State),
    at=st.text(),
    by=st.text(),
    why=st.text(),
    replay_id=st.text(max_size=3),
    replay_count=st.integers(0, 2**31),
)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert not hostile(text.replace("\n", ""))
    return text


def paper() -> Console:
    return Console(file=io.StringIO(), width=200, markup=False, emoji=False, highlight=False)


@given(st.lists(records, max_size=5), entries)
def test_lists_groups_watch_and_metrics_have_an_answer_for_any_letters(
    found: list[KafkaRecord], entry: Entry | None
) -> None:
    letters = settled(
        (slim(letter_in(each), search_for(["x", "["])) for each in found), {"payment/l-1": entry} if entry else {}
    )
    for letter in letters:
        assert letter.first_failed_at.tzinfo is not None
        assert not letter.headers
        assert letter.value is None
        leaves_at(letter, timedelta(days=90))
        Filter(match=["x"], since=NOW, states=[State.OPEN]).matches(letter)
    limits = Limits()
    shown = paper()
    showing.print_letters(letters, shown)
    showing.print_groups(groups(letters, NOW), shown)
    printed(shown)
    json.dumps([showing.letter_json(letter) for letter in letters], default=str)
    kept = {letter.place[0]: timedelta(days=90) for letter in letters}
    for finding in findings(letters, set(), kept, limits, NOW):
        assert finding.sentence
    assert "\x1b" not in "".join(telling.plan_lines(make_plan(letters, letters)))


@given(st.lists(records, max_size=5))
def test_labels_are_few_short_and_printable_whatever_letters_say(found: list[KafkaRecord]) -> None:
    registry = CollectorRegistry()
    collector = Letters(lambda: NOW)
    collector.show(Look(at=NOW, letters=[slim(letter_in(each)) for each in found], known=(), kept={}))
    registry.register(collector)
    generate_latest(registry)
    for family in registry.collect():
        for sample in family.samples:
            assert sample.labels.get("service", "other") in {"checkout", "payment", "warehouse", "other"}
            assert all(len(text) <= 100 and not hostile(text) for text in sample.labels.values())


@given(records, entries)
def test_one_letter_can_be_shown_exported_and_planned_whatever_it_is(found: KafkaRecord, entry: Entry | None) -> None:
    (letter,) = settled([letter_in(found)], {"payment/l-1": entry} if entry else {})
    shown = paper()
    print_letter(describe(letter, SecretStr("http://127.0.0.1:9"), [], [_said(found, letter)]), shown)
    printed(shown)
    assert not hostile(line(letter))
    refusal = refusal_of(letter)
    if letter.dialect != OURS or letter.info["dlq-value-cut"]:
        assert refusal is not None
    if letter.dialect == OURS and "\0" not in "".join(name for name, _ in letter.headers):
        (again,) = parcels(io.BytesIO(line(letter).encode()), "f") if letter.place[0].startswith("payment") else [None]
        assert again is None or (again.key, again.value, again.headers) == (letter.key, letter.value, letter.headers)


@given(records)
def test_a_replay_brings_no_header_that_stands_for_others_and_ours_once(found: KafkaRecord) -> None:
    letter = letter_in(found)
    sent = retry_record(letter, "job-1")
    brought = [name for name, _ in sent.headers]
    assert PACKED not in brought
    said = [name for name in brought if name.startswith("dlq-")]
    assert len(said) == len(set(said))
    assert dict(sent.headers)["dlq-replay-id"] == b"job-1"
    assert "dlq-edit-root" in said
    assert replaying(letter, "job-1", AUTHOR).replay_id == "job-1"


def edit_of(letter: DeadLetter) -> dict[str, str]:
    draft = Draft(letter=letter, event_type="checkout.accepted", newest=Versioned(1, {}))
    made = new_headers(letter, Edit(draft=draft, new_id="new", value=b"", changes=[], salt=b"salt"))
    return {name: (value or b"").decode() for name, value in made}


def test_an_edit_names_the_letter_that_the_service_wrote_and_where_its_message_lay() -> None:
    origin: list[Header] = [
        ("dlq-id", b"root"),
        ("dlq-service", b"payment"),
        ("dlq-original-topic", b"checkout.accepted"),
        ("dlq-original-partition", b"3"),
        ("dlq-original-offset", b"7"),
        (PACKED, b"[]"),
    ]
    first = edit_of(letter_in(record("payment.dlq", b"c-1", b"v", [origin], 0, "")))
    again = edit_of(
        letter_in(record("payment.dlq", b"c-1", b"v", [[(n, v.encode()) for n, v in first.items()]], 0, ""))
    )
    assert (first["dlq-edit-of"], first["dlq-edit-root"]) == ("root", "root")
    assert (again["dlq-edit-of"], again["dlq-edit-root"]) == ("new", "root")
    for name, value in origin[2:5]:
        assert first[name] == again[name] == (value or b"").decode()
    assert PACKED not in first


# the ledger and the audit

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
GOOD = {"service": "payment", "letter": "l-1", "state": "open", "at": "2026-01-01T00:00:00Z", "by": "x"}
LINE = {"at": "2026-01-01T00:00:00Z", "by": "x", "action": "replay_started", "replay_id": "j", "letters": 1}


def changed(good: dict[str, Any], names: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Something like a good record: one field of another kind, or any bytes, or far too deep."""
    odd = st.tuples(st.sampled_from(names), json_values).map(lambda pair: json.dumps(good | dict([pair])).encode())
    deep = st.sampled_from([b"[" * 100_000, b'{"a":' * 5000, b"9" * 5000, b"\xff", b'"\\ud800"', b"", b"null", b"[1]"])
    return odd | deep | st.binary(max_size=30) | json_values.map(lambda value: json.dumps(value).encode())


@given(st.none() | st.binary(max_size=10) | st.just(b"payment/l-1"), changed(GOOD, list(Entry.__dataclass_fields__)))
def test_an_entry_is_of_the_letter_that_its_key_names_or_none(key: bytes | None, value: bytes) -> None:
    try:
        entry = entry_of_record(key, value)
    except ValueError:
        return
    assert entry.key.encode("utf-8", "replace") == key
    assert isinstance(entry.state, State)
    assert all(isinstance(getattr(entry, name), str) for name in GOOD)
    assert 0 <= entry.replay_count < 2**31


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        (b"checkout/l-1", {}),
        (b"payment/l-2", {}),
        (None, {}),
        (b"payment/l-1", {"replay_count": True}),
        (b"payment/l-1", {"replay_count": -1}),
        (b"payment/l-1", {"why": 7}),
        (b"payment/l-1", {"state": "gone"}),
        (b"payment/l-1", {"state": ["open"]}),
        (b"payment/l-1", {"at": None}),
    ],
)
def test_a_record_that_is_no_entry_of_its_key_is_refused(key: bytes | None, fields: dict[str, Any]) -> None:
    assert entry_of_record(b"payment/l-1", json.dumps(GOOD).encode()).state is State.OPEN
    with pytest.raises(ValueError, match=r"\w"):
        entry_of_record(key, json.dumps(GOOD | fields).encode())


audit_values = changed(LINE, [*LINE, "detail", "why", "new"])


@given(st.lists(st.tuples(keys, audit_values, times), max_size=5))
def test_any_audit_can_be_told(found: list[tuple[bytes | None, bytes, int]]) -> None:
    read = [line_in(record("dlq.audit", key, value, [], at, "")) for key, value, at in found]
    lines = sorted((each for each in read if each is not None), key=lambda each: each.at)
    shown = paper()
    showing.print_trail(lines, shown)
    printed(shown)
    jobs = jobs_in(lines)
    assert all(interrupted(jobs, []))
    letter = letter_in(record("payment.dlq", b"k", b"v", [[("dlq-id", b"j"), ("dlq-service", b"payment")]], 0, ""))
    list(about(lines, letter))
    for job in jobs.values():
        with pytest.raises(UnknownJobError):
            job.request()


@given(audit_values)
def test_any_audit_can_be_heard_while_a_replay_runs(value: bytes) -> None:
    deed = deed_from(value)
    assert deed is None or isinstance(deed.detail.get("run"), object)


def test_what_was_written_is_a_deed_again() -> None:
    deed = deed_from(json.dumps(LINE).encode())
    assert deed is not None
    assert (deed.by, deed.letters, deed.replay_id) == ("x", 1, "j")


def test_a_request_survives_the_audit() -> None:
    request = Request(filter=Filter(services=frozenset({"payment"}), match=("a", "b"), since=NOW), limit=5, rate=2.5)
    assert request_from(json.loads(json.dumps(request.as_json()))) == Request(
        filter=Filter(
            services=frozenset({"payment"}), dispositions=frozenset(), fingerprints=frozenset(), checkouts=frozenset(),
            states=frozenset(), match=("a", "b"), since=NOW, ids=frozenset(),
        ),
        limit=5,
        rate=2.5,
    )  # fmt: skip


@given(
    st.sampled_from([*Request.__dataclass_fields__, "filter"]), st.sampled_from(["", "services", "since"]), json_values
)
def test_a_request_of_another_kind_is_refused_in_a_sentence(name: str, inner: str, value: Any) -> None:
    fields = Request(filter=Filter()).as_json()
    fields = fields | ({"filter": fields["filter"] | {inner: value}} if inner else {name: value})
    try:
        made = request_from(fields)
    except ValueError:
        return
    assert isinstance(made.max_replays, int)
    assert made.limit is None or made.limit >= 1
    assert all(isinstance(each, str) for each in (*made.filter.services, *made.filter.match, *made.topics))


def test_lines_about_a_letter_are_found_by_key_by_name_and_by_job() -> None:
    letter = letter_in(record("payment.dlq", b"k", b"v", [[("dlq-id", b"l"), ("dlq-service", b"payment")]], 0, ""))
    lines = [Line(at=NOW, key="payment/l", fields={}), Line(at=NOW, key="x", fields={"letters": ["l"]})]
    assert list(about([*lines, Line(at=NOW, key="y", fields={"letters": 1})], letter)) == lines


@pytest.mark.parametrize(
    ("text", "number"), [("", 7), ("0", 0), ("12", 12), ("-1", 7), ("9" * 5000, 7), ("\u0663", 7), ("1\n", 7), ("x", 7)]
)
def test_a_number_that_is_none_is_another(text: str, number: int) -> None:
    assert whole_number(text, 7) == number


@pytest.mark.parametrize("name", ["dlq-replay-count", "dlq-original-partition", "dlq-original-offset"])
def test_a_number_of_five_thousand_digits_is_none(name: str) -> None:
    ours = ("dlq-id", b"l"), ("dlq-service", b"payment"), ("dlq-original-topic", b"checkout.failed")
    headers: list[Header] = [*ours, (name, b"9" * 5000)]
    found = record("payment.dlq", b"k", b"v", [headers], 0, "")
    letter = letter_in(found)
    assert (letter.dialect, letter.replay_count) == (OURS, 0)
    assert make_plan([letter], [letter]).send == (letter,)
    assert not _said(found, letter).is_letter
