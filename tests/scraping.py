"""Reads metrics as Prometheus would."""

from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.system import System

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@dataclass(frozen=True)
class Sample:
    """One number. exemplar: the labels of its exemplar, None without one."""

    name: str
    labels: dict[str, str]
    value: float
    exemplar: dict[str, str] | None


def scrape(port: int | str) -> list[Sample]:
    """Everything that a process on this machine shows at /metrics."""
    request = Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": OPEN_METRICS})
    with urlopen(request, timeout=10) as page:
        assert page.headers["Content-Type"].startswith("application/openmetrics-text")
        families: Any = text_string_to_metric_families(page.read().decode())  # type: ignore[no-untyped-call]
        return [
            Sample(s.name, dict(s.labels), s.value, dict(s.exemplar.labels) if s.exemplar else None)
            for family in families
            for s in family.samples
        ]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    """The sum of the samples of this name with these labels; 0 where there is none."""
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


class Page:
    """The metrics of one service of a system."""

    def __init__(self, system: System, service: str) -> None:
        self._port = system.env[f"{service.upper()}_METRICS_PORT"]

    def value(self, name: str, **labels: str) -> float:
        """What it says now."""
        return value(scrape(self._port), name, **labels)

    def samples(self, name: str) -> list[Sample]:
        """All of one name."""
        return [sample for sample in scrape(self._port) if sample.name == name]
