"""The rules, runbooks and dashboards as the tests look at them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
PROMETHEUS: Final = ROOT / "compose" / "prometheus"
ALERTMANAGER: Final = ROOT / "compose" / "alertmanager" / "alertmanager.yml"
GRAFANA: Final = ROOT / "compose" / "grafana"
RULES: Final = PROMETHEUS / "rules.yml"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
RANGE: Final = "$__rate_interval"
"""Grafana puts a range here that fits the picture."""


def read_yaml(path: Path) -> Any:
    """A file's data."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


_RULES: Final[list[dict[str, Any]]] = [rule for group in read_yaml(RULES)["groups"] for rule in group["rules"]]
ALERTS: Final = [rule for rule in _RULES if "alert" in rule]
RECORDS: Final = {rule["record"]: str(rule["expr"]) for rule in _RULES if "record" in rule}
NAMES: Final = sorted({rule["alert"] for rule in ALERTS})


def panels(dashboard: Path) -> list[dict[str, Any]]:
    """The panels of a dashboard's file."""
    found: list[dict[str, Any]] = json.loads(dashboard.read_text(encoding="utf-8"))["panels"]
    return found


DASHBOARDS: Final = sorted((GRAFANA / "dashboards").glob("*.json"))
PANELS: Final = {f"{path.stem}: {panel['title']}": panel for path in DASHBOARDS for panel in panels(path)}


def queries(panel: dict[str, Any]) -> list[str]:
    """The PromQL of a panel, with a range where Grafana puts one."""
    return [str(target["expr"]).replace(RANGE, "1m") for target in panel["targets"]]


def expressions() -> dict[str, str]:
    """Every expression of rules and panels, by where it stands."""
    rules = {f"{rule.get('alert', rule.get('record'))}": str(rule["expr"]) for rule in _RULES}
    shown = {f"{name} {n}": expr for name, panel in PANELS.items() for n, expr in enumerate(queries(panel))}
    # two rules share a name where only their severity differs
    twins = {f"{rule['alert']} {rule['labels']['severity']}": str(rule["expr"]) for rule in ALERTS}
    return rules | twins | shown


def tool(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a tool that may be missing."""
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here: Debian's packages prometheus and prometheus-alertmanager have it")
    return subprocess.run([name, *arguments], capture_output=True, text=True, check=False, timeout=120)


def command_lines(text: str) -> list[str]:
    """The `dlq` and `checkout` commands in a text: after a prompt, or in backticks."""
    shown = re.findall(r"^\$ ((?:dlq|checkout) .*?)(?:\s{2,}#.*)?$", text, re.MULTILINE)
    inline = re.findall(r"`((?:dlq|checkout) [^`]+)`", text)
    return [" ".join(line.split()) for line in (*shown, *inline)]
