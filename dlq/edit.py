"""Edits a dead letter: a new letter takes the old one's place, in one transaction, so that never both are sent.

The edited value is checked against its schemas, identities and sums are locked, and the chain of edits stays readable:
each letter names the one it was made from, each superseded entry the one that was made from it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from uuid_utils.compat import uuid7

from dlq.actions import Ledger, at_desk, entry_of
from dlq.deeds import Action, Author
from dlq.desk import Desk, Out, ledger_record
from dlq.ledger import State
from dlq.letters import DeadLetter
from dlq.locks import NOTHING, Change, EditError, changes, check_locks
from dlq.plan import state_sentence, unsendable
from dlq.settings import DlqSettings
from dlq.wire import Versioned, Wire, read, write
from schemas.choreography import dead_letter_topic
from schemas.codec import UndecodableError
from schemas.envelope import Header, rfc3339
from schemas.kafka.record import PACKED

SALT: Final = "dlq-edit-salt"
"""On the edited letter alone: with it, what the audit has of a value can be held against the value."""
_CHANGES: Final = 200
_CHARS: Final = 500
_SALT_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A letter that is being edited. data: its value as JSON, None where it can't be read. why: why not."""

    letter: DeadLetter
    event_type: str
    newest: Versioned
    written: Versioned | None = None
    data: Any = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """An edit that may be saved. new_id: of the letter that takes the other's place. salt: see `digest_of`."""

    draft: Draft
    new_id: str
    value: bytes
    changes: list[Change]
    salt: bytes


def draft_of(wire: Wire, letter: DeadLetter) -> Draft:
    """A letter, whole, to be edited. Raises EditError, NoRegistryError."""
    check_editable(letter)
    event = letter.event_type
    newest = wire.newest(event)
    draft = Draft(letter=letter, event_type=event, newest=newest)
    try:
        written = wire.writer(event, letter.value)
        return replace(draft, written=written, data=read(letter.value or b"", written, newest))
    except UndecodableError as error:
        return replace(draft, why=str(error))


def edited(draft: Draft, data: Any) -> Edit | None:
    """The edit that makes the value `data`; None where nothing changes. Raises EditError."""
    value = write(data, draft.newest, draft.written)
    # as it will be read: another spelling of the same instant, or a default left out, is no change
    after = read(value, draft.newest, draft.newest)
    found = changes(draft.data, after) if draft.data is not None else changes({}, after)
    if not found:
        return None
    if draft.data is None:
        _check_repair(draft.letter, after)
    else:
        check_locks(found)
    return Edit(draft=draft, new_id=str(uuid7()), value=value, changes=found, salt=secrets.token_bytes(_SALT_BYTES))


def save(settings: DlqSettings, edit: Edit, author: Author) -> None:
    """Put the new letter in the old one's place. Raises EditError where somebody touched it meanwhile; as `at_desk`."""

    def act(desk: Desk, ledger: Ledger) -> None:
        letter = replace(edit.draft.letter, entry=ledger.get(edit.draft.letter.ledger_key))
        check_editable(letter)
        desk.commit(_records(letter, edit, author))

    at_desk(settings, act)


def check_editable(letter: DeadLetter) -> None:
    """Raises EditError saying why a letter can't be edited, or why its edit could not be replayed."""
    if found := unsendable(letter):
        raise EditError(f"{letter.id} can't be edited: {found[1]}")
    if letter.state not in (State.OPEN, State.FAILED_AGAIN, State.TOO_LATE):
        raise EditError(f"{letter.id} can't be edited: {state_sentence(letter)}")


def _check_repair(letter: DeadLetter, after: Any) -> None:
    """A value that can't be read can't be compared; what its key and headers say of it must still hold."""
    said = {name: (value or b"").decode("utf-8", "replace") for name, value in letter.headers if name == "ce_id"}
    expected = {"checkout_id": letter.checkout_id, "event_id": said.get("ce_id", "")}
    for name, value in expected.items():
        if value and after.get(name) != value:
            raise EditError(f"locked: {name} is {value!r} by the letter's key or headers, not {after.get(name)!r}")


def _records(letter: DeadLetter, edit: Edit, author: Author) -> Iterator[Out]:
    headers = tuple(new_headers(letter, edit))
    yield Out(dead_letter_topic(letter.service), letter.key, edit.value, headers)
    yield ledger_record(entry_of(letter, State.SUPERSEDED, author, edited_to=edit.new_id))
    written = edit.draft.written
    detail = {
        "edited_to": edit.new_id,
        "changes": [_audited(change, edit.salt) for change in edit.changes[:_CHANGES]],
        "changes_in_all": len(edit.changes),
        "schema_ids": [written.id if written else None, edit.draft.newest.id],
    }
    yield author.deed(Action.EDITED, detail=detail).record(letter.ledger_key)


def _audited(change: Change, salt: bytes) -> dict[str, Any]:
    """What the audit keeps for ever of a change: where, how much, and no value."""
    path = change.path if len(change.path) <= _CHARS else f"{change.path[:_CHARS]}..."
    return {"path": path, "old": _measured(change.old, salt), "new": _measured(change.new, salt)}


def _measured(text: str, salt: bytes) -> dict[str, Any] | None:
    """A value as JSON text: its length in bytes and its digest; None for what is not there."""
    return (
        None
        if text == NOTHING
        else {"bytes": len(text.encode("utf-8", "surrogatepass")), "hmac_sha256": digest_of(text, salt)}
    )


def digest_of(text: str, salt: bytes) -> str:
    """HMAC-SHA-256 of a value's JSON text, hex.

    salt: random, of one edit. It stands on the letter and not in the audit: as long as somebody has the letter the
    audit can be held against it, and afterwards nobody finds a short value, such as a currency, by trying.
    """
    return hmac.new(salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def new_headers(letter: DeadLetter, edit: Edit) -> list[Header]:
    """The old letter's headers, with what the edit changes; where the message lay stays as its service wrote it."""
    said = letter.info | {
        "dlq-id": edit.new_id,
        "dlq-edit-of": letter.id,
        "dlq-edit-root": letter.info["dlq-edit-root"] or letter.info["dlq-edit-of"] or letter.id,
        "dlq-event-id": letter.info["dlq-event-id"] or letter.id,
        "dlq-service": letter.service,
        "dlq-first-failed-at": rfc3339(letter.first_failed_at),
        "dlq-failed-at": rfc3339(letter.failed_at),
        "dlq-schema-id": str(edit.draft.newest.id),
        "dlq-replay-count": str(letter.replay_count),
        SALT: edit.salt.hex(),
    }
    kept = [(name, value) for name, value in letter.headers if name not in said and name != PACKED]
    return [*kept, *((name, value.encode("utf-8", "replace")) for name, value in said.items())]
