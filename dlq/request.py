"""What a replay was asked to do, as the audit keeps it: whoever resumes a job gets the same one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from dlq.filters import Filter
from dlq.ledger import State, moment
from dlq.letters import DeadLetter
from dlq.messages import instant
from dlq.plan import MAX_REPLAYS

BUDGET: float = 0.10


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


def request_from(fields: Mapping[str, Any]) -> Request:
    """What `as_json` gave. Raises KeyError, TypeError, ValueError."""
    asked = fields["filter"]
    times = {name: instant(asked[name]) if asked[name] else None for name in ("since", "until")}
    states = frozenset(State(state) for state in asked["states"])
    until = fields["failed_until"]
    return Request(
        **{name: value for name, value in fields.items() if name in Request.__dataclass_fields__}
        | {
            "filter": Filter(**{**asked, **times, "states": states}),
            "topics": tuple(fields["topics"]),
            "failed_until": instant(until) if until else None,
        }
    )


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
