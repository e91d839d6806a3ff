"""What every header means, and every field of the ledger and the audit. A test holds the names against the code."""

from typing import Any, Final

from dlq.letter import Disposition
from schemas.envelope import TRACE_HEADERS

Property = dict[str, Any]
"""A JSON schema of one value."""

_INSTANT: Final = "2026-11-23T10:00:00.000000Z"


def _text(description: str, **more: Any) -> Property:
    return {"type": "string", "description": description, **more}


EVENT: Final[dict[str, Property]] = {
    "ce_specversion": _text("Version of CloudEvents whose names these headers have (binary mode).", const="1.0"),
    "ce_id": _text("The event's identity: the field event_id.", format="uuid"),
    "ce_type": _text("The event's type, which is its topic without a prefix."),
    "ce_source": _text("Who says it: a slash and the speaker's name.", examples=["/shop", "/checkout"]),
    "ce_time": _text("When it was decided: the field occurred_at.", format="date-time", examples=[_INSTANT]),
    "ce_subject": _text("The checkout that it belongs to: the field checkout_id, and the key."),
    "causation_id": _text(
        "The id of the event, or of the timer, that caused this one; what begins a chain names itself."
    ),
    "traceparent": _text(
        "The trace that the checkout is in (W3C Trace Context).",
        examples=["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    ),
    "tracestate": _text(
        "Handed on as it came (W3C Trace Context). May be missing.", maxLength=TRACE_HEADERS["tracestate"]
    ),
    "baggage": _text(
        "The members that BAGGAGE_NAMES names (W3C Baggage); by default none. May be missing.",
        maxLength=TRACE_HEADERS["baggage"],
    ),
    "linked_traceparent": _text(
        "Only on what the replay of a dead letter causes: the trace in which that message failed first."
    ),
}
SOMETIMES: Final = ("tracestate", "baggage", "linked_traceparent")

_COUNT: Final[Property] = {"pattern": "^[0-9]+$"}

LETTER: Final[dict[str, Property]] = {
    "dlq-id": _text("The letter's identity; it stays the same when its replay fails again.", format="uuid"),
    "dlq-event-id": _text("The message's identity for the inbox, also of one that can't be read.", format="uuid"),
    "dlq-service": _text("The service that gave the message up."),
    "dlq-consumer-group": _text("Its consumer group."),
    "dlq-handler": _text("The function that should have handled it."),
    "dlq-handler-version": _text("The version of the software that it is in."),
    "dlq-disposition": _text("Why it is a dead letter.", enum=[disposition.value for disposition in Disposition]),
    "dlq-error-class": _text("The class of the last error."),
    "dlq-error-message": _text("What the last error said, cut at 2,000 characters."),
    "dlq-error-stack": _text("The innermost frames of the last error, without values, at most 8 KiB."),
    "dlq-fingerprint": _text("Equal for letters of the same cause."),
    "dlq-attempts": _text("How often it was tried.", **_COUNT),
    "dlq-timeouts": _text("How many of those tries ended without an answer.", **_COUNT),
    "dlq-first-failed-at": _text("When it failed first.", format="date-time", examples=[_INSTANT]),
    "dlq-failed-at": _text("When it failed last.", format="date-time", examples=[_INSTANT]),
    "dlq-operation": _text("The provider call that it was about; empty where it was about none."),
    "dlq-compensation": _text(
        "compensated: what it should have done was undone, everybody let go. none: nothing was undone.",
        enum=["compensated", "none"],
    ),
    "dlq-schema-id": _text("The schema id at the head of the value; empty where there is none."),
    "dlq-original-topic": _text("Where it lay first: the topic."),
    "dlq-original-partition": _text("The partition there.", **_COUNT),
    "dlq-original-offset": _text("The offset there.", **_COUNT),
    "dlq-original-timestamp": _text("The timestamp there.", format="date-time", examples=[_INSTANT]),
    "dlq-replay-count": _text("How often it has been replayed.", **_COUNT),
    "dlq-replay-id": _text("The newest of those replays; empty where there was none."),
    "dlq-edit-of": _text("The letter that this one is a repaired copy of; empty where it is none."),
    "dlq-edit-root": _text("The letter at the beginning of a chain of repaired copies; empty where it is none."),
    "dlq-value-bytes": _text("The length of the original's value.", **_COUNT),
    "dlq-value-sha256": _text("The SHA-256 of the original's value, in hexadecimal.", pattern="^[0-9a-f]{64}$"),
    "dlq-value-cut": _text("What the letter has of a message that is too large, in words; empty where it has all."),
    "x-original-topic": _text("The same as dlq-original-topic, for other tools."),
    "kafka_dlt-original-topic": _text("The same as dlq-original-topic, for other tools."),
}

REPLAY: Final = (
    "dlq-original-topic",
    "dlq-original-partition",
    "dlq-original-offset",
    "dlq-original-timestamp",
    "dlq-edit-of",
    "dlq-edit-root",
    "dlq-id",
    "dlq-event-id",
    "dlq-service",
    "dlq-first-failed-at",
    "dlq-replay-id",
    "dlq-replay-count",
)
"""The headers of a letter that its replay has."""

EDITED: Final[dict[str, Property]] = {
    "dlq-edit-salt": _text(
        "Of an edited letter: the key, in hex, of the audit's HMAC-SHA-256 of each value before and after."
    ),
}
"""What an edited letter has beside them."""

LEDGER: Final[dict[str, str]] = {
    "service": "The service whose letter it is.",
    "letter": "The header dlq-id.",
    "state": "Where the letter is. A letter without an entry is open.",
    "at": "When this was written, RFC 3339, UTC.",
    "by": "Who wrote it: a person, or the service that handled the replay.",
    "why": "A sentence.",
    "replay_id": "The newest replay.",
    "replay_count": "How often the letter has been replayed.",
    "outcome": "What the service made of the replay: handled, duplicate, too_late or failed_again.",
    "fingerprint": "Equal for letters of the same cause.",
    "edited_to": "The letter that supersedes this one.",
}

AUDIT: Final[dict[str, str]] = {
    "at": "When it was done, RFC 3339, UTC.",
    "by": "Who did it.",
    "action": "What was done.",
    "why": "The reason that was given.",
    "letters": "How many letters it is about.",
    "replay_id": "The replay that it is about.",
    "detail": "More, by the kind of action.",
}


def headers_schema(properties: dict[str, Property], optional: tuple[str, ...] = ()) -> Property:
    """A JSON schema of headers."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }
