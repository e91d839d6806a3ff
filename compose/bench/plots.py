"""Pictures of the figures: latency against load, throughput against workers, ours beside the peers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from compose.bench.figures import Figure

_QUANTILES: Final = ("p50", "p90", "p99")
_SIZE: Final = (8, 4.5)
_INK: Final = ("#1b6ca8", "#e07a2f", "#b3362b", "#3c8d53")


def draw(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """A PNG for each figure that has a picture; their paths."""
    found = []
    for figure in figures:
        for word, picture in _PICTURES.items():
            if word in figure.name and figure.data:
                found.append(picture(figure.data, folder))
    return found


def _latency_against_load(data: Mapping[str, Any], folder: Path) -> Path:
    loads = [float(name.removesuffix("/s")) for name in data]
    axes, save = _axes("Latency against load", "checkouts a second", "ms, requested to completed")
    for quantile, color in zip(_QUANTILES, _INK, strict=False):
        values = [median(run["latency_ms"][quantile] for run in runs) for runs in data.values()]
        axes.plot(loads, values, marker="o", label=quantile, color=color)
    axes.set_yscale("log")
    axes.legend()
    return save(folder / "latency.png")


def _throughput_against_workers(data: Mapping[str, Any], folder: Path) -> Path:
    workers = [int(name.split()[0]) for name in data]
    rates = [_rate(runs) for runs in data.values()]
    axes, save = _axes(
        "Throughput against workers (200 ms provider, 32 calls each)", "payment processes", "checkouts a second"
    )
    axes.plot(workers, rates, marker="o", color=_INK[0], label="measured")
    axes.plot(workers, [rates[0] * n for n in workers], "--", color="#999999", label="so many times one")
    axes.set_xticks(workers)
    axes.set_ylim(bottom=0)
    axes.legend()
    return save(folder / "workers.png")


def _beside_the_peers(data: Mapping[str, Any], folder: Path) -> Path:
    names, rates = list(data), [_rate(runs) for runs in data.values()]
    axes, save = _axes("Whole checkouts a second, same servers, same two cores", "", "checkouts a second")
    bars = axes.bar(names, rates, color=_INK)
    axes.bar_label(bars, labels=[f"{rate:,.0f}" for rate in rates])
    return save(folder / "peers.png")


_PICTURES: Final = {
    "latency against load": _latency_against_load,
    "payment processes": _throughput_against_workers,
    "whole checkouts a second": _beside_the_peers,
}


def _rate(runs: Iterable[Mapping[str, Any]]) -> float:
    return float(median(run["rate"] for run in runs))


def _axes(title: str, x: str, y: str) -> tuple[Any, Callable[[Path], Path]]:
    # a large library that nothing else needs
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    canvas = Canvas(figsize=_SIZE, layout="constrained")
    axes = canvas.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)

    def save(path: Path) -> Path:
        canvas.savefig(path, dpi=120)
        return path

    return axes, save
