"""The dashboards are those of the code, and each panel explains itself."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from compose.dashboards.grafana import DASHBOARDS as MADE
from compose.dashboards.grafana import FOLDER, as_json
from tests.alerts.files import DASHBOARDS, GRAFANA, PANELS, RANGE, panels, read_yaml
from tests.alerts.promql import labels_left

UNITS = {"s", "ops", "reqps", "short", "percentunit"}
SOURCES: dict[str, dict[str, Any]] = {
    source["uid"]: source
    for source in read_yaml(GRAFANA / "provisioning" / "datasources" / "datasources.yml")["datasources"]
}
every_panel = pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS.keys())


@pytest.mark.parametrize("name", MADE)
def test_the_files_are_those_of_the_code(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == as_json(name), "run `python -m compose.dashboards`"


def test_there_is_a_dashboard_for_sagas_services_and_dead_letters_and_no_other() -> None:
    assert [path.stem for path in DASHBOARDS] == ["dead-letters", "saga", "services"]
    uids = [json.loads(path.read_text(encoding="utf-8"))["uid"] for path in DASHBOARDS]
    assert len(set(uids)) == len(uids)


@every_panel
def test_a_panel_has_a_unit_and_a_sentence(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["description"].endswith(".")
    assert 30 < len(panel["description"]) < 140
    assert panel["title"]


@every_panel
def test_a_panel_asks_a_data_source_that_is_provisioned(panel: dict[str, Any]) -> None:
    for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert SOURCES[source["uid"]]["type"] == source["type"]


@every_panel
def test_rates_are_taken_over_the_range_that_grafana_chooses(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert ("rate(" not in target["expr"]) == (RANGE not in target["expr"])


@every_panel
def test_a_legend_names_labels_that_the_query_leaves(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert named <= labels_left(target["expr"]), target


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_covers_another_one(path: Path) -> None:
    places = [panel["gridPos"] for panel in panels(path)]
    cells = [cell for place in places for cell in covered(place)]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def covered(place: dict[str, int]) -> Iterable[tuple[int, int]]:
    """The cells of the grid below a panel."""
    return [
        (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    ]


def test_a_dot_in_a_graph_of_durations_leads_to_its_trace() -> None:
    (way,) = SOURCES["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert way["name"] == "trace_id"
    assert SOURCES[way["datasourceUid"]]["type"] == "jaeger"
    dotted = {name for name, panel in PANELS.items() if any(target["exemplar"] for target in panel["targets"])}
    assert dotted == {
        "saga: Duration",
        "saga: Step latency, p95, by event",
        "services: Provider latency by operation",
    }


def test_grafana_finds_the_dashboards_where_they_are_mounted() -> None:
    (provider,) = read_yaml(GRAFANA / "provisioning" / "dashboards" / "dashboards.yml")["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
