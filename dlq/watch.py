"""What is worth a look at the dead letters, for cron and alerting. Pure: letters in, findings out."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dlq.ages import age
from dlq.ledger import State
from dlq.letters import DeadLetter
from dlq.retention import leaves_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """max_open: unresolved letters, at most. max_age: since the first failure. warning: before a letter is deleted."""

    max_open: int = 0
    max_age: timedelta = timedelta(hours=24)
    warning: timedelta = timedelta(days=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """what: depth, age, new_fingerprint, retention or failed_again. count: of letters. sample: the id of one."""

    what: str
    count: int
    sentence: str
    sample: str = ""
    fingerprint: str = ""


def findings(
    letters: Sequence[DeadLetter],
    known: Collection[str],
    kept: Mapping[str, timedelta | None],
    limits: Limits,
    now: datetime,
) -> list[Finding]:
    """What is worth a look. known: fingerprints that somebody has seen. kept: retention by topic, None for ever."""
    waiting = [letter for letter in letters if letter.unresolved]
    return [
        *_depth(waiting, limits.max_open),
        *_old(waiting, limits.max_age, now),
        *_new(waiting, known),
        *_leaving(waiting, kept, limits.warning, now),
        *_failed_again(waiting),
    ]


def known_by_ledger(letters: Sequence[DeadLetter], entered: Collection[str]) -> set[str]:
    """The fingerprints of letters that somebody touched. entered: those that the ledger names."""
    return {letter.fingerprint for letter in letters if letter.entry is not None} | {name for name in entered if name}


def _depth(waiting: Sequence[DeadLetter], limit: int) -> list[Finding]:
    if len(waiting) <= limit:
        return []
    by_service = Counter(letter.service for letter in waiting)
    where = ", ".join(f"{service} {count:,}" for service, count in sorted(by_service.items()))
    return [_finding("depth", waiting, f"{len(waiting):,} letters unresolved, at most {limit:,} should be: {where}")]


def _old(waiting: Sequence[DeadLetter], limit: timedelta, now: datetime) -> list[Finding]:
    old = [letter for letter in waiting if now - letter.first_failed_at > limit]
    if not old:
        return []
    oldest = age((now - min(letter.first_failed_at for letter in old)).total_seconds())
    return [
        _finding(
            "age",
            old,
            f"{len(old):,} letters failed more than {age(limit.total_seconds())} ago, the oldest {oldest} ago",
        )
    ]


def _new(waiting: Sequence[DeadLetter], known: Collection[str]) -> list[Finding]:
    strange: dict[str, list[DeadLetter]] = {}
    for letter in waiting:
        if letter.fingerprint and letter.fingerprint not in known:
            strange.setdefault(letter.fingerprint, []).append(letter)
    return [
        _finding("new_fingerprint", found, f"a cause never seen before: {_cause(found[0])} x {len(found):,}", name)
        for name, found in strange.items()
    ]


def _cause(letter: DeadLetter) -> str:
    return f"{letter.service} {letter.event_type} {letter.error_class} ({letter.fingerprint})"


def _leaving(
    waiting: Sequence[DeadLetter], kept: Mapping[str, timedelta | None], warning: timedelta, now: datetime
) -> list[Finding]:
    ends = [
        (end, x) for x in waiting if (end := leaves_at(x, kept.get(x.place[0]))) is not None and end - now < warning
    ]
    if not ends:
        return []
    first = min(end for end, _ in ends)
    when = f"in {age((first - now).total_seconds())}" if first > now else "now"
    found = [letter for _, letter in ends]
    return [
        _finding(
            "retention",
            found,
            f"{len(ends):,} unresolved letters are deleted within {age(warning.total_seconds())}, first {when}",
        )
    ]


def _failed_again(waiting: Sequence[DeadLetter]) -> list[Finding]:
    again = [letter for letter in waiting if letter.state is State.FAILED_AGAIN]
    return [_finding("failed_again", again, f"{len(again):,} letters were replayed and failed again")] if again else []


def _finding(what: str, letters: Sequence[DeadLetter], sentence: str, fingerprint: str = "") -> Finding:
    return Finding(what=what, count=len(letters), sentence=sentence, sample=letters[0].id, fingerprint=fingerprint)
