"""Every alert can be understood, has a runbook, and is fired by rules.test.yml, by promtool where it is installed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.failures import Code, ErrorClass, entry_of
from tests.alerts.files import (
    ALERTMANAGER,
    ALERTS,
    DASHBOARDS,
    NAMES,
    PROMETHEUS,
    ROOT,
    RULES,
    RUNBOOKS,
    expressions,
    read_yaml,
    tool,
)
from tests.alerts.promql import labels_left, named

CASES = PROMETHEUS / "rules.test.yml"
CONFIG: dict[str, Any] = read_yaml(PROMETHEUS / "prometheus.yml")
every_alert = pytest.mark.parametrize("rule", ALERTS, ids=[f"{r['alert']}-{r['labels']['severity']}" for r in ALERTS])


# --- what a person at night reads ----------------------------------------------------------------------------------


@every_alert
def test_an_alert_says_how_urgent_it_is_and_what_is_broken_in_one_sentence_with_its_labels(
    rule: dict[str, Any],
) -> None:
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    summary = rule["annotations"]["summary"]
    assert 40 < len(summary) < 330
    assert "\n" not in summary
    assert summary.rstrip().endswith(".")
    # the labels that the expression leaves are in the sentence
    for label in re.findall(r"\$labels\.(\w+)", summary):
        assert label in labels_left(rule["expr"]), f"{label} is never filled in"
    if named(rule["expr"]).grouped & {"service"}:
        assert "$labels.service" in summary or "$labels.operation" in summary


@every_alert
def test_an_alert_leads_to_its_runbook(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["runbook_url"] == "{{ $externalLabels.runbooks }}/" + rule["alert"] + ".md"
    assert (ROOT / CONFIG["global"]["external_labels"]["runbooks"] / f"{rule['alert']}.md").is_file()


def test_every_runbook_is_that_of_an_alert() -> None:
    assert sorted(path.stem for path in RUNBOOKS.iterdir()) == NAMES


def test_the_readme_names_every_alert_and_links_its_runbook() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in NAMES if f"[`{name}`](docs/runbooks/{name}.md)" not in text]


def test_our_own_fault_is_what_the_catalogue_says_it_is() -> None:
    ours = "|".join(code for code in Code if entry_of(code).error_class is ErrorClass.OURS)
    surges = [rule["expr"] for rule in ALERTS if rule["alert"] == "ErrorCodeSurge"]
    assert [re.findall(r'code(=~|!~)"([A-Z_|]+)"', expr) for expr in surges] == [[("=~", ours)], [("!~", ours)]]


# --- rules.test.yml ------------------------------------------------------------------------------------------------


def cases() -> Iterator[tuple[str, bool]]:
    """(alert, whether it is to fire) of every case."""
    for group in read_yaml(CASES)["tests"]:
        for case in group.get("alert_rule_test", ()):
            yield case["alertname"], bool(case.get("exp_alerts"))


@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_case_that_fires_and_one_that_just_does_not(name: str) -> None:
    assert {fires for alert, fires in cases() if alert == name} == {True, False}


def test_promtool_fires_every_alert_as_the_cases_say() -> None:
    done = tool("promtool", "test", "rules", str(CASES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_and_amtool_accept_the_configuration() -> None:
    for name, *arguments in (
        ("promtool", "check", "rules", str(RULES)),
        ("promtool", "check", "config", str(PROMETHEUS / "prometheus.yml")),
        ("amtool", "check-config", str(ALERTMANAGER)),
    ):
        done = tool(name, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_every_query_of_the_dashboards(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(expressions().values())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = tool("promtool", "check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


# --- who hears of it -----------------------------------------------------------------------------------------------


def test_every_target_is_a_container_on_its_port() -> None:
    jobs = {job["job_name"]: job for job in CONFIG["scrape_configs"]}
    found = {name: [str(t) for entry in job["static_configs"] for t in entry["targets"]] for name, job in jobs.items()}
    assert found == {
        "checkout-services": ["checkout:9100", "payment:9100", "warehouse:9100"],
        "checkout-dlq": ["dlq-exporter:9104"],
        "checkout-observer": ["observer:6066"],
    }
    # else what a target says of its own service would be renamed
    assert all(job["honor_labels"] for job in jobs.values())


def test_alertmanager_knows_both_severities_and_only_alerts_that_there_are() -> None:
    config = read_yaml(ALERTMANAGER)
    assert {receiver["name"] for receiver in config["receivers"]} == {"page", "ticket"}
    assert config["route"]["group_by"] == ["alertname", "service"]
    words = re.findall(r'alertname\s*=~?\s*"?([\w|]+)', ALERTMANAGER.read_text(encoding="utf-8"))
    assert {name for word in words for name in word.split("|")} <= set(NAMES)


def test_nothing_here_is_a_secret() -> None:
    for path in (
        ALERTMANAGER,
        PROMETHEUS / "prometheus.yml",
        *DASHBOARDS,
        *(ROOT / "compose" / "grafana").rglob("*.yml"),
    ):
        assert not re.search(r"(?i)password|secret_|token:|api_key", path.read_text(encoding="utf-8")), path
