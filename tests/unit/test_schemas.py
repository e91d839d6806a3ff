"""The published language: the `.avsc` files, the classes, the map and the customer's sentences say the same."""

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, replace
from datetime import datetime, timedelta
from importlib import resources
from io import BytesIO
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints
from uuid import UUID

import fastavro
import pytest

from schemas.choreography import (
    MAP,
    SERVICES,
    SHOP,
    TIMERS,
    MapError,
    check_handlers,
    check_map,
    dead_letter_topic,
    may_publish,
    reactions,
    subscriptions,
    topics,
)
from schemas.codec import avsc, compact
from schemas.events import EVENTS, Event, Line, ReleasedLine, from_record, to_record
from schemas.failures import Code, entry_of
from schemas.registry import published, unreleased
from services.checkout import decisions as checkout
from services.payment import decisions as payment
from services.shell.service import Service
from services.warehouse import decisions as warehouse

from . import making as a

Schema = dict[str, Any]
ENVELOPE: Final = ("event_id", "checkout_id", "occurred_at")
TIMESTAMP: Final = {"type": "long", "logicalType": "timestamp-micros"}
SIMPLE: Final[dict[type, Any]] = {
    str: "string",
    bool: "boolean",
    UUID: {"type": "string", "logicalType": "uuid"},
    datetime: TIMESTAMP,
}
ALWAYS_WRITTEN: Final = {("warehouse.released", "lines")}
"""Fields whose class has a default for the publisher's sake, while every record holds them."""


def schema(event: str) -> Schema:
    loaded: Schema = json.loads(avsc(event))
    return loaded


def nested(of: Any) -> Iterator[Schema]:
    """Every schema in `of` that is written as an object, itself included."""
    if isinstance(of, list):
        for branch in of:
            yield from nested(branch)
    if isinstance(of, dict):
        yield of
        for inner in (of.get("type"), of.get("items"), of.get("values"), *(f["type"] for f in of.get("fields", ()))):
            yield from nested(inner)


def references(of: Any) -> Iterator[str]:
    """Every type in `of` that is written as a mere name."""
    if isinstance(of, str):
        yield of.rpartition(".")[2]
    if isinstance(of, list):
        for branch in of:
            yield from references(branch)
    if isinstance(of, dict):
        for inner in (of.get("type"), of.get("items"), of.get("values"), *(f["type"] for f in of.get("fields", ()))):
            yield from references(inner)


def names_itself(of: Any) -> bool:
    """Whether a named type is used by its name, as every recursive one is."""
    return bool({found["name"] for found in nested(of) if "name" in found} & set(references(of)))


def records(of: Any) -> list[Schema]:
    return [found for found in nested(of) if found.get("type") == "record"]


def avro(name: str, python: Any) -> Any:
    """The Avro type that a field of a class must have, docs left out."""
    if isinstance(python, UnionType):
        (some,) = (branch for branch in get_args(python) if branch is not NoneType)
        return ["null", avro(name, some)]
    if get_origin(python) is tuple:
        return {"type": "array", "items": fields_of(get_args(python)[0])}
    if python is int:
        return "long" if name.endswith("_minor") else "int"
    return SIMPLE[python]


def fields_of(cls: type) -> dict[str, Any]:
    return {name: avro(name, python) for name, python in get_type_hints(cls).items() if name != "TYPE"}


def bare(of: Any) -> Any:
    """A schema without its docs and names: a record is its fields."""
    if isinstance(of, dict) and of.get("type") == "record":
        return {field["name"]: bare(field["type"]) for field in of["fields"]}
    if isinstance(of, dict):
        return {key: bare(value) for key, value in of.items()}
    return [bare(branch) for branch in of] if isinstance(of, list) else of


every_event = pytest.mark.parametrize("event", EVENTS)


@every_event
def test_a_schema_is_its_class_and_the_envelope_field_by_field(event: str) -> None:
    envelope = {"event_id": SIMPLE[UUID], "occurred_at": TIMESTAMP}
    assert bare(schema(event)) == fields_of(EVENTS[event]) | envelope


@every_event
def test_a_schema_begins_with_the_envelope_and_follows_its_class(event: str) -> None:
    names = [field["name"] for field in schema(event)["fields"]]
    own = [field.name for field in fields(EVENTS[event]) if field.name not in ENVELOPE]
    assert names == [*ENVELOPE, *own]


@every_event
def test_a_schemas_defaults_are_its_classs(event: str) -> None:
    def default(field: Field[Any]) -> Any:
        return "none" if field.default is MISSING or (event, field.name) in ALWAYS_WRITTEN else field.default

    wanted = {field.name: default(field) for field in fields(EVENTS[event])}
    have = {field["name"]: field.get("default", "none") for field in schema(event)["fields"]}
    assert have == wanted | {"event_id": "none", "occurred_at": "none"}


@every_event
def test_a_field_that_may_be_null_is_null_unless_given(event: str) -> None:
    for field in (field for record in records(schema(event)) for field in record["fields"]):
        if isinstance(field["type"], list):
            assert (field["type"][0], field["default"]) == ("null", None)


@every_event
def test_a_records_full_name_is_its_topic(event: str) -> None:
    outer = schema(event)
    assert f"{outer['namespace']}.{outer['name']}" == event == EVENTS[event].TYPE


@every_event
def test_every_record_and_every_field_is_explained(event: str) -> None:
    for record in records(schema(event)):
        docs = [record.get("doc", ""), *(field.get("doc", "") for field in record["fields"])]
        assert all(len(doc) > 3 and doc.endswith(".") for doc in docs), docs


@every_event
def test_every_event_is_published_as_it_is_now(event: str) -> None:
    versions = [compact(version) for version in published(event)]
    assert versions
    assert len(set(versions)) == len(versions)
    assert (versions[-1] == compact(avsc(event))) == (event not in unreleased())


def test_no_schema_is_of_an_event_that_nobody_knows() -> None:
    folder = resources.files("schemas")
    found = {file.name.removesuffix(".avsc") for file in folder.iterdir() if file.name.endswith(".avsc")}
    released = {re.sub(r"\.\d+\.avsc$", "", file.name) for file in folder.joinpath("published").iterdir()}
    assert found == set(EVENTS)
    assert released <= set(EVENTS)


def narrowest(of: Any) -> int:
    """The least bytes that a value takes; a repetition of zero bytes would unfold without end."""
    match of:
        case list():
            return 1
        case {"type": "record", "fields": inner}:
            return sum(narrowest(field["type"]) for field in inner)
        case {"type": "fixed", "size": int(size)}:
            return size
        case {"type": inner}:
            return narrowest(inner)
        case _:
            return 0 if of == "null" else 1


@every_event
def test_no_schema_can_unfold_a_short_message_into_a_long_one(event: str) -> None:
    for text in (avsc(event), *published(event)):
        whole = json.loads(text)
        assert not names_itself(whole), "a schema that names itself can nest without end"
        for repeated in (of.get("items", of.get("values")) for of in nested(whole) if of["type"] in ("array", "map")):
            assert narrowest(repeated) > 0


@pytest.mark.parametrize(
    ("of", "bytes_"),
    [("null", 0), ({"type": "record", "name": "e", "fields": []}, 0), ({"type": "fixed", "size": 0}, 0), ("int", 1)],
    ids=["null", "empty record", "fixed 0", "int"],
)
def test_the_narrowest_value_is_known(of: Any, bytes_: int) -> None:
    assert narrowest(of) == bytes_


def test_a_schema_that_names_itself_is_seen() -> None:
    inner = {"name": "next", "type": ["null", "a.chain"], "default": None}
    assert names_itself({"type": "record", "name": "chain", "namespace": "a", "fields": [inner]})
    assert names_itself({"type": "record", "name": "tree", "fields": [{"type": {"type": "array", "items": "tree"}}]})


