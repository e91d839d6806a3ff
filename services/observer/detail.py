"""One checkout as JSON. Pure."""

from collections.abc import Sequence
from typing import Any

from services.observer.instants import SECOND, instant
from services.observer.overview import View
from services.observer.states import standing
from services.observer.steps import done, waiting
from services.observer.timeline import SAID_BY, Said, Timeline


def checkout_view(timeline: Timeline, breaches: Sequence[View], prefix: str, place: View) -> View:
    """A timeline and what follows from it. breaches: of this checkout. place: worker and partition that hold it."""
    state, since_us, ended = standing(timeline)
    first = timeline.said[0]
    amount = next((said.facts for said in timeline.said if "total_minor" in said.facts), None)
    return {
        "checkout_id": timeline.checkout_id,
        "state": state,
        "code": str(ended.facts.get("code", "")) if ended else "",
        "began": instant(first.at_us),
        "since": instant(since_us),
        "total_minor": amount and amount["total_minor"],
        "currency": amount and amount.get("currency"),
        "took_s": (ended.at_us - first.at_us) / SECOND if ended else None,
        "breaches": list(breaches),
        "waiting": [
            {"step": step.name, "service": step.service, "after": asked.event, "since": instant(since)}
            for step, asked, since in waiting(timeline)
        ],
        "steps": [{"step": step, "took_s": took_us / SECOND} for step, _, took_us in done(timeline)],
        "cut": timeline.cut,
        "held_by": place,
        "events": [_event(said, first, prefix) for said in timeline.said],
    }


def _event(said: Said, first: Said, prefix: str) -> dict[str, Any]:
    return {
        "event": said.event,
        "said_by": SAID_BY[said.event],
        "occurred_at": said.facts.get("occurred_at") or instant(said.at_us),
        "after_s": (said.at_us - first.at_us) / SECOND,
        "event_id": said.event_id,
        "topic": prefix + said.event,
        "partition": said.partition,
        "offset": said.offset,
        "trace_id": said.trace_id,
        "facts": dict(said.facts),
    }
