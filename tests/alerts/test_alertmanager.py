"""A real Alertmanager with our routes: who hears of what, and what is not told beside its cause."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.files import ALERTMANAGER, ALERTS, read_yaml
from tests.alerts.http import get, hearing, post
from tests.alerts.watching import started
from tests.system import free_port, wait_for

Heard = list[tuple[str, Any]]
SEVERITY = {rule["alert"]: rule["labels"]["severity"] for rule in ALERTS}


@pytest.fixture(scope="module")
def told(scratch: Path) -> Iterator[tuple[str, Heard]]:
    """An Alertmanager's address, and what its webhooks are told; it waits a second where the file says more."""
    binary = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if binary is None:
        pytest.skip("no alertmanager here: Debian's package prometheus-alertmanager has it")
    folder, port = scratch / "alertmanager", free_port()
    folder.mkdir()
    with hearing() as (hook, heard):
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(configured(hook)), encoding="utf-8")
        command = [
            binary,
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        with (folder / "alertmanager.log").open("wb") as log, started(command, log):
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: get(f"{url}/api/v2/status"), "Alertmanager to answer")
            yield url, heard


def configured(hook: int) -> dict[str, Any]:
    """The configuration with the test's webhook and without its patience."""
    config: dict[str, Any] = read_yaml(ALERTMANAGER)
    for receiver in config["receivers"]:
        for webhook in receiver["webhook_configs"]:
            webhook["url"] = f"http://127.0.0.1:{hook}/{receiver['name']}"
    for route in (config["route"], *config["route"]["routes"]):
        route["group_wait"] = "1s"
    return config


def fire(url: str, *alerts: tuple[str, dict[str, str]]) -> None:
    """What Prometheus sends of firing alerts: (name, labels)."""
    told = [{"labels": {"alertname": name, "severity": SEVERITY[name], **labels}} for name, labels in alerts]
    post(f"{url}/api/v2/alerts", told)


def names(heard: Heard, path: str) -> set[str]:
    """The alerts that a webhook was told of."""
    return {alert["labels"]["alertname"] for where, body in heard if where == path for alert in body["alerts"]}


def test_pages_and_tickets_go_to_whom_they_are_for(told: tuple[str, Heard]) -> None:
    url, heard = told
    fire(url, ("BooksDirty", {"rule": "one_end"}), ("DeadLetterNewCause", {"service": "checkout"}))
    wait_for(lambda: "BooksDirty" in names(heard, "/page"), "the pager to be told")
    wait_for(lambda: "DeadLetterNewCause" in names(heard, "/ticket"), "the tracker to be told")
    assert "DeadLetterNewCause" not in names(heard, "/page")
    assert "BooksDirty" not in names(heard, "/ticket")


def test_causes_of_one_service_are_told_together(told: tuple[str, Heard]) -> None:
    url, heard = told
    causes = [("checkout", "a1"), ("checkout", "b2"), ("checkout", "c3"), ("payment", "d4")]
    fire(url, *(("DeadLetterArrived", {"service": service, "fingerprint": cause}) for service, cause in causes))
    wait_for(lambda: len(groups(heard)) == 2, "two messages")
    assert sorted(len(body["alerts"]) for body in groups(heard)) == [1, 3]


def groups(heard: Heard) -> list[Any]:
    """Messages about dead letters."""
    return [body for _, body in heard if body["groupLabels"]["alertname"] == "DeadLetterArrived"]


@pytest.mark.parametrize(
    ("cause", "consequence", "not_a_consequence"),
    [
        (
            ("ServiceDown", {"service": "payment"}),
            ("ServiceStalled", {"service": "payment"}),
            ("ServiceStalled", {"service": "warehouse"}),
        ),
        (
            ("PartitionStopped", {"service": "checkout"}),
            ("ConsumerLagGrowing", {"service": "checkout"}),
            ("OutboxNotMoving", {"service": "checkout"}),
        ),
        (
            ("CircuitBreakerOpen", {"service": "payment", "operation": "void"}),
            ("CompensationFailing", {"service": "payment", "operation": "void"}),
            ("CompensationFailing", {"service": "payment", "operation": "refund"}),
        ),
        (
            ("CircuitBreakerOpen", {"service": "payment", "operation": "authorize"}),
            ("ErrorCodeSurge", {"code": "PAYMENT_UNAVAILABLE"}),
            ("ErrorCodeSurge", {"code": "OUT_OF_STOCK"}),
        ),
        (
            ("CompensationGivenUp", {"service": "payment"}),
            ("DeadLetterArrived", {"service": "payment", "event": "checkout.failed"}),
            ("DeadLetterArrived", {"service": "payment", "event": "warehouse.confirmed"}),
        ),
    ],
    ids=lambda told: f"{told[0]}-{'-'.join(told[1].values())}",
)
def test_a_consequence_is_not_told_beside_its_cause(
    told: tuple[str, Heard],
    cause: tuple[str, dict[str, str]],
    consequence: tuple[str, dict[str, str]],
    not_a_consequence: tuple[str, dict[str, str]],
) -> None:
    url, _ = told
    fire(url, cause, consequence, not_a_consequence)
    wait_for(lambda: states(url, *consequence) == ["suppressed"], f"{consequence} to be kept back")
    assert states(url, *cause) == ["active"]
    assert states(url, *not_a_consequence) == ["active"]


def states(url: str, name: str, labels: dict[str, str]) -> list[str]:
    """Of the alerts of this name and these labels."""
    wanted = {"alertname": name, **labels}.items()
    return [alert["status"]["state"] for alert in get(f"{url}/api/v2/alerts") if wanted <= alert["labels"].items()]
