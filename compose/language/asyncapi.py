"""`schemas/asyncapi.yaml`: the events as AsyncAPI 3 has them, from the map, the registry's topics and the schemas.

The application is this system: `checkout`, `payment`, `warehouse` and the command `dlq`; the shop is not part of it.
Specification: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from typing import Final

import yaml

from compose.language import dead_letters, samples
from compose.language.bindings import KAFKA, Node, channel_binding, group_binding, message_binding, operation
from compose.language.headers import EVENT, SOMETIMES, headers_schema
from compose.language.saying import causes, doc_of, hearers, listed, named
from schemas.choreography import MAP, SHOP, Entry, Reaction, topics
from schemas.envelope import CHECKOUT_ID, Envelope
from schemas.events import EVENTS
from schemas.registry import published

_NOTE: Final = "# Made from the map and the schemas by `checkout schemas asyncapi`: change those, not this file.\n"
_AVRO: Final = "application/vnd.apache.avro;version=1.9.0"
_ABOUT: Final = """\
A shop sends `checkout.requested` and waits for one of two ends: `checkout.completed` or `checkout.failed`.
Between the two, the services below react to each other's events; nobody coordinates.

- An event's type is its topic and its Avro record. Every topic, subject and consumer group may have a prefix
  (`TOPIC_PREFIX`), which is empty by default.
- The key is the `checkout_id`, as UTF-8: all events of a checkout lie in one partition of each topic, in order.
  The partition is chosen by murmur2, as Java's clients do: it has the same number on every topic.
  Events of different topics may arrive in any order.
- The value is Avro in the Confluent wire format: 0x00, the schema's id (4 bytes, big endian), the record.
  Subject: `<topic>-value`. Every subject is FULL_TRANSITIVE: any reader reads what any writer has written.
- Delivery is at least once: whoever heard an `event_id` before ignores it.
- Amounts are integers in the currency's minor unit. Instants are microseconds since 1970, UTC.
- Nothing incompatible is ever released: the minor version counts the schema versions that are out.
"""
_TO_SHOPS: Final = (
    "Services read the key and the value, and go on with the trace that `traceparent` names; the other headers are for "
    "whoever looks at the topic."
)


class _Plain(yaml.SafeDumper):
    """Writes for readers: no anchors, and text of several lines as such."""

    def ignore_aliases(self, _data: object) -> bool:
        """Always: what stands twice is written twice."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """A block where there are several lines."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Plain.add_representer(str, _Plain.represent_str)


def text() -> str:
    """The file."""
    body: str = yaml.dump(document(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
    return _NOTE + body


def document() -> Node:
    """The document."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Checkout", "version": version(), "description": _ABOUT},
        "defaultContentType": "application/avro",
        "servers": {"kafka": KAFKA},
        "channels": {**{entry.event: _channel(entry) for entry in MAP}, **dead_letters.channels()},
        "operations": {**dict(_operations()), **dead_letters.operations()},
        "components": {
            "messages": {**{entry.event: _message(entry) for entry in MAP}, **dead_letters.MESSAGES},
            "schemas": {
                "checkoutId": {
                    "type": "string",
                    "pattern": f"^{CHECKOUT_ID.pattern}$",
                    "description": "The checkout that the event belongs to, as UTF-8.",
                },
                "eventHeaders": headers_schema(EVENT, SOMETIMES),
                "shopHeaders": {
                    "type": "object",
                    "description": "None is required of a shop.",
                    "properties": {
                        name: {"$ref": f"#/components/schemas/eventHeaders/properties/{name}"}
                        for name in EVENT
                        if name != "linked_traceparent"
                    },
                },
                **dead_letters.SCHEMAS,
            },
        },
    }


def version() -> str:
    """Of the language, not of the software: what was released is never broken, so only the minor grows."""
    return f"1.{sum(len(published(topic)) for topic in topics())}.0"


def _channel(entry: Entry) -> Node:
    return {
        "address": entry.event,
        "summary": doc_of(entry.event),
        "description": _who(entry),
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {entry.event: {"$ref": f"#/components/messages/{entry.event}"}},
        "bindings": {"kafka": channel_binding(entry.event)},
    }


def _who(entry: Entry) -> str:
    end = " An end: what comes after it is only letting go." if entry.ends else ""
    return f"Said by {named(entry.said_by)}, heard by {listed([named(hearer) for hearer in hearers(entry)])}.{end}"


def _message(entry: Entry) -> Node:
    shops = entry.said_by == SHOP
    examples = [_example(envelope, entry) for envelope in samples.of(entry.event)]
    return {
        "name": entry.event,
        "title": entry.event,
        "summary": doc_of(entry.event),
        "contentType": "application/avro",
        "tags": [{"name": entry.said_by}],
        **({"description": _TO_SHOPS} if shops else {}),
        "headers": {"$ref": f"#/components/schemas/{'shopHeaders' if shops else 'eventHeaders'}"},
        "payload": {"schemaFormat": _AVRO, "schema": {"$ref": f"./{entry.event}.avsc"}},
        "correlationId": {"description": "The checkout.", "location": "$message.header#/ce_subject"},
        "bindings": {"kafka": message_binding({"$ref": "#/components/schemas/checkoutId"})},
        **({"examples": examples} if examples else {}),
    }


def _example(envelope: Envelope, entry: Entry) -> Node:
    said = {"headers": samples.headers(envelope)} if entry.said_by == SHOP else {}
    return {"name": "sample", "summary": "One checkout.", **said, "payload": samples.payload(envelope)}


def _operations() -> list[tuple[str, Node]]:
    found = []
    for entry in MAP:
        if entry.said_by != SHOP:
            found.append((f"{entry.said_by}Sends{EVENTS[entry.event].__name__}", _sends(entry)))
        for reaction in entry.heard_by:
            found.append((f"{reaction.service}Receives{EVENTS[entry.event].__name__}", _receives(entry, reaction)))
    return found


def _sends(entry: Entry) -> Node:
    reasons = causes(entry.event)
    heard = [f"`{cause.event}`" for cause in reasons if cause.event]
    whens = [f"when it hears {listed(heard, 'or')}"] if heard else []
    whens += [f"when {cause.when}" for cause in reasons if cause.when]
    return operation("send", entry.event, entry.said_by, doc_of(entry.event), f"Said {listed(whens, 'or')}.")


def _receives(entry: Entry, reaction: Reaction) -> Node:
    answers = [f"`{event}`" for event in reaction.publishes]
    says = f"It answers with {listed(answers, 'or')}." if answers else "It answers nothing."
    made = operation("receive", entry.event, reaction.service, f"{reaction.service}: {reaction.does}", says)
    return made | {"bindings": {"kafka": group_binding(reaction.service)}}
