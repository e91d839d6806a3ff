"""Dashboards as Grafana reads them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from compose.dashboards import dead_letters, saga, services
from compose.dashboards.panel import Panel

FOLDER: Final = Path(__file__).parents[1] / "grafana" / "dashboards"
DASHBOARDS: Final[Mapping[str, tuple[str, tuple[Panel, ...]]]] = {
    "saga": ("Checkout: saga", saga.PANELS),
    "services": ("Checkout: services", services.PANELS),
    "dead-letters": ("Checkout: dead letters", dead_letters.PANELS),
}
"""File name -> title, panels."""

_COLUMNS: Final = 24
_SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
_BREAKER: Final = {"0": ("closed", "green"), "1": ("half open", "yellow"), "2": ("open", "red")}


def as_json(name: str) -> str:
    """The file of a dashboard."""
    title, panels = DASHBOARDS[name]
    dashboard = {
        "uid": f"checkout-{name}",
        "title": title,
        "tags": ["checkout"],
        "editable": False,
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        # one crosshair for all panels of a page
        "graphTooltip": 1,
        "links": [{"type": "dashboards", "title": "Checkout", "tags": ["checkout"], "asDropdown": False}],
        "annotations": {"list": []},
        "templating": {"list": []},
        "panels": list(_placed(panels)),
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _placed(panels: Iterable[Panel]) -> Iterator[dict[str, Any]]:
    """From left to right, as many in a row as fit."""
    x = y = tallest = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > _COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
        x, tallest = x + panel.width, max(tallest, panel.height)
        yield {"id": number, "gridPos": place, **_panel(panel)}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "targets": [_target(panel, *query, chr(ord("A") + n)) for n, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    } | _transformed(panel)


def _target(panel: Panel, expr: str, legend: str, ref: str) -> dict[str, Any]:
    now = panel.kind in ("stat", "table")
    return {
        "refId": ref,
        "datasource": _SOURCE,
        "expr": expr,
        "legendFormat": legend,
        "exemplar": panel.exemplars,
        "instant": now,
        "range": not now,
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.alarm is not None:
        steps.append({"color": "red", "value": panel.alarm})
    made: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        made["custom"] = {
            "fillOpacity": 40 if panel.stack else 5,
            "stacking": {"mode": "normal" if panel.stack else "none"},
            "thresholdsStyle": {"mode": "off" if panel.alarm is None else "line"},
        }
    if panel.kind == "state-timeline":
        options = {value: {"text": text, "color": color} for value, (text, color) in _BREAKER.items()}
        made["mappings"] = [{"type": "value", "options": options}]
    return made


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "textMode": "value_and_name"}
    return {}


def _transformed(panel: Panel) -> dict[str, Any]:
    """A table of an instant query has the time in every row, which is always now."""
    if panel.kind != "table":
        return {}
    hidden = {"excludeByName": {"Time": True}, "renameByName": {"Value": "count"}}
    return {"transformations": [{"id": "organize", "options": hidden}]}
