"""What a replay would send, in which order, and what it refuses and why. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dlq.dialects import OURS
from dlq.ledger import Entry, State
from dlq.letters import DeadLetter
from dlq.messages import whole_number
from schemas.choreography import SERVICES, subscriptions

MAX_REPLAYS: Final = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a letter is not sent. reason: one of few, to be counted; sentence: about this letter."""

    letter: DeadLetter
    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Plan:
    """send: in this order. refused: with reasons. left: how many more `limit` leaves for later.

    overtaking: how many are sent although an earlier letter of the same checkout stays behind, unresolved.
    """

    send: tuple[DeadLetter, ...]
    refused: tuple[Refusal, ...] = ()
    left: int = 0
    overtaking: int = 0

    def reasons(self) -> dict[str, int]:
        """Refusals by reason, the most frequent first."""
        return _counted(refusal.reason for refusal in self.refused)

    def summary(self) -> dict[str, Any]:
        """The plan as JSON-ready numbers."""
        return {
            "send": len(self.send),
            "left_by_limit": self.left,
            "overtaking": self.overtaking,
            "by_service": _counted(letter.service for letter in self.send),
            "by_event_type": _counted(letter.event_type for letter in self.send),
            "by_disposition": _counted(letter.disposition for letter in self.send),
            "by_fingerprint": _counted(letter.fingerprint for letter in self.send),
            "refused": self.reasons(),
        }

    def lanes(self) -> dict[str, list[DeadLetter]]:
        """The letters of each checkout that has more than one, in the order in which they are sent."""
        found: dict[str, list[DeadLetter]] = defaultdict(list)
        for letter in self.send:
            if letter.key is not None:
                found[f"{letter.service}/{letter.checkout_id}"].append(letter)
        return {lane: letters for lane, letters in found.items() if len(letters) > 1}


def make_plan(
    letters: Iterable[DeadLetter],
    everything: Iterable[DeadLetter] = (),
    *,
    max_replays: int = MAX_REPLAYS,
    limit: int | None = None,
    resumed: str = "",
) -> Plan:
    """Which of `letters` are sent, and in which order.

    everything: all letters that there are, to see who is overtaken. limit: at most so many. resumed: the job that
    goes on: what it sent already is not sent again, whatever became of it.
    """
    send, refused = [], []
    for letter in sorted(letters, key=order):
        refusal = refusal_of(letter, max_replays, resumed)
        if refusal is None:
            send.append(letter)
        else:
            refused.append(refusal)
    chosen = send if limit is None else send[:limit]
    return Plan(tuple(chosen), tuple(refused), len(send) - len(chosen), _overtaking(chosen, everything))


def order(letter: DeadLetter) -> tuple[Any, ...]:
    """In the order in which they failed; what failed in one moment as it lay on its topic."""
    info = letter.info
    return (
        letter.first_failed_at,
        info["dlq-original-topic"],
        whole_number(info["dlq-original-partition"]),
        whole_number(info["dlq-original-offset"]),
        letter.place,
    )


def refusal_of(letter: DeadLetter, max_replays: int = MAX_REPLAYS, resumed: str = "") -> Refusal | None:
    """Why a letter can't be replayed; None where it can."""
    if resumed and letter.entry is not None and letter.entry.replay_id == resumed:
        return Refusal(letter, "sent already", f"sent already by job {resumed}")
    found = unsendable(letter) or _by_state(letter)
    # an edited letter that nobody has sent since is another try, however often the one before it failed
    fresh_edit = letter.info["dlq-edit-of"] and letter.entry is None
    if found is None and letter.replay_count >= max_replays and not fresh_edit:
        times = f"replayed {letter.replay_count} times and failed again each time: edit or discard it"
        found = f"replayed {max_replays} times or more", times
    return None if found is None else Refusal(letter, *found)


def state_sentence(letter: DeadLetter) -> str:
    """What the ledger says of a letter that somebody touched, as a sentence."""
    found = _by_state(letter)
    return found[1] if found else f"{letter.state.value.replace('_', ' ')}"


def unsendable(letter: DeadLetter) -> tuple[str, str] | None:
    """(reason, sentence) why no service would take this letter or an edit of it; None where one would."""
    if letter.service not in SERVICES:
        return "not a service of ours", f"{letter.service!r} is no service of ours: no service reads its retry topic"
    if letter.dialect != OURS:
        return (
            "not written by its service",
            f"{letter.service} did not write it (headers: {letter.dialect}), and takes back only what it wrote itself",
        )
    if letter.event_type not in subscriptions(letter.service):
        topic = letter.info["dlq-original-topic"] or "an unknown topic"
        return "not heard by its service", f"it came from {topic}, which {letter.service} does not hear"
    if cut := letter.info["dlq-value-cut"]:
        place = "/".join(letter.info[f"dlq-original-{name}"] for name in ("topic", "partition", "offset"))
        return (
            "its value is cut",
            f"{cut}; the whole message lies at {place}",
        )
    return None


def _by_state(letter: DeadLetter) -> tuple[str, str] | None:
    found, entry = None, letter.entry
    match entry:
        case Entry(state=State.RESOLVED):
            found = "already resolved", f"already resolved at {entry.at} by {entry.by}"
        case Entry(state=State.TOO_LATE):
            found = "too late", f"too late, said {entry.by} at {entry.at}: {entry.why or 'its checkout has ended'}"
        case Entry(state=State.DISCARDED):
            found = "discarded", f"discarded by {entry.by}: {entry.why}; restore it first"
        case Entry(state=State.SUPERSEDED):
            found = "superseded", f"superseded by {entry.edited_to}"
        case Entry(state=State.REPLAYING):
            found = "being replayed", f"being replayed by job {entry.replay_id} since {entry.at}"
    return found


def _overtaking(send: Sequence[DeadLetter], everything: Iterable[DeadLetter]) -> int:
    """How many are sent before an earlier letter of their checkout that is unresolved and stays where it is."""
    going = {letter.ledger_key for letter in send}
    behind: dict[tuple[str, bytes], tuple[Any, ...]] = {}
    for letter in everything:
        waits = letter.unresolved and letter.state is not State.REPLAYING and letter.ledger_key not in going
        if letter.key is not None and waits:
            lane = (letter.service, letter.key)
            behind[lane] = min(behind.get(lane, order(letter)), order(letter))
    return sum(
        1
        for letter in send
        if letter.key is not None and behind.get((letter.service, letter.key), order(letter)) < order(letter)
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(name or "unknown" for name in names).most_common())
