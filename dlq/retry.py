"""A dead letter on its way back to its service: the message as it was, and who sent it again. Pure."""

from dlq.deeds import Author
from dlq.desk import Out
from dlq.ledger import Entry, State, moment
from dlq.letters import DeadLetter
from schemas.choreography import retry_topic
from schemas.envelope import Header, rfc3339
from schemas.kafka.record import PACKED

_KEPT = (
    "dlq-original-topic",
    "dlq-original-partition",
    "dlq-original-offset",
    "dlq-original-timestamp",
    "dlq-edit-of",
)


def retry_record(letter: DeadLetter, job: str) -> Out:
    """The record for `<service>.retry`: key, value and headers byte for byte, and what the service has to know.

    letter: whole. One without an identity for the inbox has its own for it.
    """
    from dlq.letter import originals  # noqa: PLC0415 - brings SQLAlchemy, for which nobody should wait

    said = {name: letter.info[name] for name in _KEPT} | {
        # edits of an earlier version name the letter before them only
        "dlq-edit-root": letter.info["dlq-edit-root"] or letter.info["dlq-edit-of"],
        "dlq-id": letter.id,
        "dlq-event-id": letter.info["dlq-event-id"] or letter.id,
        "dlq-service": letter.service,
        "dlq-first-failed-at": rfc3339(letter.first_failed_at),
        "dlq-replay-id": job,
        "dlq-replay-count": str(letter.replay_count + 1),
    }
    ours: list[Header] = [(name, value.encode("utf-8", "replace")) for name, value in said.items()]
    message = [pair for pair in originals(letter.headers) if not _is_a_connectors(pair[0])]
    return Out(retry_topic(letter.service), letter.key, letter.value, (*message, *ours))


def _is_a_connectors(name: str) -> bool:
    """Whether a header would stand for all the others where it is unpacked: it never travels on."""
    return name == PACKED or name.startswith("dlq-")


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
