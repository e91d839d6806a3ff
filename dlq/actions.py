"""Discard and restore: a letter's state is changed and the audit says who did it and why, in one transaction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from dlq.deeds import Action, Author
from dlq.desk import Desk, Out, TakenOverError, ledger_record
from dlq.ledger import Entry, State, moment
from dlq.letters import DeadLetter
from dlq.plan import Refusal, state_sentence
from dlq.reading import read_ledger
from dlq.settings import DlqSettings

_TRIES: Final = 5
_Answer = TypeVar("_Answer")

Ledger = dict[str, Entry]
Refuse = Callable[[DeadLetter], Refusal | None]


@dataclass(frozen=True, slots=True)
class Done:
    """The letters that were changed, and those that were not, each with its reason."""

    letters: tuple[DeadLetter, ...]
    refused: tuple[Refusal, ...] = ()


def at_desk(settings: DlqSettings, act: Callable[[Desk, Ledger], _Answer]) -> _Answer:
    """Do something at the desk with the ledger as it is then; again when somebody else takes the desk meanwhile.

    Raises TakenOverError when that happens too often, NotWrittenError, KafkaException.
    """
    for tries_left in reversed(range(_TRIES)):
        with closing(Desk(settings)) as desk:
            try:
                return act(desk, read_ledger(settings))
            except TakenOverError:
                if not tries_left:
                    raise
    raise TakenOverError("another command took over the dead letters; nothing was changed")


def discard(settings: DlqSettings, letters: Sequence[DeadLetter], author: Author) -> Done:
    """Take letters out of sight, with a reason; they can be restored. Raises as `at_desk`."""
    return _change(settings, letters, author, Action.DISCARDED, undiscardable)


def restore(settings: DlqSettings, letters: Sequence[DeadLetter], author: Author) -> Done:
    """Open discarded letters again. Raises as `at_desk`."""
    return _change(settings, letters, author, Action.RESTORED, unrestorable)


def undiscardable(letter: DeadLetter) -> Refusal | None:
    """Why a letter can't be discarded; None where it can."""
    match letter.state:
        case State.OPEN | State.FAILED_AGAIN | State.TOO_LATE:
            return None
        case State.REPLAYING:
            sentence = f"{state_sentence(letter)}: wait for its outcome"
        case State.DISCARDED:
            sentence = f"already discarded by {_by(letter)}"
        case _:
            sentence = state_sentence(letter)
    return Refusal(letter, letter.state.value.replace("_", " "), sentence)


def unrestorable(letter: DeadLetter) -> Refusal | None:
    """Why a letter can't be restored; None where it can."""
    if letter.state is State.DISCARDED:
        return None
    return Refusal(letter, "not discarded", f"not discarded: {state_sentence(letter)}")


def _by(letter: DeadLetter) -> str:
    return f"{letter.entry.by} at {letter.entry.at}: {letter.entry.why}" if letter.entry else "nobody"


def _change(
    settings: DlqSettings, letters: Sequence[DeadLetter], author: Author, action: Action, refuse: Refuse
) -> Done:
    def act(desk: Desk, ledger: Ledger) -> Done:
        fresh = [replace(letter, entry=ledger.get(letter.ledger_key)) for letter in letters]
        refused = [refusal for letter in fresh if (refusal := refuse(letter)) is not None]
        kept = {refusal.letter.ledger_key for refusal in refused}
        changed = [letter for letter in fresh if letter.ledger_key not in kept]
        if changed:
            desk.commit(_records(changed, author, action))
        return Done(tuple(changed), tuple(refused))

    return at_desk(settings, act)


def _records(letters: Iterable[DeadLetter], author: Author, action: Action) -> Iterator[Out]:
    state = State.DISCARDED if action is Action.DISCARDED else State.OPEN
    for letter in letters:
        yield ledger_record(entry_of(letter, state, author))
        detail = {"state_before": letter.state.value, "fingerprint": letter.fingerprint}
        yield author.deed(action, detail=detail).record(letter.ledger_key)


def entry_of(letter: DeadLetter, state: State, author: Author, edited_to: str = "") -> Entry:
    """A letter's next entry; what its replays came to stays with it."""
    before = letter.entry
    return Entry(
        service=letter.service,
        letter=letter.id,
        state=state,
        at=moment(author.at),
        by=author.by,
        why=author.why,
        replay_id=before.replay_id if before else "",
        replay_count=letter.replay_count,
        outcome=before.outcome if before else "",
        fingerprint=letter.fingerprint,
        edited_to=edited_to,
    )
