"""Apicurio Registry: the schema registry, speaking Confluent's API, with its storage in Postgres."""

from __future__ import annotations

import signal
import ssl
from base64 import b64encode

from compose.stack import certificates, users
from compose.stack.downloads import archive, cached
from compose.stack.java import java
from compose.stack.ports import HOST
from compose.stack.processes import Launch, base_environ
from compose.stack.servers import Site, answers

VERSION = "3.3.3"
API = "/apis/ccompat/v7"
ARCHIVE = ("io.apicurio", "apicurio-registry-app", VERSION, "all")
"""Group, artifact, version and classifier."""

_JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
)


class Registry:
    """The schema registry."""

    name = "registry"
    ports: tuple[str, ...] = ("registry", "registry-management")
    needs: tuple[str, ...] = ("postgres",)
    stop_signal: int = signal.SIGTERM

    def install(self, site: Site) -> None:
        """Download and unpack the archive, unless it is cached."""
        cached(site.cache, f"apicurio-registry-{VERSION}", archive(*ARCHIVE), site.echo)

    def prepare(self, site: Site) -> None:
        """Nothing: it makes its own tables."""

    def launch(self, site: Site) -> Launch:
        """Run it; every setting goes by the environment, which others can't read, unlike the arguments."""
        home = site.cache / f"apicurio-registry-{VERSION}"
        argv = (java(), *_JVM, "-jar", str(home / "quarkus-run.jar"))
        return Launch(argv, base_environ(site.environ) | self._settings(site), cwd=site.data)

    def _settings(self, site: Site) -> dict[str, str]:
        ports = site.state.ports
        return {
            "QUARKUS_HTTP_HOST": HOST,
            **(_secure(site) if site.state.secure else {"QUARKUS_HTTP_PORT": str(ports["registry"])}),
            # its own health and metrics, which would be on port 9000 of every network
            "QUARKUS_MANAGEMENT_HOST": HOST,
            "QUARKUS_MANAGEMENT_PORT": str(ports["registry-management"]),
            "QUARKUS_BANNER_ENABLED": "false",
            "APICURIO_STORAGE_KIND": "sql",
            "APICURIO_STORAGE_SQL_KIND": "postgresql",
            "APICURIO_DATASOURCE_URL": f"jdbc:postgresql://{HOST}:{ports['postgres']}/registry",
            "APICURIO_DATASOURCE_USERNAME": "registry",
            "APICURIO_DATASOURCE_PASSWORD": site.state.passwords["registry"],
        }

    def is_ready(self, site: Site) -> bool:
        """Ready when it lists its subjects, for which it asks its database."""
        port, path = site.state.ports["registry"], f"{API}/subjects"
        if not site.state.secure:
            return answers(port, path)
        trusted = ssl.create_default_context(cafile=certificates.authority(site.data))
        login = ":".join(users.registry_login(site.state, users.READER))
        return answers(port, path, trusted, {"Authorization": f"Basic {b64encode(login.encode()).decode()}"})

    def settle(self, site: Site) -> None:
        """Nothing."""


def _secure(site: Site) -> dict[str, str]:
    """TLS only, and two users: one reads, one registers."""
    # key and certificate stand in one file
    key = str(certificates.of(site.data, "registry"))
    return {
        "QUARKUS_HTTP_INSECURE_REQUESTS": "disabled",
        "QUARKUS_HTTP_SSL_PORT": str(site.state.ports["registry"]),
        "QUARKUS_HTTP_SSL_CERTIFICATE_FILES": key,
        "QUARKUS_HTTP_SSL_CERTIFICATE_KEY_FILES": key,
        "QUARKUS_HTTP_AUTH_BASIC": "true",
        "APICURIO_AUTH_ROLE_BASED_AUTHORIZATION": "true",
        "QUARKUS_SECURITY_USERS_EMBEDDED_PLAIN_TEXT": "true",
        **{
            f"QUARKUS_SECURITY_USERS_EMBEDDED_USERS_{user.upper()}": site.state.passwords[f"registry/{user}"]
            for user in users.REGISTRY
        },
        f"QUARKUS_SECURITY_USERS_EMBEDDED_ROLES_{users.READER.upper()}": "sr-readonly",
        f"QUARKUS_SECURITY_USERS_EMBEDDED_ROLES_{users.WRITER.upper()}": "sr-developer",
    }
