"""Which dead letters are meant. Everything that is asked has to hold; of several values of one kind any one."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from dlq.ledger import State
from dlq.letters import DeadLetter, Search, unsearched

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.ASCII)


class BadFilterError(Exception):
    """A filter that means nothing; the text says what would mean something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """An empty one matches everything.

    since, until: of the last failure, UTC; `since` is part of the span, `until` is not. match: each of these, as text
    or regular expression whatever the case, is found in the error's class or message, the key, a header or the value.
    """

    services: Collection[str] = ()
    dispositions: Collection[str] = ()
    fingerprints: Collection[str] = ()
    checkouts: Collection[str] = ()
    states: Collection[State] = ()
    since: datetime | None = None
    until: datetime | None = None
    match: Sequence[str] = ()
    ids: Collection[str] = ()

    def matches(self, letter: DeadLetter) -> bool:
        """Whether a letter is meant."""
        return (
            _among(letter.service, self.services)
            and _among(letter.disposition, self.dispositions)
            and _among(letter.fingerprint, self.fingerprints)
            and _among(letter.checkout_id, self.checkouts)
            and _among(letter.state, self.states)
            and _among(letter.ledger_key, self.ids)
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
            and (not self.match or _says(letter, self.match))
        )

    def __bool__(self) -> bool:
        """Whether anything is asked at all: a command that acts on everything should be told so."""
        return any(getattr(self, name) for name in self.__dataclass_fields__)


def _among(value: str, wanted: Collection[str]) -> bool:
    return not wanted or value in wanted


def _says(letter: DeadLetter, wanted: Sequence[str]) -> bool:
    return letter.found.issuperset(wanted) if letter.slim else search_for(wanted)(letter).issuperset(wanted)


def search_for(wanted: Sequence[str]) -> Search:
    """What finds out which of `wanted` a whole letter holds: it is asked while letters are read."""
    if not wanted:
        return unsearched

    def search(letter: DeadLetter) -> frozenset[str]:
        texts = text_of(letter)
        return frozenset(one for one in wanted if any(_found(one, text) for text in texts))

    return search


def _found(wanted: str, text: str) -> bool:
    return wanted.casefold() in text.casefold() or (
        (pattern := _pattern(wanted)) is not None and pattern.search(text) is not None
    )


def _pattern(wanted: str) -> re.Pattern[str] | None:
    """None for a piece of an error's message that happens to be no regular expression (re keeps compiled ones)."""
    try:
        return re.compile(wanted, re.IGNORECASE)
    except re.error:
        return None


def text_of(letter: DeadLetter) -> list[str]:
    """What can be searched of a letter; bytes that are no UTF-8 become U+FFFD."""
    raw = [letter.key, letter.value, *(value for _, value in letter.headers)]
    return [letter.error_class, letter.error_message, *((each or b"").decode("utf-8", "replace") for each in raw)]


def duration(text: str) -> timedelta:
    """`90s`, `15m`, `2h`, `3d`, `1w`. Raises BadFilterError."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise BadFilterError(f"{text!r} is no duration, such as 90s, 15m, 2h, 3d or 1w")
    try:
        return timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError:
        raise BadFilterError(f"{text!r} is longer than time itself") from None


def moment_of(text: str, now: datetime) -> datetime:
    """An RFC 3339 instant, or a duration before `now`; UTC where no zone is said. Raises BadFilterError."""
    try:
        if _DURATION.fullmatch(text.strip()):
            return now - duration(text)
        at = datetime.fromisoformat(text.strip())
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise BadFilterError(
            f"{text!r} is neither an instant, such as 2026-11-26T10:00:00Z, nor a duration, such as 2h or 3d"
        ) from None


def states_of(names: Collection[str]) -> frozenset[State]:
    """States by name; `failed-again` is `failed_again`. Raises BadFilterError."""
    return frozenset(
        State(_one_of("state", name.replace("-", "_"), [state.value for state in State])) for name in names
    )


def dispositions_of(names: Collection[str]) -> frozenset[str]:
    """Dispositions by name. Raises BadFilterError."""
    if not names:
        return frozenset()
    from dlq.letter import Disposition  # noqa: PLC0415 - brings SQLAlchemy, for which nobody should wait

    known = [each.value for each in Disposition]
    return frozenset(_one_of("disposition", name.replace("-", "_"), known) for name in names)


def services_of(names: Collection[str], known: Collection[str]) -> frozenset[str]:
    """Services by name. Raises BadFilterError."""
    return frozenset(_one_of("service", name, known) for name in names)


def _one_of(kind: str, name: str, known: Collection[str]) -> str:
    if name not in known:
        raise BadFilterError(f"there is no {kind} {name!r}: {', '.join(known)}")
    return name
