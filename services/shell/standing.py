"""What stands in a service's tables, as Prometheus metrics: read when somebody asks, from the tables themselves.

Every process of a service sees the same tables, so these are not to be summed over its processes.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from services.shell.database import words_of
from services.shell.waiting import SHOWN

_OUTBOX: Final = text(
    "SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0), min(seq) FROM outbox WHERE seq > :floor"
)
_WAITING: Final = text(
    "SELECT count(*) FILTER (WHERE next_attempt_at IS NOT NULL), count(*) FILTER (WHERE next_attempt_at IS NULL),"
    " count(DISTINCT lane) FROM retries WHERE status = 'pending'"
)
_COMPENSATIONS: Final = text(
    "SELECT operation, count(*) FROM failed_compensation WHERE status = 'pending' GROUP BY operation"
)

log = structlog.get_logger("shell.standing")


class Standing(Collector):
    """Outbox, retry table and failed compensations of one service.

    settled: up to which `seq` the outbox is settled (`outbox.relay.Relay.settled`). Rows are deleted from its beginning
    on, and while somebody's snapshot is open their index entries stay; so what is known to be gone is passed over.
    """

    def __init__(self, service: str, engine: Engine, settled: Callable[[], int]) -> None:
        self._service = service
        self._engine = engine
        self._settled = settled
        self._floor = 0

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; a database that is away has none but that it is away."""
        try:
            with self._engine.connect() as db:
                found = [*self._outbox(db), *self._waiting(db), self._compensations(db)]
        except (DBAPIError, PoolTimeoutError) as away:
            log.debug("the database can't be asked", reason=words_of(away))
            found = []
        yield self._gauge("checkout_database_up", "Whether the database answers", int(bool(found)))
        yield from found

    def _outbox(self, db: Connection) -> Iterator[GaugeMetricFamily]:
        settled = self._settled()
        if settled < self._floor:
            # somebody has set the sequence back
            self._floor = 0
        depth, age_s, first = db.execute(_OUTBOX, {"floor": self._floor}).one()
        self._floor = max(self._floor, min(settled, first - 1) if depth else settled)
        yield self._gauge("checkout_outbox_depth", "Events that wait to be published", depth)
        yield self._gauge("checkout_outbox_oldest_age_seconds", "Since when the oldest of them waits", float(age_s))

    def _waiting(self, db: Connection) -> Iterator[GaugeMetricFamily]:
        retrying, parked, keys = db.execute(_WAITING).one()
        family = GaugeMetricFamily(
            "checkout_waiting_messages",
            "Messages that wait to be tried again, or behind one",
            labels=("service", "kind"),
        )
        family.add_metric([self._service, "retrying"], retrying)
        family.add_metric([self._service, "parked"], parked)
        yield family
        yield self._gauge("checkout_waiting_keys", "Checkouts that have such messages", keys)

    def _compensations(self, db: Connection) -> GaugeMetricFamily:
        waiting: dict[str, int] = dict(db.execute(_COMPENSATIONS).tuples().all())
        family = GaugeMetricFamily(
            "checkout_failed_compensations", "Captures, voids, refunds, releases that fail and are tried again",
            labels=("service", "operation"),
        )  # fmt: skip
        for operation in SHOWN:
            family.add_metric([self._service, operation], waiting.get(operation, 0))
        return family

    def _gauge(self, name: str, what: str, value: Any) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, what, labels=("service",))
        family.add_metric([self._service], value)
        return family
