"""The documents of the published language say what the map, the schemas and the code say, and nothing else."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import fastavro
import pytest
from typer.testing import CliRunner

from compose.language import asyncapi, files, headers, page, samples
from compose.language.dead_letters import TOPICS
from compose.language.drawing import drawing
from compose.language.fields import fields_of
from compose.language.saying import hearers, other_ways, way_forward
from compose.schemas_cli import app
from dlq.deeds import Action, Author, Deed
from dlq.edit import SALT
from dlq.ledger import Entry
from dlq.letter import headers_of
from dlq.retry import retry_record
from schemas.choreography import MAP, SERVICES, SHOP, TIMERS, may_publish, subscriptions, topics
from schemas.codec import avsc
from schemas.envelope import TRACE_HEADERS, Envelope, event_headers
from schemas.registry import topic_configs
from tests.dlq.making import NOW, letter
from tests.dlq.test_plan import dead
from tests.system import CAPTURED

DOCUMENT: Final = asyncapi.document()
PAGE: Final = page.text()
events = pytest.mark.parametrize("event", topics())


@pytest.mark.parametrize("name", files.FILES)
def test_the_file_is_what_the_code_would_write(name: str) -> None:
    assert (files.ROOT / name).read_text(encoding="utf-8") == files.FILES[name](), "run `checkout schemas asyncapi`"


def test_the_command_finds_a_stale_file_and_writes_it(tmp_path: Path) -> None:
    def run(*more: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["asyncapi", "--root", str(tmp_path), *more])
        return done.exit_code, done.stdout

    assert run() == (0, "schemas/asyncapi.yaml: written\ndocs/events.html: written\n")
    assert run("--check") == (0, "everything is up to date\n")
    (tmp_path / "docs" / "events.html").write_text("changed by hand", encoding="utf-8")
    code, said = run("--check")
    assert code == 1
    assert said.startswith("docs/events.html: stale")
    assert (tmp_path / "docs" / "events.html").read_text(encoding="utf-8") == "changed by hand"


# asyncapi.yaml


def operations(service: str, action: str) -> list[str]:
    """The channels on which a service sends or receives."""
    return [
        operation["channel"]["$ref"].removeprefix("#/channels/")
        for operation in DOCUMENT["operations"].values()
        if operation["tags"] == [{"name": service}] and operation["action"] == action
    ]


def test_every_topic_is_a_channel_with_its_own_configuration() -> None:
    assert set(DOCUMENT["channels"]) == set(topic_configs(1))
    for topic, channel in DOCUMENT["channels"].items():
        told = channel["bindings"]["kafka"]["topicConfiguration"]
        config = topic_configs(1)[topic]
        assert channel["address"] == channel["bindings"]["kafka"]["topic"] == topic
        assert {name: told[name] for name in ("retention.ms", "max.message.bytes")} == {
            name: int(config[name]) for name in ("retention.ms", "max.message.bytes")
        }
        assert told["cleanup.policy"] == [config["cleanup.policy"]]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_sends_and_receives_what_the_map_gives_it(service: str) -> None:
    assert sorted(set(operations(service, "receive")) - set(TOPICS)) == sorted(subscriptions(service))
    assert sorted(set(operations(service, "send")) - set(TOPICS)) == sorted(may_publish(service))


def test_the_shop_is_not_part_of_the_application() -> None:
    sent = {channel for service in (*SERVICES, "dlq") for channel in operations(service, "send")}
    assert not sent & {entry.event for entry in MAP if entry.said_by == SHOP}
    assert not operations(SHOP, "send") + operations(SHOP, "receive")


@events
def test_the_payload_is_the_schema_by_reference(event: str) -> None:
    reference = DOCUMENT["components"]["messages"][event]["payload"]["schema"]["$ref"]
    assert (files.ROOT / "schemas" / reference).read_text(encoding="utf-8") == avsc(event)


def references(node: Any) -> Iterator[str]:
    """Every reference within the document."""
    if isinstance(node, dict):
        yield from (node[name] for name in ("$ref",) if name in node)
        for inner in node.values():
            yield from references(inner)
    if isinstance(node, list):
        for inner in node:
            yield from references(inner)


@pytest.mark.parametrize("reference", sorted({ref for ref in references(DOCUMENT) if ref.startswith("#")}))
def test_a_reference_leads_somewhere(reference: str) -> None:
    at: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        at = at[part]


@pytest.mark.parametrize("envelope", samples.ENVELOPES, ids=lambda envelope: envelope.event.TYPE)
def test_an_example_is_what_the_schema_allows(envelope: Envelope) -> None:
    schema = fastavro.parse_schema(json.loads(avsc(envelope.event.TYPE)))
    said, out = samples.payload(envelope), BytesIO()
    assert list(said) == [field["name"] for field in json.loads(avsc(envelope.event.TYPE))["fields"]]
    fastavro.schemaless_writer(out, schema, said, strict=True)
    out.seek(0)
    read: Any = fastavro.schemaless_reader(out, schema, None)
    assert read["occurred_at"] == envelope.occurred_at
    assert read["event_id"] == envelope.event_id


# headers


def test_every_header_of_an_event_is_described() -> None:
    ours = [name for name, _ in event_headers(samples.REQUESTED, SHOP, "", [])]
    assert list(headers.EVENT) == [*ours, *TRACE_HEADERS, "linked_traceparent"]


def test_every_header_of_a_dead_letter_and_of_a_replay_is_described() -> None:
    assert list(headers.LETTER) == list(headers_of(letter()))
    assert list(headers.EDITED) == [SALT]
    sent = retry_record(dead("a", replay_count="0"), "job").headers
    assert list(headers.REPLAY) == [name for name, _ in sent]


@pytest.mark.parametrize(("kind", "described"), [(Entry, headers.LEDGER), (Deed, headers.AUDIT)])
def test_every_field_of_the_ledger_and_the_audit_is_described(kind: type[Any], described: dict[str, str]) -> None:
    assert list(described) == [field.name for field in fields(kind)]


def test_a_line_of_the_audit_is_what_its_schema_says() -> None:
    line = json.loads(Author(by="me", at=NOW).deed(Action.DISCARDED).record("key").value or b"")
    described = DOCUMENT["components"]["schemas"]["deed"]["properties"]
    kinds = {"string": str, "integer": int, "object": dict}
    assert {name: type(value) for name, value in line.items()} == {
        name: kinds[of["type"]] for name, of in described.items()
    }


# the page


def test_the_page_needs_nothing_but_itself() -> None:
    assert not re.findall(r"<script|<link|<img|@import|url\(|src=|https?:", PAGE)


def test_every_link_on_the_page_leads_somewhere() -> None:
    anchors = re.findall(r'id="([^"]+)"', PAGE)
    assert len(anchors) == len(set(anchors))
    links = set(re.findall(r'href="([^"]+)"', PAGE))
    assert {link[1:] for link in links if link.startswith("#")} <= set(anchors)
    for link in links:
        if not link.startswith("#"):
            assert (files.ROOT / "docs" / link).resolve().exists(), link


@events
def test_the_page_tells_all_of_an_event(event: str) -> None:
    told = unescape(PAGE.split(f'<article id="{event}">')[1].split("</article>")[0])
    entry = next(entry for entry in MAP if entry.event == event)
    assert json.loads(avsc(event))["doc"] in told
    for reaction in entry.heard_by:
        assert reaction.does in told
        assert all(f'href="#{said}"' in told for said in reaction.publishes)
    for field in fields_of(event):
        assert field.doc in (unescape(PAGE) if field.name in ("event_id", "checkout_id", "occurred_at") else told)
    assert all(timer.when in told for timer in TIMERS if event in timer.publishes)


def test_the_fields_that_every_event_has_mean_the_same_everywhere() -> None:
    assert len({tuple(fields_of(event)[:3]) for event in topics()}) == 1


def test_the_way_forward_is_the_way_of_a_checkout_that_completes() -> None:
    assert [entry.event for entry in way_forward()] == list(CAPTURED)
    assert {entry.event for entry in (*way_forward(), *other_ways())} == set(topics())


def test_the_drawing_has_an_arrow_to_everybody_who_hears() -> None:
    drawn = drawing("all", MAP, TIMERS)
    assert drawn.count('class="tip"') == sum(len(set(hearers(entry)) - {entry.said_by}) for entry in MAP)
    assert drawn.count('class="clock"') == len(TIMERS)
    assert all(f">{event}</text>" in drawn for event in topics())
