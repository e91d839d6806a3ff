"""compose/compose.yaml keeps its promises: loopback only, pinned images, no secrets, no root, settings that exist."""

import importlib.util
import json
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml
from pydantic_settings import BaseSettings

from compose.cli import app
from compose.make_env import PASSWORDS, make_env
from compose.sandbox.__main__ import _settings as read_sandbox_flags
from compose.settings import Servers
from compose.stack import kafka, postgres
from dlq.cli import app as dlq_app
from services.checkout.service import CheckoutSettings
from services.payment.service import PaymentSettings
from services.shell.settings import Settings
from services.warehouse.service import WarehouseSettings
from tests.compose.composition import (
    COMPOSE,
    FILE,
    OURS,
    PROFILES,
    SEALED,
    SERVICES,
    TEXT,
    VARIABLE,
    environment,
    listens,
    ports,
    resolve,
    started,
    strings,
)

SETTINGS: dict[str, type[BaseSettings]] = {
    "setup": Servers,
    "checkout": CheckoutSettings,
    "payment": PaymentSettings,
    "warehouse": WarehouseSettings,
}
GIVEN = dict.fromkeys(PASSWORDS, "0123abcd")
OURS_IMAGE = "checkout-choreography:local"
RUNS_OUR_IMAGE = [name for name, service in SERVICES.items() if service["image"].startswith("checkout-")]


