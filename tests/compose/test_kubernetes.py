"""compose/kubernetes: sealed pods, secrets as files, settings that exist, named ways out, pods up to the partitions."""

import json
import re
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
MAPS: Final[dict[str, dict[str, str]]] = {name: x["data"] for (kind, name), x in BY_NAME.items() if kind == "ConfigMap"}
PRODUCTION: Final = (ROOT / "docs" / "production.md").read_text("utf-8")
SECRET: Final = re.compile(r"PASSWORD|DATABASE_URL|API_KEY")


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


def values(name: str) -> dict[str, str | None]:
    """The variables that a pod's container has; None where the value isn't known before it runs."""
    shared = [MAPS[each["configMapRef"]["name"]] for each in container(name)["envFrom"]]
    own = {each["name"]: each.get("value") for each in container(name)["env"]}
    return {variable: value for some in (*shared, own) for variable, value in some.items()}


def environment(name: str) -> set[str]:
    """The settings that a pod's container has, directly or as the file that `<setting>_FILE` names."""
    return {variable.removesuffix("_FILE") for variable in values(name)}


def keys(name: str) -> set[str]:
    """The keys of a pod's Secret that its container reads."""
    files = [str(value) for variable, value in values(name).items() if variable.endswith("_FILE")]
    assert all(file.startswith("/secrets/") for file in files), files
    return {file.removeprefix("/secrets/") for file in files}


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
    assert [mount["mountPath"] for mount in only["volumeMounts"] if not mount.get("readOnly")] == ["/tmp"]
    assert only["resources"]["limits"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("name", PODS)
def test_a_secret_is_a_file_of_the_pods_own_secret(name: str) -> None:
    assert not [variable for variable in values(name) if SECRET.search(variable) and not variable.endswith("_FILE")]
    assert not [each["name"] for each in container(name)["env"] if "secretKeyRef" in each.get("valueFrom", {})]
    assert {"name": "secrets", "mountPath": "/secrets", "readOnly": True} in container(name)["volumeMounts"]
    pod = PODS[name]["spec"]
    (secrets,) = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert secrets == {"secretName": name, "defaultMode": 0o440}
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"], "who may read them"


def test_everyone_has_a_kafka_principal_of_its_own() -> None:
    principals = [values(name)["KAFKA_SASL_USERNAME"] for name in PODS]
    assert len(set(principals)) == len(PODS)
    assert all("kafka-password" in keys(name) for name in PODS)
    targets = BY_NAME["TriggerAuthentication", "keda"]["spec"]["secretTargetRef"]
    assert {each["name"] for each in targets} == {"keda"}


def test_only_the_setup_may_write_to_the_schema_registry() -> None:
    assert [name for name in PODS if "SCHEMA_REGISTRY_URL_FILE" in values(name)] == ["checkout-setup"]
    assert [name for name in PODS if "SCHEMA_REGISTRY_URL" not in values(name)] == ["checkout-setup"]


def test_the_production_note_names_every_secret_with_its_keys() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (`[^|]+`) \|", PRODUCTION[PRODUCTION.index("## Kubernetes") :], re.MULTILINE)
    named = {name: set(re.findall(r"`([\w-]+)`", row)) for name, row in rows}
    targets = BY_NAME["TriggerAuthentication", "keda"]["spec"]["secretTargetRef"]
    assert named == {**{name: keys(name) for name in PODS}, "keda": {each["key"] for each in targets}}


def test_every_object_lies_in_the_namespace() -> None:
    assert {each["metadata"].get("namespace", each["kind"]) for each in OBJECTS} == {"checkout", "Namespace"}
    assert BY_NAME["Namespace", "checkout"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("kind", ["Deployment", "Service", "PodDisruptionBudget", "ScaledObject"])
@pytest.mark.parametrize("name", ["payment", "warehouse"])
def test_services_differ_by_their_names_and_the_providers_key_only(kind: str, name: str) -> None:
    text = json.dumps(BY_NAME[kind, name]).replace(name, "checkout").replace(name.upper(), "CHECKOUT")
    key = '{"name": "STRIPE_API_KEY_FILE", "value": "/secrets/stripe-api-key"}, '
    assert text.replace(key, "") == json.dumps(BY_NAME[kind, "checkout"])


@pytest.mark.parametrize("name", PODS)
def test_a_pod_logs_in_as_who_it_is(name: str) -> None:
    principal = {"dlq-exporter": "exporter", "checkout-setup": "setup"}.get(name, name)
    assert principal in PRINCIPALS
    assert values(name)["KAFKA_SASL_USERNAME"] == principal


@pytest.mark.parametrize("name", THREE)
def test_a_service_reads_every_variable_and_misses_none(name: str) -> None:
    given = environment(name)
    assert required(THREE[name]) <= given
    known = variables(Settings) | set().union(*(variables(kind) for kind in THREE.values()))
    assert given <= known, "a variable that nobody reads"
    others = {f"{other.upper()}_DATABASE_URL" for other in THREE if other != name}
    assert not given & others
    assert ("STRIPE_API_KEY" in given) == (name == "payment")


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
    assert {each["name"] for each in asked} == {"keda"}


def test_what_has_to_be_there_first_is_marked() -> None:
    first = {key for key, each in BY_NAME.items() if each["metadata"].get("labels", {}).get(STEP) == "setup"}
    policies = {key for key in BY_NAME if key[0] == "NetworkPolicy"}
    assert first == {("Namespace", "checkout"), ("ConfigMap", "checkout"), ("Job", "checkout-setup"), *policies}


STEP: Final = "checkout-choreography/step"


def policies(name: str, direction: str) -> Iterator[dict[str, Any]]:
    """What a pod may do in a direction, `ingress` or `egress`: rules of every policy that selects it."""
    for policy in (each["spec"] for each in OBJECTS if each["kind"] == "NetworkPolicy"):
        if selects(policy["podSelector"], PODS[name]["metadata"]["labels"]):
            yield from policy.get(direction, [])


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    among = all(labels[each["key"]] in each["values"] for each in selector.get("matchExpressions", []))
    return among and selector.get("matchLabels", {}).items() <= labels.items()


def reached(name: str) -> set[int]:
    """The ports elsewhere that a pod may speak to."""
    return {port["port"] for rule in policies(name, "egress") for port in rule["ports"]}


def test_what_no_policy_names_is_denied() -> None:
    assert BY_NAME["NetworkPolicy", "default-deny"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    for each in OBJECTS:
        rules = (
            each["spec"].get("ingress", []) + each["spec"].get("egress", []) if each["kind"] == "NetworkPolicy" else []
        )
        assert all(rule["ports"] and (rule.get("to") or rule.get("from")) for rule in rules), each["metadata"]["name"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_reaches_what_it_has_settings_for_and_nothing_else(name: str) -> None:
    registry = {8080}
    kafka = {int(MAPS["checkout"]["KAFKA_BOOTSTRAP_SERVERS"].rpartition(":")[2])}
    databases = {5432} if any(key.endswith("database-url") for key in keys(name)) else set()
    provider = {443} if "stripe-api-key" in keys(name) else set()
    itself = {6066} if name == "observer" else set()
    assert reached(name) == {53} | kafka | registry | databases | provider | itself


def test_the_provider_is_outside_and_no_neighbour() -> None:
    ((to,),) = [rule["to"] for rule in policies("payment", "egress") if rule["ports"][0]["port"] == 443]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(to["ipBlock"]["except"])


@pytest.mark.parametrize("name", PODS)
def test_only_who_measures_and_the_observer_itself_may_call(name: str) -> None:
    ports = [rule["ports"][0]["port"] for rule in policies(name, "ingress")]
    assert ports == (["metrics", 6066] if name == "observer" else ["metrics"])


def test_kustomize_puts_the_files_together() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    command = ["kubectl", "kustomize", str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    applied = list(yaml.safe_load_all(done.stdout))
    assert {(each["kind"], each["metadata"]["name"]) for each in applied} == BY_NAME.keys()
    images = {x["image"] for each in applied for x in pod_of(each).get("containers", [])}
    assert len(images) == 1
    assert re.fullmatch(r"checkout-choreography:\d+\.\d+\.\d+", images.pop())


def pod_of(each: dict[str, Any]) -> dict[str, Any]:
    """The pod of what runs pods; of everything else nothing."""
    pod: dict[str, Any] = each.get("spec", {}).get("template", {}).get("spec", {})
    return pod
