"""Rules and dashboards use only names and labels that the processes export, by their registries and their pages."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import pytest

from dlq.metrics import Letters, Look
from schemas.choreography import SERVICES
from services.observer.index import Index
from services.observer.metrics import Metrics as ObserverMetrics
from services.shell.held_up import HeldUp
from services.shell.metrics import Metrics
from tests.alerts.exported import Exported, by_families, by_page, by_registry
from tests.alerts.files import RECORDS, expressions
from tests.alerts.promql import Named, named
from tests.system import System, wait_for

OF_PROMETHEUS: Exported = {"up": frozenset()}
OF_TARGETS = {"job", "instance", "service"}
EXPRESSIONS = expressions()


@pytest.fixture(scope="module")
def exported(system: System) -> Exported:
    """Everything that the processes of a running system can export."""
    sources: Any = SimpleNamespace(index=Index(), heard_us=None, breaches=list)
    observer = ObserverMetrics(sources)
    found = OF_PROMETHEUS | by_registry(Metrics("payment").registry) | by_families(exporter().collect())
    found |= by_registry(observer.registry) | by_families(observer.collect())
    found |= by_families(HeldUp("payment", "", dict).collect())
    wait_for(lambda: "checkout_consumer_lag{" in page(system, "payment"), "payment to have partitions")
    for service in SERVICES:
        found |= by_page(page(system, service))
    return found


def exporter() -> Letters:
    """The exporter's metrics of a look at nothing."""
    letters = Letters(lambda: datetime.now(UTC))
    letters.show(Look(at=datetime.now(UTC), letters=(), known=(), kept={}))
    return letters


def page(system: System, service: str) -> str:
    """A service's /metrics."""
    with urlopen(f"http://127.0.0.1:{system.env[f'{service.upper()}_METRICS_PORT']}/metrics", timeout=5) as found:
        return str(found.read().decode())


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_name_and_label_is_exported(where: str, exported: Exported) -> None:
    found = named(EXPRESSIONS[where])
    assert found.metrics, "no metric found: the test can't read this expression"
    unknown = {metric for metric in found.metrics if metric not in exported and metric not in RECORDS}
    assert not unknown
    for metric, labels in found.matched.items():
        assert labels <= labels_of(metric, exported) | OF_TARGETS, metric
    there = frozenset[str]().union(*(labels_of(metric, exported) for metric in found.metrics))
    assert found.grouped <= there | OF_TARGETS


def labels_of(metric: str, exported: Exported) -> frozenset[str]:
    """Those that are exported; of a recording rule those that it leaves."""
    if metric not in RECORDS:
        return exported[metric]
    inner: Named = named(RECORDS[metric])
    outer = frozenset(label for label in inner.grouped if label != "le")
    return outer.union(*(labels_of(each, exported) for each in inner.metrics if each in RECORDS))


@pytest.mark.parametrize(
    ("expr", "metrics", "grouped"),
    [
        ('rate(a_total{b="c"}[5m])', {"a_total"}, set()),
        ('sum by (x) (a:b{c=~"d|e"} offset 5m) / scalar(sum(f))', {"a:b", "f"}, {"x"}),
        ("a > 1 and on (y) b == 0 or absent(c)", {"a", "b", "c"}, {"y"}),
        ("time() - max(a) > 1e3", {"a"}, set()),
    ],
)
def test_expressions_are_read(expr: str, metrics: set[str], grouped: set[str]) -> None:
    found = named(expr)
    assert found.metrics == metrics
    assert found.grouped == grouped