def docker_compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Docker's own client; skip where it isn't there. No engine is needed."""
    if shutil.which("docker") is None:
        pytest.skip("no docker client here")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=60).returncode != 0:
        pytest.skip("the docker client here has no compose")
    return subprocess.run(
        ["docker", "compose", "-f", str(FILE), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("profiles", [(), ("watch",), ("traces",), ("watch", "traces")], ids="+".join)
def test_docker_compose_accepts_the_file_and_publishes_on_loopback(tmp_path: Path, profiles: tuple[str, ...]) -> None:
    make_env(tmp_path / "env")
    chosen = [argument for name in profiles for argument in ("--profile", name)]
    done = docker_compose("--env-file", str(tmp_path / "env"), *chosen, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert services.keys() == started(*profiles)
    assert {port["host_ip"] for service in services.values() for port in service.get("ports", [])} == {"127.0.0.1"}


def test_docker_compose_names_the_password_that_is_missing(tmp_path: Path) -> None:
    make_env(tmp_path / "env")
    lines = (tmp_path / "env").read_text().splitlines()
    (tmp_path / "env").write_text("\n".join(line for line in lines if "WAREHOUSE" not in line))
    done = docker_compose("--env-file", str(tmp_path / "env"), "config")
    assert done.returncode != 0
    assert "WAREHOUSE_DB_PASSWORD" in done.stderr
    assert "make up" in done.stderr


@pytest.mark.parametrize(("service", "port"), ports())
def test_a_port_is_published_on_loopback_only(service: str, port: str) -> None:
    assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+", port), f"{service} publishes {port}"


def test_no_two_services_want_the_same_port() -> None:
    published = [resolve(port, {}).split(":")[1] for _, port in ports()]
    assert len(published) == len(set(published))


def test_no_container_shares_a_namespace_or_the_engine_with_this_machine() -> None:
    for name, service in SERVICES.items():
        assert not service.keys() & {"privileged", "network_mode", "pid", "ipc", "userns_mode", "devices", "cap_add"}, (
            name
        )
    assert "docker.sock" not in TEXT


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_pinned(service: str) -> None:
    """By a version for people and a digest for the engine; ours is built here, and Kafka's digest isn't known yet."""
    name, _, digest = SERVICES[service]["image"].partition("@")
    assert re.fullmatch(r"local|v?\d[\w.-]*", name.rpartition(":")[2]), name
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest) or name in (OURS_IMAGE, f"apache/kafka:{kafka.VERSION}"), name


def test_a_password_is_always_a_variable_without_a_default() -> None:
    secret = re.compile(r"\$\{[A-Z_]+_PASSWORD:\?[^}]+\}")
    for service in SERVICES:
        for name, value in environment(service).items():
            if "PASSWORD" in name:
                assert secret.fullmatch(value), f"{service}: {name}"
            elif login := re.search(r"://[^:/]+:(.*)@", value):
                assert secret.fullmatch(login[1]), f"{service}: {name}"


def test_every_password_of_the_file_is_made_by_make_env() -> None:
    required = {found["name"] for found in VARIABLE.finditer(TEXT) if found["how"] == ":?"}
    assert required == set(PASSWORDS)


def test_the_example_names_every_variable_with_its_default() -> None:
    example = FILE.with_name(".env.example").read_text(encoding="utf-8")
    lines = {line.removeprefix("#") for line in example.splitlines() if "=" in line}
    wanted = {f"{found['name']}={found['text'] if found['how'] == ':-' else ''}" for found in VARIABLE.finditer(TEXT)}
    assert lines == wanted


def test_git_ignores_the_passwords() -> None:
    done = subprocess.run(
        ["git", "check-ignore", "compose/.env"], cwd=FILE.parents[1], capture_output=True, text=True, check=False
    )
    if "not a git repository" in done.stderr:
        pytest.skip("not a git clone")
    assert done.returncode == 0, "compose/.env is not in .gitignore"


def test_ours_are_those_that_run_our_image() -> None:
    assert set(RUNS_OUR_IMAGE) == set(OURS)
    assert [name for name, service in SERVICES.items() if "build" in service] == ["setup"]


@pytest.mark.parametrize("service", RUNS_OUR_IMAGE)
def test_a_container_of_ours_has_no_root_no_capabilities_and_nothing_to_write_to(service: str) -> None:
    settings = SERVICES[service]
    assert int(settings["user"].split(":")[0]) >= 1000
    assert settings["read_only"] is True
    assert settings["tmpfs"] == ["/tmp"]
    assert settings["cap_drop"] == ["ALL"]
    assert settings["init"] is True


@pytest.mark.parametrize("service", SEALED)
def test_a_container_that_watches_writes_to_its_volume_only(service: str) -> None:
    settings = SERVICES[service]
    assert settings["read_only"] is True
    assert settings["tmpfs"] == ["/tmp"]
    assert settings["cap_drop"] == ["ALL"]
    bound = [volume for volume in settings.get("volumes", []) if volume.startswith("./")]
    assert all(volume.endswith(":ro") for volume in bound), bound


def test_nothing_that_is_bound_can_be_written_to() -> None:
    bound = [volume for service in SERVICES.values() for volume in service.get("volumes", []) if volume[0] in "./~"]
    assert all(volume.endswith(":ro") for volume in bound), bound


def test_profiles_add_to_what_is_always_started() -> None:
    found: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for profile in service.get("profiles", []):
            found.setdefault(profile, set()).add(name)
    assert found == PROFILES
    for name, service in SERVICES.items():
        profiles = service.get("profiles", [])
        assert service.get("depends_on", {}).keys() <= started(*profiles), f"{name} waits for what isn't started"


def test_traces_are_sent_only_where_somebody_says_so() -> None:
    for service in ("setup", "checkout", "payment", "warehouse"):
        endpoint = environment(service)["OTEL_EXPORTER_OTLP_ENDPOINT"]
        assert resolve(endpoint, {}) == ""
        assert resolve(endpoint, {"TRACES_ENDPOINT": "http://jaeger:4318"}) == "http://jaeger:4318"
    assert listens("jaeger", 4318)


def test_prometheus_scrapes_containers_where_they_listen() -> None:
    config = yaml.safe_load((FILE.parent / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job["static_configs"] for job in config["scrape_configs"]}
    assert jobs.keys() == {"checkout-services", "checkout-dlq", "checkout-observer"}
    managers = [target for each in config["alerting"]["alertmanagers"] for target in each["static_configs"]]
    for target in (name for group in [*jobs.values(), managers] for each in group for name in each["targets"]):
        host, port = target.split(":")
        assert listens(host, int(port)), target
        assert SERVICES[host].get("profiles", ["watch"]) == ["watch"]


def test_grafana_asks_containers_and_finds_its_dashboards() -> None:
    folder = FILE.parent / "grafana"
    for source in _provisioned(folder / "provisioning" / "datasources", "datasources"):
        url = urlsplit(source["url"])
        assert listens(str(url.hostname), int(url.port or 0)), source["url"]
    mounted = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"] if "/dashboards:" in volume]
    places = _provisioned(folder / "provisioning" / "dashboards", "providers")
    assert [place["options"]["path"] for place in places] == mounted
    assert list((folder / "dashboards").glob("*.json"))


def _provisioned(folder: Path, key: str) -> list[dict[str, Any]]:
    """What Grafana's provisioning files list under `key`."""
    files = sorted(folder.glob("*.y*ml"))
    return [entry for file in files for entry in yaml.safe_load(file.read_text(encoding="utf-8"))[key]]


