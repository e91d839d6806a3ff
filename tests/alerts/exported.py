"""What the processes export: metric name -> label names, read from their registries and from their pages."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

Exported = dict[str, frozenset[str]]

_BY_TYPE: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "counter": {"_total": ()},
    "gauge": {"": ()},
    "histogram": {"_bucket": ("le",), "_sum": (), "_count": ()},
}


def by_registry(registry: CollectorRegistry) -> Exported:
    """Of metrics that are declared in a registry, whether they have been counted yet or not."""
    found: Exported = {}
    for collector in set(registry._names_to_collectors.values()):
        if isinstance(collector, MetricWrapperBase):
            labels = frozenset(collector._labelnames)
            for suffix, more in _BY_TYPE[str(collector._type)].items():
                found[collector._name + suffix] = labels | set(more)
    return found


def by_page(text: str) -> Exported:
    """Of a page that was scraped."""
    return by_families(text_string_to_metric_families(text))


def by_families(families: Iterable[Metric]) -> Exported:
    """Of metrics that are made when they are asked for; of a page there are only samples."""
    found: Exported = {}
    for family in families:
        if hasattr(family, "_labelnames"):
            found[family.name] = frozenset(family._labelnames)
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, frozenset()) | set(sample.labels)
    return found
