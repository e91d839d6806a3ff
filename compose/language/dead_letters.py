"""The topics beside the events: dead letters, their replays, their ledger and the audit of who did what."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, get_origin

from compose.language.bindings import Node, channel_binding, group_binding, message_binding, operation
from compose.language.headers import AUDIT, EDITED, LEDGER, LETTER, REPLAY, headers_schema
from dlq.deeds import Action, Deed
from dlq.ledger import Entry, State
from schemas.choreography import DLQ_AUDIT_TOPIC, LEDGER_TOPIC, SERVICES, dead_letter_topic, retry_topic

COMMAND: Final = "dlq"
_KINDS: Final[dict[Any, str]] = {str: "string", int: "integer", State: "string", dict: "object"}
_LETTER_KEY: Final[Node] = {"type": "string", "description": "<service>/<letter id>"}

ABOUT: Final = {
    "deadLetter": "A message that its service gave up: key, value and headers byte for byte, and headers that say why.",
    "replay": "A dead letter on its way back to the service that gave it up; nobody else hears it.",
    "ledgerEntry": "The state of a dead letter: the newest entry of a key is the one that counts.",
    "deed": "Who did what to which dead letters, and why.",
}


def _record(kind: type[Any], described: Mapping[str, str], closed: Mapping[str, list[str]]) -> Node:
    """A JSON schema of what a dataclass writes. closed: fields with a closed list of values."""
    properties = {
        field.name: {
            "type": _KINDS[get_origin(field.type) or field.type],
            "description": described[field.name],
            **({"enum": closed[field.name]} if field.name in closed else {}),
        }
        for field in fields(kind)
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


SCHEMAS: Final[Node] = {
    "deadLetterHeaders": headers_schema(LETTER | EDITED, optional=tuple(EDITED))
    | {"description": "Beside the headers that the message had. Text, each once, the required ones on every letter."},
    "replayHeaders": headers_schema({name: LETTER[name] for name in REPLAY})
    | {"description": "Beside the headers that the message had."},
    "ledgerEntry": _record(Entry, LEDGER, {"state": [state.value for state in State]}),
    "deed": _record(Deed, AUDIT, {"action": [action.value for action in Action]}),
}


def _bytes(name: str, title: str, headers: str) -> Node:
    return {
        "name": name,
        "title": title,
        "summary": ABOUT[name],
        "contentType": "application/octet-stream",
        "headers": {"$ref": f"#/components/schemas/{headers}"},
        "bindings": {"kafka": message_binding({"type": "string", "description": "As it was."}, wire_format=False)},
    }


def _json(name: str, title: str, key: Node) -> Node:
    return {
        "name": name,
        "title": title,
        "summary": ABOUT[name],
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "bindings": {"kafka": message_binding(key, wire_format=False)},
    }


MESSAGES: Final[Node] = {
    "deadLetter": _bytes("deadLetter", "Dead letter", "deadLetterHeaders"),
    "replay": _bytes("replay", "Replay of a dead letter", "replayHeaders"),
    "ledgerEntry": _json("ledgerEntry", "Entry of the ledger", _LETTER_KEY),
    "deed": _json(
        "deed",
        "Line of the audit",
        {"type": "string", "description": "A letter's key, a replay's id, or forget/ and the id of a run."},
    ),
}

TOPICS: Final[dict[str, tuple[str, str]]] = {
    **{dead_letter_topic(service): ("deadLetter", f"What {service} gave up.") for service in SERVICES},
    **{retry_topic(service): ("replay", f"Internal: replays for {service}.") for service in SERVICES},
    LEDGER_TOPIC: ("ledgerEntry", "The state of every dead letter; readable by anyone."),
    DLQ_AUDIT_TOPIC: ("deed", "Kept for ever."),
}
"""Topic -> (its message, what it is for)."""


def channels() -> Node:
    """The channels of all these topics."""
    return {
        topic: {
            "address": topic,
            "summary": about,
            "description": ABOUT[message],
            "servers": [{"$ref": "#/servers/kafka"}],
            "messages": {message: {"$ref": f"#/components/messages/{message}"}},
            "bindings": {"kafka": channel_binding(topic)},
        }
        for topic, (message, about) in TOPICS.items()
    }


def operations() -> Node:
    """What the services and the command do with them."""
    found: Node = {}
    for service in SERVICES:
        letters, replays, title = dead_letter_topic(service), retry_topic(service), service.capitalize()
        found |= {
            f"{service}SendsDeadLetter": operation(
                "send", letters, service, "Gives a message up.", "In the transaction that finishes the message."
            ),
            f"{service}ReceivesReplay": operation(
                "receive", replays, service, "Handles a dead letter again.", "It answers with an entry of the ledger."
            )
            | {"bindings": {"kafka": group_binding(service)}},
            f"{service}SendsLedgerEntry": operation(
                "send", LEDGER_TOPIC, service, "Says what a replay led to.", "In the transaction that handled it."
            ),
            f"{COMMAND}Receives{title}DeadLetter": operation(
                "receive", letters, COMMAND, "Shows dead letters.", "Reads the topic as a whole, without a group."
            ),
            f"{COMMAND}Sends{title}Replay": operation(
                "send", replays, COMMAND, "Sends dead letters back.", "In one transaction with their ledger entries."
            ),
        }
    return found | {
        f"{COMMAND}{verb}{what}": operation(action, topic, COMMAND, summary, "Without a group.")
        for verb, action, what, topic, summary in (
            ("Sends", "send", "LedgerEntry", LEDGER_TOPIC, "Writes what a person did to a letter."),
            ("Receives", "receive", "LedgerEntry", LEDGER_TOPIC, "Reads the state of every letter."),
            ("Sends", "send", "Deed", DLQ_AUDIT_TOPIC, "Writes down who did what."),
            ("Receives", "receive", "Deed", DLQ_AUDIT_TOPIC, "Tells who did what."),
        )
    }
