"""The environment that services find their servers by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from compose.acls.rights import AUDITOR, SETUP
from compose.stack import certificates, kafka, postgres, registry, users
from compose.stack.errors import StackError
from compose.stack.ports import HOST
from compose.stack.state import State
from schemas.choreography import SHOP
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
_ADMIN_URL = "POSTGRES_ADMIN_URL"
_SECURITY = (
    "KAFKA_SECURITY_PROTOCOL",
    "KAFKA_SASL_MECHANISM",
    "KAFKA_SASL_USERNAME",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SSL_CA_LOCATION",
    "SCHEMA_REGISTRY_CA_LOCATION",
)
OWNER_URLS = {service: f"{service.upper()}_OWNER_DATABASE_URL" for service in postgres.SERVICES}
# who runs `checkout`, which wants all servers
_CHECKOUT = (SETUP, SHOP, AUDITOR)
VARIABLES = (*_SERVERS, *OWNER_URLS.values(), _ADMIN_URL, *SERVICE_PORTS.values())


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


def service_environment(
    state: State, data: Path, environ: Mapping[str, str], principal: str = users.DEVELOPER
) -> dict[str, str]:
    """What a process of `principal` has to be told; what the environment names already stays as it is there.

    data: the stack's folder. POSTGRES_ADMIN_URL, the superuser's, is the developer's only: for tests that make
    databases. Raises StackError for a principal that there is not.
    """
    if principal not in users.KAFKA:
        raise StackError(f"{principal!r} has no login here: there are {', '.join(users.KAFKA)}")
    ours = _kafka(state, data, principal) | _databases(state, environ) | _registry(state, data, principal)
    ours |= _provider(state)
    ours |= {variable: str(state.ports[port]) for port, variable in SERVICE_PORTS.items() if port in state.ports}
    ours = {name: value for name, value in ours.items() if not environ.get(name + FILE)}
    found = ours | {name: environ[name] for name in VARIABLES if environ.get(name)}
    return {name: value for name, value in found.items() if name not in _not_for(principal)}


def outside(state: State, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment that a stack goes by: in a secured one every server is ours, whatever is named there."""
    if not state.secure:
        return environ
    return {name: value for name, value in environ.items() if name.removesuffix(FILE) not in (*VARIABLES, *_SECURITY)}


def _not_for(principal: str) -> set[str]:
    """Variables that are none of a principal's business."""
    if principal == users.DEVELOPER:
        return set()
    if principal in _CHECKOUT:
        return {_ADMIN_URL, *(OWNER_URLS.values() if principal != SETUP else ())}
    own = {f"{principal.upper()}_DATABASE_URL", f"{principal.upper()}_METRICS_PORT"}
    own |= set(NAMED_BY["provider"]) if principal == "payment" else set()
    databases = (*NAMED_BY["postgres"], *OWNER_URLS.values(), _ADMIN_URL)
    return {*databases, *NAMED_BY["provider"], *SERVICE_PORTS.values()} - own


def _kafka(state: State, data: Path, principal: str) -> dict[str, str]:
    port = state.ports.get("kafka")
    if port is None:
        return {}
    servers = {"KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{port}"}
    if not state.secure:
        return servers
    return servers | {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": kafka.MECHANISM,
        "KAFKA_SASL_USERNAME": principal,
        "KAFKA_SASL_PASSWORD": users.kafka_password(state, principal),
        "KAFKA_SSL_CA_LOCATION": str(certificates.authority(data)),
    }


def _registry(state: State, data: Path, principal: str) -> dict[str, str]:
    port = state.ports.get("registry")
    if port is None:
        return {}
    if not state.secure:
        return {"SCHEMA_REGISTRY_URL": f"http://{HOST}:{port}{registry.API}"}
    login = ":".join(users.registry_login(state, principal))
    return {
        "SCHEMA_REGISTRY_URL": f"https://{login}@{HOST}:{port}{registry.API}",
        "SCHEMA_REGISTRY_CA_LOCATION": str(certificates.authority(data)),
    }


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
            urls |= {variable: _url(state, service, service)}
            urls |= {OWNER_URLS[service]: _url(state, owner, service)}
    return urls | {_ADMIN_URL: _url(state, postgres.ADMIN, postgres.ADMIN)}


def _url(state: State, role: str, database: str) -> str:
    return f"postgresql+psycopg2://{role}:{state.passwords[role]}@{HOST}:{state.ports['postgres']}/{database}"
