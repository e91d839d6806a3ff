"""Who says what, because of what, and who hears it: the map, asked from the other side."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.choreography import MAP, SHOP, TIMERS, Entry
from schemas.codec import avsc

SPEAKERS: Final = (SHOP, "checkout", "warehouse", "payment")
"""In the order in which a checkout meets them."""
_COMPLETED: Final = "checkout.completed"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a service says an event: it heard `event`, or (event empty) `when`, by its own timer."""

    event: str
    when: str


def causes(event: str) -> list[Cause]:
    """What makes its service say `event`; empty for what the shop says."""
    heard = [Cause(e.event, "") for e in MAP for r in e.heard_by if event in r.publishes]
    return heard + [Cause("", timer.when) for timer in TIMERS if event in timer.publishes]


def hearers(entry: Entry) -> list[str]:
    """Everybody who waits for an event, the shop included."""
    return [*([SHOP] if entry.ends else []), *(reaction.service for reaction in entry.heard_by)]


def named(speaker: str) -> str:
    """A speaker in a sentence."""
    return f"the {speaker}" if speaker == SHOP else speaker


def listed(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def doc_of(event: str) -> str:
    """The sentence that the event's schema says of it."""
    return str(json.loads(avsc(event))["doc"])


def said_by(speaker: str) -> list[Entry]:
    """What `speaker` says."""
    return [entry for entry in MAP if entry.said_by == speaker]


def way_forward() -> list[Entry]:
    """The events after which the checkout may still complete, and its completion."""
    return [entry for entry in MAP if _COMPLETED in _following(entry.event)]


def other_ways() -> list[Entry]:
    """All others: refusals, delays, letting go."""
    forward = way_forward()
    return [entry for entry in MAP if entry not in forward]


def _following(event: str) -> set[str]:
    """The event and all that it may lead to."""
    found: set[str] = set()
    todo = [event]
    while todo:
        at = todo.pop()
        if at not in found:
            found.add(at)
            todo += _answers(at)
    return found


def _answers(event: str) -> Iterator[str]:
    for entry in MAP:
        if entry.event == event:
            for reaction in entry.heard_by:
                yield from reaction.publishes
