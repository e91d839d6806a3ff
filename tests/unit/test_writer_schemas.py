"""Schemas that somebody registered: which ones an event is decoded with, and what the others are told."""

import json
import time
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.avro_names import WriterSchemaError
from schemas.codec import avsc
from schemas.events import EVENTS
from schemas.writer_schema import checked

EVENT = "checkout.requested"
READER: dict[str, Any] = json.loads(avsc(EVENT))
NODE = {"type": "record", "name": "node", "fields": [{"name": "next", "type": ["null", "node"], "default": None}]}
OPTIONAL_FLAG = {"name": "flag", "type": ["null", "boolean"], "default": None}


def with_field(kind: Any) -> dict[str, Any]:
    """The event's schema with one more field, as a newer version of its writer may have it."""
    schema = deepcopy(READER)
    schema["fields"].append({"name": "more", "type": kind, "default": None})
    return schema


def refusal(schema: Any, **registered: Any) -> str:
    with pytest.raises(WriterSchemaError) as refused:
        checked(schema if isinstance(schema, str) else json.dumps(schema), EVENT, READER, **registered)
    return str(refused.value)


@pytest.mark.parametrize("event", EVENTS)
def test_every_schema_of_ours_may_be_used(event: str) -> None:
    schema = json.loads(avsc(event))
    assert checked(avsc(event), event, schema) == schema


@pytest.mark.parametrize(
    "kind",
    [
        ["null", "string"],
        {"type": "array", "items": "string"},
        {"type": "map", "values": "long"},
        ["null", {"type": "record", "name": "Extra", "fields": [OPTIONAL_FLAG]}],
        {"type": "enum", "name": "Colour", "symbols": ["RED"]},
        {"type": "fixed", "name": "Hash", "size": 32},
    ],
)
def test_a_newer_version_with_another_field_is_read(kind: Any) -> None:
    checked(json.dumps(with_field(kind)), EVENT, READER)


def test_a_dotted_name_without_a_namespace_is_a_full_name() -> None:
    schema = {name: value for name, value in READER.items() if name != "namespace"} | {"name": EVENT}
    checked(json.dumps(schema), EVENT, READER)


def test_a_nested_type_inherits_its_namespace() -> None:
    inner = {"type": "record", "name": "Inner", "fields": [OPTIONAL_FLAG]}
    outer = {"name": "again", "type": ["null", "checkout.Inner"], "default": None}
    schema = with_field(["null", inner])
    schema["fields"].append(outer)
    checked(json.dumps(schema), EVENT, READER)


def without_logical_type(field: str) -> dict[str, Any]:
    schema = deepcopy(READER)
    for each in schema["fields"]:
        if each["name"] == field:
            each["type"] = each["type"]["type"]
    return schema


@pytest.mark.parametrize("field", ["occurred_at", "event_id"])
def test_a_field_without_its_logical_type_is_named(field: str) -> None:
    assert f".{field} is" in refusal(without_logical_type(field))


def test_a_missing_field_is_named() -> None:
    schema = deepcopy(READER)
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "currency"]
    assert "no field currency" in refusal(schema)


def test_a_field_of_another_type_is_named() -> None:
    schema = deepcopy(READER)
    schema["fields"] = [f if f["name"] != "currency" else f | {"type": "long"} for f in schema["fields"]]
    assert ".currency is long, not string" in refusal(schema)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (["null", NODE], "contains itself"),
        ({"type": "array", "items": "null"}, "take no byte"),
        ({"type": "array", "items": {"type": "fixed", "name": "nothing", "size": 0}}, "take no byte"),
        ({"type": "array", "items": {"type": "record", "name": "empty", "fields": []}}, "take no byte"),
        ({"type": "map", "values": {"type": "array", "items": "null"}}, "take no byte"),
        ({"type": "fixed", "name": "huge", "size": 2**40}, "size"),
        ({"type": "array"}, "neither a name nor an object"),
        ("nowhere.Defined", "does not define"),
        ([], "no branch"),
        ({"type": "record", "name": "a b", "fields": []}, "no name"),
        ({"type": "record", "name": "r"}, "no list of fields"),
    ],
)
def test_what_a_decoder_must_not_be_given_is_refused(kind: Any, said: str) -> None:
    assert said in refusal(with_field(kind))


def unfolding(levels: int) -> Any:
    """A type of no byte and 2^levels values."""
    kind: Any = "null"
    for level in range(levels):
        first: dict[str, Any] = {"type": "record", "name": f"r{level}", "fields": [{"name": "a", "type": kind}]}
        first["fields"].append({"name": "b", "type": f"r{level - 1}" if level else "null"})
        kind = first
    return kind


def test_types_that_unfold_without_bound_are_refused() -> None:
    assert "unfolds to more than" in refusal(with_field(unfolding(24)))


def test_items_that_unfold_to_much_out_of_one_byte_are_refused() -> None:
    many = [{"name": f"n{n}", "type": "null"} for n in range(200)] + [{"name": "x", "type": "boolean"}]
    kind = {"type": "array", "items": {"type": "record", "name": "wide", "fields": many}}
    assert "out of 1 bytes" in refusal(with_field(kind))


def test_deep_types_are_refused() -> None:
    kind: Any = "string"
    for _ in range(40):
        kind = {"type": "array", "items": kind}
    assert "deep" in refusal(with_field(kind))


@pytest.mark.parametrize("text", ["", "null", '"string"', "[]", "[" * 5000, "{", '{"type": "record"}', "\ud800", "NaN"])
def test_what_is_no_schema_is_refused(text: str) -> None:
    refusal(text)


def test_other_kinds_of_schema_are_refused() -> None:
    assert "PROTOBUF" in refusal("syntax", kind="PROTOBUF")
    assert "common-value" in refusal(READER, references=[{"name": "common-value", "subject": "x", "version": 1}])


def test_another_event_is_refused() -> None:
    assert "checkout.accepted, not checkout.requested" in refusal(json.loads(avsc("checkout.accepted")))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["record", "array", "null", "map"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "name", "fields", "items", "values", "size", "symbols", "namespace", "logicalType"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_any_type_is_taken_or_refused_within_a_moment(kind: Any) -> None:
    began = time.monotonic()
    try:
        checked(json.dumps(with_field(kind)), EVENT, READER)
    except WriterSchemaError:
        assert time.monotonic() - began < 1
