"""A dead letter on its way back to its service: the message as it was, and who sent it again. Pure."""

from dlq.deeds import Author
from dlq.desk import Out
from dlq.ledger import Entry, State, moment
from dlq.letters import DeadLetter
from schemas.choreography import retry_topic
from schemas.envelope import Header, rfc3339

_KEPT = (
    "dlq-original-topic",
    "dlq-original-partition",
    "dlq-original-offset",
    "dlq-original-timestamp",
    "dlq-edit-of",
)


def retry_record(letter: DeadLetter, job: str) -> Out:
    """The record for `<service>.retry`: key, value and headers byte for byte, and what the service has to know.

    A foreign letter has no identity for the inbox; its own, which is derived from its place, takes that part.
    """
    from dlq.letter import originals  # noqa: PLC0415 - brings SQLAlchemy, for which nobody should wait

    said = {name: letter.info[name] for name in _KEPT} | {
        "dlq-id": letter.id,
        "dlq-event-id": letter.info["dlq-event-id"] or letter.id,
        "dlq-service": letter.service,
        "dlq-first-failed-at": rfc3339(letter.first_failed_at),
        "dlq-replay-id": job,
        "dlq-replay-count": str(letter.replay_count + 1),
    }
    ours: list[Header] = [(name, value.encode("utf-8", "replace")) for name, value in said.items()]
    return Out(retry_topic(letter.service), letter.key, letter.value, (*originals(letter.headers), *ours))


def replaying(letter: DeadLetter, job: str, author: Author) -> Entry:
    """The entry of a letter that is sent."""
    return Entry(
        service=letter.service,
        letter=letter.id,
        state=State.REPLAYING,
        at=moment(author.at),
        by=author.by,
        why=author.why,
        replay_id=job,
        replay_count=letter.replay_count + 1,
        fingerprint=letter.fingerprint,
    )