def test_grafana_has_no_administrator_and_strangers_only_look() -> None:
    env = environment("grafana")
    assert env["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert env["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert env["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_has_a_limit_of_memory_above_its_heap(service: str) -> None:
    sizes = {"m": 1, "g": 1024}
    limit = SERVICES[service]["mem_limit"]
    heaps = [
        int(found[1]) * sizes[found[2]]
        for value in environment(service).values()
        if (found := re.search(r"-Xmx(\d+)([mg])", value))
    ]
    assert all(heap < int(limit[:-1]) * sizes[limit[-1]] for heap in heaps)


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_is_bounded_and_comes_back(service: str) -> None:
    settings = SERVICES[service]
    assert "no-new-privileges:true" in settings["security_opt"]
    assert settings["logging"]["options"].keys() == {"max-size", "max-file"}
    assert settings["restart"] == ("no" if service == "setup" else "unless-stopped")
    assert ("healthcheck" in settings) == (service != "setup")


@pytest.mark.parametrize("service", ["checkout", "payment", "warehouse"])
def test_a_service_has_time_to_stop(service: str) -> None:
    given = int(SERVICES[service]["stop_grace_period"].removesuffix("s"))
    assert given > Settings.model_fields["stop_timeout_s"].default


def _names(kind: type[BaseSettings]) -> dict[str, bool]:
    """Environment variable -> whether it has to be there."""
    fields = kind.model_fields.items()
    return {str(field.validation_alias or name).upper(): field.is_required() for name, field in fields}


@pytest.mark.parametrize("service", SETTINGS)
def test_every_variable_of_a_service_is_one_of_its_settings(service: str) -> None:
    names = _names(SETTINGS[service])
    assert environment(service).keys() <= names.keys()
    assert {name for name, required in names.items() if required} <= environment(service).keys()


@pytest.mark.parametrize("service", SETTINGS)
def test_a_services_settings_take_the_values(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _names(SETTINGS[service]):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(service).items():
        monkeypatch.setenv(name, resolve(value, GIVEN))
    SETTINGS[service]()


@pytest.mark.parametrize("service", ["checkout", "payment", "warehouse"])
def test_a_services_pages_can_be_reached_where_they_are_asked_for(service: str) -> None:
    port = environment(service)[f"{service.upper()}_METRICS_PORT"]
    assert environment(service)["METRICS_HOST"] == "0.0.0.0"
    assert SERVICES[service]["ports"][0].endswith(f":{port}")
    assert f"http://127.0.0.1:{port}/readyz" in " ".join(SERVICES[service]["healthcheck"]["test"])


@pytest.mark.parametrize("service", ["checkout", "payment", "warehouse"])
def test_a_service_knows_its_own_database_only(service: str) -> None:
    urls = {name: value for name, value in environment(service).items() if "DATABASE_URL" in name}
    assert urls.keys() == {f"{service.upper()}_DATABASE_URL"}
    found = urlsplit(resolve(urls[f"{service.upper()}_DATABASE_URL"], GIVEN))
    assert (found.username, found.path) == (service, f"/{service}")


def _addresses() -> list[tuple[str, str, int]]:
    """(service, host, port) of every address in an environment that is another container's."""
    found = []
    for service in SERVICES:
        for name, value in environment(service).items():
            if not name.startswith(("KAFKA_ADVERTISED", "KAFKA_LISTENERS", "KAFKA_CONTROLLER")):
                found += [
                    (service, host, int(port)) for host, port in re.findall(r"\b([a-z][\w-]*):(\d{2,5})\b", value)
                ]
    return found


def test_an_address_is_a_service_of_the_file_and_a_port_that_it_has() -> None:
    listens = {"kafka": {29092}, "postgres": {5432}, "registry": {8080}, "provider": {8090}}
    addresses = _addresses()
    assert {host for _, host, _ in addresses} == listens.keys()
    for service, host, port in addresses:
        assert port in listens[host], f"{service} asks {host}:{port}"


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_waits_for_exists_and_can_come_true(service: str) -> None:
    for name, how in SERVICES[service].get("depends_on", {}).items():
        assert name in SERVICES
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[name]
        else:
            assert (how["condition"], SERVICES[name]["restart"]) == ("service_completed_successfully", "no")


@pytest.mark.parametrize("service", ["checkout", "payment", "warehouse", "observer", "dlq-exporter"])
def test_a_service_starts_after_the_setup(service: str) -> None:
    assert SERVICES[service]["depends_on"]["setup"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("service", OURS)
def test_a_command_exists(service: str) -> None:
    command: list[str] = SERVICES[service]["command"]
    if command[0] == "python":
        assert command[1] == "-m"
        assert importlib.util.find_spec(f"{command[2]}.__main__") is not None
    else:
        assert command[1] in _subcommands({"checkout": app, "dlq": dlq_app}[command[0]])


def _subcommands(of: typer.Typer) -> dict[str, Any]:
    # typer's group has its subcommands by name; it shares no public type with click any more
    commands: dict[str, Any] = getattr(typer.main.get_command(of), "commands")  # noqa: B009
    return commands


def test_the_providers_flags_are_its_own_and_its_ledger_is_on_its_volume() -> None:
    flags = read_sandbox_flags(SERVICES["provider"]["command"][3:])
    folders = [volume.split(":")[1] for volume in SERVICES["provider"]["volumes"]]
    assert [str(flags.ledger.parent)] == folders
    assert SERVICES["provider"]["ports"][0].endswith(f":{flags.port}")


def test_volumes_are_those_that_services_mount() -> None:
    mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert {name for name in mounted if not name.startswith("./")} == COMPOSE["volumes"].keys()
    assert all((FILE.parent / name).exists() for name in mounted if name.startswith("./"))


def test_kafka_ui_decodes_values_by_the_registry_and_shows_keys_as_text() -> None:
    env = environment("kafka-ui")
    assert env["KAFKA_CLUSTERS_0_SCHEMAREGISTRY"] == environment("checkout")["SCHEMA_REGISTRY_URL"]
    assert env["KAFKA_CLUSTERS_0_SERDE_0_NAME"] == "SchemaRegistry"
    assert env["KAFKA_CLUSTERS_0_SERDE_0_TOPICVALUESPATTERN"] == ".*"
    assert env["KAFKA_CLUSTERS_0_DEFAULTVALUESERDE"] == "SchemaRegistry"
    assert env["KAFKA_CLUSTERS_0_DEFAULTKEYSERDE"] == "String"


OF_ONE_PLACE = {
    "process.roles",
    "node.id",
    "controller.quorum.voters",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "controller.listener.names",
    "log.dirs",
}
"""Broker settings that are an address or a folder of the place where the broker runs."""


def test_the_broker_is_set_as_without_docker() -> None:
    lines = [line for line in kafka._PROPERTIES.splitlines() if line and not line.startswith(("#", "{"))]
    wanted = dict(line.split("=", 1) for line in lines)
    env = environment("kafka")
    for name in wanted.keys() - OF_ONE_PLACE:
        assert env.get(f"KAFKA_{name.upper().replace('.', '_')}") == wanted[name], name
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka.VERSION}"


def test_the_database_server_is_set_as_without_docker() -> None:
    options = [value for flag, value in pairwise(SERVICES["postgres"]["command"]) if flag == "-c"]
    of_one_place = {"listen_addresses", "unix_socket_directories", "log_line_prefix"}
    assert options == [f"{name}={value}" for name, value in postgres._SETTINGS.items() if name not in of_one_place]


def test_nothing_is_downloaded_from_a_place_of_our_choice() -> None:
    hosts = {urlsplit(url).hostname for text in strings(COMPOSE) for url in re.findall(r"https?://[^\s\"']+", text)}
    assert hosts <= SERVICES.keys() | {"127.0.0.1"}