SAMPLES: Final = [value for value in vars(a).values() if isinstance(value, Event)]


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.TYPE)
def test_an_event_comes_back_from_its_record(event: Event) -> None:
    record = to_record(event)
    assert from_record(event.TYPE, record | {"of_a_newer_schema": 1}) == event
    assert set(record) == {field["name"] for field in schema(event.TYPE)["fields"]} - {"event_id", "occurred_at"}


def test_lines_come_back_as_their_own_class() -> None:
    released = from_record("warehouse.released", to_record(a.RELEASED) | {"lines": [{"sku": "cup", "quantity": 1}]})
    assert getattr(released, "lines", None) == (ReleasedLine(sku="cup", quantity=1),)
    accepted = from_record("checkout.accepted", to_record(a.ACCEPTED))
    assert all(isinstance(line, Line) for line in getattr(accepted, "lines", ()))


def read_by(old: str, event: Event, new: str, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """A record as one version writes it and another one reads it."""
    record = to_record(event) | {"event_id": UUID(int=1), "occurred_at": a.AT}
    record = {name: value for name, value in record.items() if name not in without}
    written = BytesIO()
    fastavro.schemaless_writer(written, fastavro.parse_schema(json.loads(old)), record)
    written.seek(0)
    writer, reader = (fastavro.parse_schema(json.loads(version)) for version in (old, new))
    read: Any = fastavro.schemaless_reader(written, writer, reader)
    return dict(read)


def told_by(old: str, event: Event, new: str, *, without: tuple[str, ...] = ()) -> Event:
    """The same as an event."""
    return from_record(event.TYPE, read_by(old, event, new, without=without))


NEW_IN_2: Final = ("error_class", "retryable")
IN_VERSION_2: Final = replace(a.FAILED, error_class="customer_must_act", retryable=True)


def test_a_failure_says_who_can_do_something_about_it_since_its_second_version() -> None:
    first, second = published("checkout.failed")
    assert [f["name"] for f in json.loads(second)["fields"]] == [
        *(f["name"] for f in json.loads(first)["fields"]),
        *NEW_IN_2,
    ]
    assert told_by(second, IN_VERSION_2, second) == IN_VERSION_2


def test_a_failure_of_the_first_version_is_read_by_the_second_and_the_other_way_round() -> None:
    first, second = published("checkout.failed")
    assert told_by(first, IN_VERSION_2, second, without=NEW_IN_2) == a.FAILED
    assert (a.FAILED.error_class, a.FAILED.retryable) == ("", False)
    old_listener = read_by(second, IN_VERSION_2, first)
    assert {**old_listener, "error_class": "", "retryable": False} == read_by(second, a.FAILED, second)


def test_a_delay_is_published_as_it_is_said() -> None:
    (only,) = published("payment.delayed")
    for delayed in (a.DELAYED, a.CAPTURE_DELAYED):
        assert told_by(only, delayed, only) == delayed


# the map


def test_the_map_is_whole() -> None:
    check_map()
    assert len(topics()) == len(set(topics()))


@pytest.mark.parametrize("entry", MAP, ids=lambda entry: entry.event)
def test_every_topic_has_a_speaker_and_a_listener_or_is_an_end(entry: Any) -> None:
    assert entry.said_by in (SHOP, *SERVICES)
    assert entry.heard_by or entry.ends
    assert len({reaction.service for reaction in entry.heard_by}) == len(entry.heard_by)
    assert all(reaction.service in SERVICES and reaction.does for reaction in entry.heard_by)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_says_nothing_that_it_has_no_reason_to(service: str) -> None:
    answers = frozenset[str]().union(*reactions(service).values())
    assert answers == may_publish(service)


@pytest.mark.parametrize("service", SERVICES)
def test_subscriptions_follow_from_the_map(service: str) -> None:
    assert set(subscriptions(service)) == set(reactions(service)) - {timer.name for timer in TIMERS}
    assert all(topic in topics() for topic in subscriptions(service))
    assert dead_letter_topic(service) not in topics()


HANDLERS: Final[dict[str, dict[str, Any]]] = {
    "checkout": checkout.handlers(timedelta(1)),
    "payment": payment.handlers(),
    "warehouse": warehouse.handlers(timedelta(1)),
}


def service(name: str, handlers: dict[str, Any]) -> Service:
    return Service(name, handlers, load=lambda _db, _events: None)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_with_the_handlers_of_the_map_and_no_others(name: str) -> None:
    handlers = HANDLERS[name]
    assert service(name, handlers).topics() == subscriptions(name)
    for event in handlers:
        with pytest.raises(MapError, match=f"{name}'s handlers .*missing .*{event}"):
            service(name, {key: handler for key, handler in handlers.items() if key != event})
    with pytest.raises(MapError, match=r"not in the map \['checkout\.completed'\]"):
        service(name, handlers | {"checkout.completed": max})


def test_a_service_that_the_map_does_not_know_has_nothing_to_hear() -> None:
    with pytest.raises(MapError):
        check_handlers("loyalty", ["checkout.completed"])


@pytest.mark.parametrize("name", SERVICES)
def test_an_answer_that_is_not_in_the_map_is_refused(name: str) -> None:
    ours = service(name, HANDLERS[name])
    for heard, answers in reactions(name).items():
        for said in SAMPLES:
            if said.TYPE in answers:
                ours.check_answer(heard, [said])
            else:
                with pytest.raises(ValueError, match=re.escape(f"{name} answers {heard} with ['{said.TYPE}']")):
                    ours.check_answer(heard, [said])


GIVEN_UP: Final[dict[tuple[str, str], Event]] = {
    ("checkout", "checkout.requested"): a.FAILED,
    ("checkout", "payment.authorized"): a.FAILED,
    ("payment", "checkout.accepted"): a.DECLINED,
    ("payment", "warehouse.reserved"): a.DECLINED,
    ("payment", "warehouse.confirmed"): a.CAPTURE_FAILED,
    ("warehouse", "checkout.accepted"): a.REJECTED,
    ("warehouse", "checkout.confirmed"): a.CONFIRM_FAILED,
}
"""What is said when an event can't be handled, however often it is tried."""


@pytest.mark.parametrize(("where", "said"), GIVEN_UP.items(), ids=lambda value: getattr(value, "TYPE", value))
def test_the_map_knows_what_is_said_when_an_event_is_given_up(where: tuple[str, str], said: Event) -> None:
    name, heard = where
    service(name, HANDLERS[name]).check_answer(heard, [said])


def test_the_map_lists_everything_that_is_announced_when_it_is_given_up() -> None:
    modules = {"checkout": checkout, "payment": payment, "warehouse": warehouse}
    assert set(GIVEN_UP) == {(name, event) for name, module in modules.items() for event in module.giving_up()}


@pytest.mark.parametrize(("entry", "does"), [("authorize", a.DELAYED), ("capture", a.CAPTURE_DELAYED)])
def test_a_delay_is_heard_by_checkout_and_said_by_payment_alone(entry: str, does: Event) -> None:
    (delayed,) = (e for e in MAP if e.event == does.TYPE)
    assert (delayed.said_by, [r.service for r in delayed.heard_by]) == ("payment", ["checkout"])
    assert getattr(does, "operation", "") == entry
    for heard in ("checkout.accepted", "warehouse.reserved", "warehouse.confirmed"):
        assert does.TYPE in reactions("payment")[heard]
    assert does.TYPE not in reactions("payment")["checkout.failed"]


# the customer's sentences


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_sentence_that_a_customer_understands(code: Code) -> None:
    sentence = entry_of(code).customer
    assert entry_of(code).customer == entry_of(code.value).customer == sentence
    assert len(sentence) <= 140
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert "_" not in sentence
    assert not re.search(r"\b[A-Z]{2,}\b", sentence), "capitals are for codes"
    assert not re.search(r"\b(sku|authoriz|captur|void|reservation|token|timeout|null|error)", sentence, re.IGNORECASE)


def test_a_code_that_nobody_knows_gets_the_most_careful_sentence() -> None:
    careful = entry_of("FROM_A_NEWER_SERVICE").customer
    assert "released" in careful
    assert "_" not in careful
    assert len(careful) <= 140
