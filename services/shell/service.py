"""What a service tells the shell about itself."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection, text

from schemas.choreography import check_handlers, may_publish, reactions, subscriptions
from schemas.decision import Decision
from schemas.events import Event
from services.shell.calls import Provider
from services.shell.delivery import Delivery, from_timer

Handler = Callable[..., Decision[Any]]


class World(Protocol):
    """All that the decisions of one batch need, in memory."""

    def view(self, event: Event) -> Any:
        """What the decision about `event` sees."""

    def current(self, checkout_id: str) -> Any | None:
        """The state of a checkout; has `.status`."""

    def keep(self, state: Any) -> None:
        """The new state of a checkout."""

    def save(self, db: Connection) -> None:
        """Write what changed, with a fixed number of statements."""


@dataclass(frozen=True, slots=True)
class DueTimer:
    """Finds checkouts whose time has passed. table: of states, with `due_at`."""

    event: type[Event]
    table: str

    def due(self, db: Connection, now: datetime, limit: int) -> list[Delivery]:
        """The timer's events that are due, each with the trace in which its checkout changed last."""
        found = db.execute(
            text(
                "SELECT checkout_id, (SELECT traceparent FROM audit_trail AS step"  # noqa: S608 - a name from this code
                f" WHERE step.checkout_id = late.checkout_id ORDER BY seq DESC LIMIT 1) FROM {self.table} AS late"
                " WHERE due_at <= :now ORDER BY due_at LIMIT :limit"
            ),
            {"now": now, "limit": limit},
        )
        return [from_timer(self.event(checkout_id=name), now, trace) for name, trace in found.all()]


@dataclass(frozen=True, slots=True)
class Breaking:
    """When the circuit breaker of an operation opens (failures in a row), and for how long (seconds)."""

    failures: int = 5
    open_s: float = 30.0


def _never(_state: Any) -> bool:
    return False


def _untimed(_state: Any) -> datetime | None:
    return None


@dataclass(frozen=True)
class Service:
    """A service: its decisions, how to load what they need, its timers, and who makes its provider calls.

    giving_up: event type -> the decision that announces that it can't be handled; an event without one is a dead letter
    as it is. let_go: whether a state holds nothing any more, so that what was given up is compensated. began: when a
    checkout that has reached an end began; None for any other state, and where nobody times it. duties: event
    type -> what it makes the service do, where operators have to know (`release`). provider, unknown, calls_at_once:
    see `Calls`; None for a service that calls nobody. Raises MapError when its handlers are not those that the
    choreography gives it.
    """

    name: str
    handlers: Mapping[str, Handler]
    load: Callable[[Connection, Sequence[Event]], World]
    timers: Sequence[DueTimer] = ()
    giving_up: Mapping[str, Handler] = field(default_factory=dict)
    let_go: Callable[[Any], bool] = _never
    began: Callable[[Any], datetime | None] = _untimed
    duties: Mapping[str, str] = field(default_factory=dict)
    provider: Provider | None = None
    unknown: type[Exception] = Exception
    operations: tuple[str, ...] = ()
    breaking: Breaking = Breaking()
    calls_at_once: int = 256

    def __post_init__(self) -> None:
        """Hold the service against the map."""
        check_handlers(self.name, self.handlers)

    def topics(self) -> list[str]:
        """The events it hears."""
        return subscriptions(self.name)

    def handler_name(self, event_type: str) -> str:
        """The function that handles an event."""
        return f"services.{self.name}.decisions.on_{event_type.replace('.', '_')}"

    def says(self) -> list[str]:
        """The events it may publish."""
        return sorted(may_publish(self.name))

    def check_answer(self, heard: str, events: Iterable[Event]) -> None:
        """Refuse an answer that the map doesn't know. Raises ValueError."""
        foreign = [event.TYPE for event in events if event.TYPE not in reactions(self.name)[heard]]
        if foreign:
            raise ValueError(f"{self.name} answers {heard} with {foreign}, which schemas/choreography.py doesn't know")
