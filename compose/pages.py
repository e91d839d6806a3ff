"""Prints what to open after `make up`: `pages.py [PROFILE,...]`. Needs nothing but Python's standard library."""

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

ENV: Final = Path(__file__).with_name(".env")


class Page(NamedTuple):
    """A page on loopback. profile: what it is started with; "" for what always is. variable: moves its port."""

    profile: str
    what: str
    variable: str
    port: int
    path: str


PAGES: Final = (
    Page("", "Kafka UI: every topic decoded, dead letters too", "KAFKA_UI_PORT", 8080, "/"),
    Page("watch", "observer: checkouts under way, stuck, broken", "OBSERVER_PORT", 6066, "/live"),
    Page("watch", "Grafana: dashboards", "GRAFANA_PORT", 3000, "/dashboards"),
    Page("watch", "Prometheus: alerts, with their runbooks", "PROMETHEUS_PORT", 9090, "/alerts"),
    Page("watch", "Alertmanager: what was sent to whom", "ALERTMANAGER_PORT", 9093, "/"),
    Page("traces", "Jaeger: one trace for each checkout", "JAEGER_PORT", 16686, "/search"),
)


def lines(profiles: Collection[str], given: Mapping[str, str]) -> Iterator[str]:
    """A line for each page that is started with these profiles. given: ports by variable, as Compose takes them."""
    shown = [page for page in PAGES if not page.profile or page.profile in profiles]
    width = max(len(page.what) for page in shown)
    for page in shown:
        yield f"  {page.what:<{width}}  http://127.0.0.1:{given.get(page.variable) or page.port}{page.path}"


def settings(env: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What Compose knows: its file's variables, and above them those of the environment."""
    text = env.read_text(encoding="utf-8") if env.exists() else ""
    assignments = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, value in assignments} | dict(environ)


def main() -> None:
    """Print the list."""
    profiles = [name for argument in sys.argv[1:] for name in argument.split(",")]
    print("\nOpen:", *lines(profiles, settings(ENV, os.environ)), sep="\n")
    print("\n`make down` stops everything and drops its data.")


if __name__ == "__main__":
    main()
