"""compose/kubernetes: sealed pods, secrets by reference, settings that exist, and no more pods than partitions."""

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml
from pydantic_settings import BaseSettings

from compose.acls import PRINCIPALS
from compose.settings import Servers
from services.checkout.service import CheckoutSettings
from services.payment.service import PaymentSettings
from services.shell.settings import Settings
from services.warehouse.service import WarehouseSettings
from tests.compose.composition import ROOT, SERVICES

FOLDER: Final = ROOT / "compose" / "kubernetes"
FILES: Final = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
OBJECTS: Final[list[dict[str, Any]]] = [each for path in FILES for each in yaml.safe_load_all(path.read_text("utf-8"))]
BY_NAME: Final = {(each["kind"], each["metadata"]["name"]): each for each in OBJECTS}
THREE: Final[dict[str, type[Settings]]] = {
    "checkout": CheckoutSettings,
    "payment": PaymentSettings,
    "warehouse": WarehouseSettings,
}
CONFIG: Final[dict[str, str]] = BY_NAME["ConfigMap", "checkout"]["data"]


def templates() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, pod template) of everything that runs."""
    for (kind, name), each in BY_NAME.items():
        if kind in ("Deployment", "Job"):
            yield name, each["spec"]["template"]


PODS: Final = dict(templates())


def container(name: str) -> dict[str, Any]:
    """The one container of a pod."""
    (only,) = PODS[name]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def environment(name: str) -> set[str]:
    """The variables that a pod's container has."""
    assert container(name)["envFrom"] == [{"configMapRef": {"name": "checkout"}}]
    return {each["name"] for each in container(name)["env"]} | CONFIG.keys()


def test_everything_is_applied() -> None:
    applied = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
    assert sorted(applied["resources"]) == [path.name for path in FILES]
    assert {image["name"] for image in applied["images"]} == {container(name)["image"] for name in PODS}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_root_no_privileges_and_nothing_to_write_to(name: str) -> None:
    pod, only = PODS[name]["spec"], container(name)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in only["volumeMounts"]] == ["/tmp"]
    assert "memory" in only["resources"]["limits"]


@pytest.mark.parametrize("name", PODS)
def test_a_secret_is_a_reference(name: str) -> None:
    for each in container(name)["env"]:
        secret = any(word in each["name"] for word in ("PASSWORD", "USERNAME", "DATABASE_URL", "API_KEY"))
        assert ("secretKeyRef" in each.get("valueFrom", {})) == secret, each["name"]
    assert not [name for name in CONFIG if "PASSWORD" in name or "KEY" in name or "DATABASE" in name]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_logs_in_as_who_it_is(name: str) -> None:
    principal = {"dlq-exporter": "exporter", "checkout-setup": "setup"}.get(name, name)
    assert principal in PRINCIPALS
    logins = {
        each["valueFrom"]["secretKeyRef"]["name"] for each in container(name)["env"] if "KAFKA_SASL" in each["name"]
    }
    assert logins == {f"checkout-kafka-{principal}"}


@pytest.mark.parametrize("name", THREE)
def test_a_service_reads_every_variable_and_misses_none(name: str) -> None:
    given = environment(name)
    assert required(THREE[name]) <= given
    known = variables(Settings) | set().union(*(variables(kind) for kind in THREE.values()))
    assert given <= known, "a variable that nobody reads"
    others = {f"{other.upper()}_DATABASE_URL" for other in THREE if other != name}
    assert not given & others


def test_the_setup_makes_everything_but_sample_data() -> None:
    assert container("checkout-setup")["args"] == ["checkout", "setup", "--no-seed"]
    assert required(Servers) <= environment("checkout-setup")


def variables(kind: type[BaseSettings]) -> set[str]:
    return {str(field.validation_alias or name).upper() for name, field in kind.model_fields.items()}


def required(kind: type[BaseSettings]) -> set[str]:
    fields = kind.model_fields.items()
    return {str(field.validation_alias or name).upper() for name, field in fields if field.is_required()}


@pytest.mark.parametrize("name", PODS)
def test_a_command_is_that_of_the_container(name: str) -> None:
    service = name.removeprefix("checkout-")
    if service != "setup":
        assert container(name)["args"] == SERVICES[service]["command"]


@pytest.mark.parametrize("name", [name for name in PODS if name != "checkout-setup"])
def test_a_pod_is_asked_whether_it_lives_and_whether_it_works(name: str) -> None:
    only = container(name)
    paths = ("/healthz", "/readyz") if name in THREE else ("/metrics", "/metrics")
    for probe, path in zip(("livenessProbe", "readinessProbe"), paths, strict=True):
        assert only[probe]["httpGet"] == {"path": path, "port": "metrics"}
    assert only["startupProbe"]["failureThreshold"] * only["startupProbe"]["periodSeconds"] >= 60
    assert [port["name"] for port in only["ports"]] == ["metrics"]


@pytest.mark.parametrize("name", THREE)
def test_a_service_stops_in_time_and_never_all_at_once(name: str) -> None:
    deployment = BY_NAME["Deployment", name]["spec"]
    assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] > 30
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = BY_NAME["PodDisruptionBudget", name]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment["selector"]


@pytest.mark.parametrize("name", [name for name in PODS if name != "checkout-setup"])
def test_selectors_meet_labels(name: str) -> None:
    labels = PODS[name]["metadata"]["labels"].items()
    assert BY_NAME["Deployment", name]["spec"]["selector"]["matchLabels"].items() <= labels
    assert BY_NAME["Service", name]["spec"]["selector"].items() <= labels
    (port,) = BY_NAME["Service", name]["spec"]["ports"]
    assert port["port"] == container(name)["ports"][0]["containerPort"]


@pytest.mark.parametrize("name", THREE)
def test_pods_follow_the_lag_up_to_the_partitions(name: str) -> None:
    scaled = BY_NAME["ScaledObject", name]["spec"]
    assert scaled["scaleTargetRef"] == {"name": name}
    assert "replicas" not in BY_NAME["Deployment", name]["spec"], "two would say how many"
    partitions = {each["name"]: each.get("value") for each in container("checkout-setup")["env"]}["TOPIC_PARTITIONS"]
    assert scaled["minReplicaCount"] >= 2
    assert scaled["maxReplicaCount"] == int(str(partitions))
    (trigger,) = scaled["triggers"]
    assert (trigger["type"], trigger["metadata"]["consumerGroup"]) == ("kafka", name)
    asked = BY_NAME["TriggerAuthentication", trigger["authenticationRef"]["name"]]["spec"]["secretTargetRef"]
    assert {each["name"] for each in asked} == {f"checkout-kafka-{name}"}


def test_what_has_to_be_there_first_is_marked() -> None:
    first = {key for key, each in BY_NAME.items() if each["metadata"].get("labels", {}).get(STEP) == "setup"}
    assert first == {("ConfigMap", "checkout"), ("Job", "checkout-setup")}


STEP: Final = "checkout-choreography/step"


def test_kubeconform_knows_every_field() -> None:
    if shutil.which("kubeconform") is None:
        pytest.skip("no kubeconform here")
    command = ["kubeconform", "-strict", "-ignore-missing-schemas", "-summary", *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if "could not download schema" in done.stdout + done.stderr or "failed downloading" in done.stdout + done.stderr:
        pytest.skip("kubeconform can't have its schemas here")
    assert done.returncode == 0, done.stdout + done.stderr
