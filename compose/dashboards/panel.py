"""A panel as data, and the queries that many of them share."""

from dataclasses import dataclass
from typing import Final

_QUANTILES: Final = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture. about: a sentence. unit: Grafana's name of it. queries: (PromQL, legend).

    kind: timeseries, stat, table or state-timeline. stack: areas on top of each other. exemplars: single checkouts as
    dots that lead to their traces. alarm: red from this value on. width, height: in Grafana's grid of 24 columns.
    """

    title: str
    about: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    stack: bool = False
    exemplars: bool = False
    alarm: float | None = None
    width: int = 8
    height: int = 8


def rate(metric: str, by: str, where: str = "") -> str:
    """A counter by these labels, a second."""
    return f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))"


def quantile(metric: str, q: float, by: str) -> str:
    """The q-quantile of a histogram by these labels."""
    return f"histogram_quantile({q}, sum by (le, {by}) (rate({metric}_bucket[$__rate_interval])))"


def quantiles(metric: str, by: str, legend: str) -> tuple[tuple[str, str], ...]:
    """Median, 95th and 99th percentile, as a panel's queries."""
    return tuple((quantile(metric, q, by), f"{legend} p{q * 100:.0f}") for q in _QUANTILES)


def most(metric: str, by: str) -> str:
    """Every process of a service reads the same tables: the largest, not the sum."""
    return f"max by ({by}) ({metric})"
