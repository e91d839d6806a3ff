"""What a replay was asked to do, as the audit keeps it: whoever resumes a job gets the same one."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from dlq.filters import Filter
from dlq.ledger import State, moment
from dlq.letters import DeadLetter
from dlq.messages import instant
from dlq.plan import MAX_REPLAYS

BUDGET: float = 0.10
_MOST: Final = 10**9
_NAMES: Final = ("services", "dispositions", "fingerprints", "checkouts", "ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """filter: which letters; topics: where they lie, () for the services' own.

    failed_until: none that failed after it, so that a job that goes on does not grow. limit: so many in all. rate:
    letters per second, None for as fast as it goes. budget: the share of failures, 0 to 1, that a ramp allows.
    """

    filter: Filter
    topics: tuple[str, ...] = ()
    failed_until: datetime | None = None
    limit: int | None = None
    max_replays: int = MAX_REPLAYS
    rate: float | None = None
    ramp: bool = False
    budget: float = BUDGET

    def chosen(self, letters: list[DeadLetter]) -> list[DeadLetter]:
        """Those that are meant."""
        until = self.failed_until
        return [each for each in letters if self.filter.matches(each) and (until is None or each.failed_at <= until)]

    def closed(self, letters: list[DeadLetter]) -> "Request":
        """The same request, for none that fail after these."""
        newest = max((letter.failed_at for letter in letters), default=None)
        return replace(self, failed_until=self.failed_until or newest)

    def as_json(self) -> dict[str, Any]:
        """The request as the audit keeps it."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def request_from(fields: Any) -> Request:
    """What `as_json` gave. Raises ValueError for anything else, naming the field."""
    asked = _Fields(fields, "request")
    wanted = _Fields(asked.get("filter"), "filter")
    return Request(
        filter=Filter(
            **{name: frozenset(wanted.texts(name)) for name in _NAMES},
            states=frozenset(map(State, wanted.texts("states"))),
            since=wanted.time("since"),
            until=wanted.time("until"),
            match=tuple(wanted.texts("match")),
        ),
        topics=tuple(asked.texts("topics")),
        failed_until=asked.time("failed_until"),
        limit=None if asked.get("limit") is None else int(asked.number("limit", 1, _MOST)),
        max_replays=int(asked.number("max_replays", 1, _MOST)),
        rate=None if asked.get("rate") is None else asked.number("rate", 0.01, _MOST),
        ramp=asked.get("ramp") is True,
        budget=asked.number("budget", 0, 1),
    )


class _Fields:
    """The fields of an object from outside, each asked for as what it has to be. Raises ValueError."""

    def __init__(self, found: Any, name: str) -> None:
        if not isinstance(found, dict):
            raise ValueError(f"{name} is no object")  # noqa: TRY004 - what comes from outside is a wrong value
        self._found = found

    def get(self, name: str) -> Any:
        """As it stands there; None where it doesn't."""
        return self._found.get(name)

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        found = self.get(name)
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise ValueError(f"{name} is no list of texts")
        return found

    def time(self, name: str) -> datetime | None:
        """An instant, or nothing."""
        found = self.get(name)
        at = instant(found) if isinstance(found, str) else None
        if found is not None and at is None:
            raise ValueError(f"{name} is no instant")
        return at

    def number(self, name: str, least: float, most: float) -> float:
        """A number in these bounds."""
        found = self.get(name)
        if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found <= most:
            raise ValueError(f"{name} is no number from {least:g} to {most:g}")
        return found


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case frozenset() | set() | tuple() | list():
            return sorted(map(_plain, value))
        case datetime():
            return moment(value)
        case _:
            return value
