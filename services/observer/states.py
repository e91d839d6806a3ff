"""Where a checkout stands, read from its events. Pure."""

from typing import Final, NamedTuple

from services.observer.timeline import Said, Timeline

OPEN: Final = ("requested", "accepted", "authorized", "capture_pending", "capture_failed", "failed")
"""Something has still to happen."""
SETTLED: Final = ("captured", "compensated", "refused")
"""Nothing has. `refused` failed before it was accepted, so that there was nothing to let go of."""
STATES: Final = (*OPEN, *SETTLED, "cancelled_first", "unknown")
"""cancelled_first: only the wish to cancel is there. unknown: its beginning isn't."""


class Standing(NamedTuple):
    """since_us: when the checkout began; of a failed one when it failed. ended: the event that ended it."""

    state: str
    since_us: int
    ended: Said | None


def standing(timeline: Timeline) -> Standing:
    """Where a checkout stands. The timeline has at least one event."""
    ended = timeline.first("checkout.completed", "checkout.failed")
    begun = timeline.said[0].at_us
    if ended is None:
        return Standing(_on_the_way(timeline), begun, None)
    if ended.event == "checkout.completed":
        return Standing("captured", begun, ended)
    return Standing(_after_failing(timeline, ended), ended.at_us, ended)


def _after_failing(timeline: Timeline, failed: Said) -> str:
    if not failed.facts.get("accepted"):
        return "refused"
    return "compensated" if released(timeline) and timeline.has("payment.voided", "payment.refunded") else "failed"


def released(timeline: Timeline) -> Said | None:
    """The warehouse's answer to checkout.failed; a reservation that lapsed before is none."""
    answers = (said for said in timeline.of("warehouse.released") if said.facts.get("outcome") != "lapsed")
    return next(answers, None)


def _on_the_way(timeline: Timeline) -> str:
    waits = any(said.facts.get("operation") == "capture" for said in timeline.of("payment.delayed"))
    if waits and not timeline.has("payment.captured"):
        return "capture_failed"
    passed = (
        ("capture_pending", ("warehouse.confirmed", "payment.captured")),
        ("authorized", ("payment.authorized", "checkout.confirmed")),
        ("accepted", ("checkout.accepted",)),
        ("requested", ("checkout.requested",)),
        ("cancelled_first", ("checkout.cancel_requested",)),
    )
    state = next(state for state, events in (*passed, ("unknown", None)) if events is None or timeline.has(*events))
    return state if begun(timeline) or state == "cancelled_first" else "unknown"


def begun(timeline: Timeline) -> bool:
    """Whether the checkout's beginning is known."""
    return timeline.has("checkout.requested", "checkout.accepted")


def outcome_of(ended: Said) -> tuple[str, str]:
    """completed or failed, and the code; empty for completed."""
    return ended.event.removeprefix("checkout."), str(ended.facts.get("code", ""))
