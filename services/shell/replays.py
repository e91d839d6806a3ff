"""Whether a replay brings back a dead letter that this service wrote itself. Pure.

Whoever may write to a retry topic could otherwise say anything in any event's name: a replay is believed by what the
service's own table says of the letter, not by its headers.
"""

from dlq.letter import digest_of
from schemas.codec import UndecodableError
from services.shell.delivery import Delivery, defective
from services.shell.queue import Queue
from services.shell.waiting import Status, Waiting


def foreign(delivery: Delivery, queue: Queue, service: str) -> Delivery | None:
    """The record of a retry topic that is no replay of a letter of ours, as what it is; None for one that is."""
    if not delivery.replay.id or delivery.waiting is not None or delivery.carrier is None:
        return None
    why = _difference(delivery, queue, service)
    return defective(delivery.carrier, UndecodableError(f"no replay: {why}")) if why else None


def _difference(delivery: Delivery, queue: Queue, service: str) -> str:
    own = queue.find(delivery.letter_id)
    if own is None and delivery.replay.edit_root:
        root = queue.find(delivery.replay.edit_root)
        return _place_differs(delivery, root) if root else f"it edits a letter that {service} never wrote"
    if own is None:
        return f"{service} never wrote a letter {delivery.letter_id}"
    return _place_differs(delivery, own) or _content_differs(delivery, own)


def _place_differs(delivery: Delivery, own: Waiting) -> str:
    said = delivery.origin.place if delivery.origin else None
    if said == own.origin.place:
        return ""
    return f"the letter is of {'/'.join(map(str, own.origin.place))}, this says {'/'.join(map(str, said or ()))}"


def _content_differs(delivery: Delivery, own: Waiting) -> str:
    """A letter that was edited keeps its id only in its successor; rows of before digests were kept have none."""
    if own.status is not Status.DEAD or not own.digest or delivery.origin is None:
        return ""
    return "" if digest_of(delivery.origin) == own.digest else "its content is not that of the letter"
