"""The servers that the tests run on: those of the environment, else containers, else the local stack."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compose.stack import Stack, running_stack

NAMED = ("KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_URL", "POSTGRES_ADMIN_URL")


@dataclass(frozen=True)
class TestServers:
    """Addresses of Kafka, the registry and Postgres; `stack` only where the tests may stop and start them."""

    __test__ = False

    kafka: str
    registry: str
    postgres_admin: str
    stack: Stack | None


@contextmanager
def servers(environ: Mapping[str, str], folder: Path) -> Iterator[TestServers]:
    """Start what has to be started, once per run of the tests; nothing is left behind."""
    if all(name in environ for name in NAMED):
        yield _named(environ, None)
    elif docker_answers():
        with _containers() as found:
            yield found
    else:
        with running_stack(folder, environ=environ) as stack:
            yield _named(stack.env(), stack)


def _named(environ: Mapping[str, str], stack: Stack | None) -> TestServers:
    kafka, registry, postgres = (environ[name] for name in NAMED)
    return TestServers(kafka, registry, postgres, stack)


def docker_answers() -> bool:
    """Whether a Docker engine can be reached."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode == 0


@contextmanager
def _containers() -> Iterator[TestServers]:
    from testcontainers.community.kafka import KafkaContainer  # noqa: PLC0415
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import HttpWaitStrategy  # noqa: PLC0415

    registry = DockerContainer("apicurio/apicurio-registry:3.3.3").with_exposed_ports(8080)
    registry.waiting_for(HttpWaitStrategy(8080, "/apis/ccompat/v7/subjects"))
    postgres = PostgresContainer("postgres:18", driver="psycopg2").with_command("-c max_connections=300")
    kafka = KafkaContainer("apache/kafka:4.1.1").with_kraft().with_env("KAFKA_MESSAGE_MAX_BYTES", "10485760")
    with kafka, postgres, registry:
        url = f"http://{registry.get_container_host_ip()}:{registry.get_exposed_port(8080)}/apis/ccompat/v7"
        yield TestServers(kafka.get_bootstrap_server(), url, postgres.get_connection_url(), stack=None)
