"""The environment that services find their servers by."""

from __future__ import annotations

from collections.abc import Mapping

from compose.stack import postgres, registry
from compose.stack.ports import HOST
from compose.stack.state import State
from schemas.secret import FILE

# where each service answers /healthz, /readyz and /metrics; a port each, though no server of ours listens there
SERVICE_PORTS = {f"{service}-metrics": f"{service.upper()}_METRICS_PORT" for service in postgres.SERVICES}

# a server isn't started when the environment names all of these
NAMED_BY: dict[str, tuple[str, ...]] = {
    "kafka": ("KAFKA_BOOTSTRAP_SERVERS",),
    "registry": ("SCHEMA_REGISTRY_URL",),
    "provider": ("PAYMENT_PROVIDER_URL",),
    "postgres": tuple(f"{service.upper()}_DATABASE_URL" for service in postgres.SERVICES),
}

_SERVERS = tuple(name for names in NAMED_BY.values() for name in names)
OWNER_URLS = {service: f"{service.upper()}_OWNER_DATABASE_URL" for service in postgres.SERVICES}
VARIABLES = (*_SERVERS, *OWNER_URLS.values(), "POSTGRES_ADMIN_URL", *SERVICE_PORTS.values())


def is_external(server: str, environ: Mapping[str, str]) -> bool:
    """Whether the environment names a server that takes this one's place.

    Our registry keeps its schemas in our Postgres, which therefore runs as long as the registry is ours, also where
    the services have databases of their own: what is registered has to be there after a restart.
    """
    if server == "postgres" and not is_external("registry", environ):
        return False
    return all(_named(name, environ) for name in NAMED_BY[server])


def _named(variable: str, environ: Mapping[str, str]) -> bool:
    return bool(environ.get(variable) or environ.get(variable + FILE))


def service_environment(state: State, environ: Mapping[str, str]) -> dict[str, str]:
    """What a service has to be told (VARIABLES); what the environment names already stays as it is there.

    POSTGRES_ADMIN_URL, the superuser's, is for tests that make databases; it's there when a Postgres of ours is.
    """
    ours = _kafka(state) | _databases(state, environ) | _registry(state) | _provider(state)
    ours |= {variable: str(state.ports[port]) for port, variable in SERVICE_PORTS.items() if port in state.ports}
    ours = {name: value for name, value in ours.items() if not environ.get(name + FILE)}
    return ours | {name: environ[name] for name in VARIABLES if environ.get(name)}


def _kafka(state: State) -> dict[str, str]:
    port = state.ports.get("kafka")
    return {} if port is None else {"KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{port}"}


def _registry(state: State) -> dict[str, str]:
    port = state.ports.get("registry")
    return {} if port is None else {"SCHEMA_REGISTRY_URL": f"http://{HOST}:{port}{registry.API}"}


def _provider(state: State) -> dict[str, str]:
    port = state.ports.get("provider")
    return {} if port is None else {"PAYMENT_PROVIDER_URL": f"http://{HOST}:{port}"}


def _databases(state: State, environ: Mapping[str, str]) -> dict[str, str]:
    if "postgres" not in state.ports:
        return {}
    urls: dict[str, str] = {}
    for service, owner in postgres.OWNERS.items():
        variable = f"{service.upper()}_DATABASE_URL"
        if not _named(variable, environ):
            # both or neither: another server's database does not belong to a role of ours
            urls |= {variable: _url(state, service, service), OWNER_URLS[service]: _url(state, owner, service)}
    return urls | {"POSTGRES_ADMIN_URL": _url(state, postgres.ADMIN, postgres.ADMIN)}


def _url(state: State, role: str, database: str) -> str:
    return f"postgresql+psycopg2://{role}:{state.passwords[role]}@{HOST}:{state.ports['postgres']}/{database}"
