"""`checkout schemas`: register them, refuse incompatible ones, release new versions."""

from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

import schemas
from compose.settings import Servers
from schemas.choreography import topics
from schemas.codec import avsc, compact
from schemas.registry import IncompatibleSchemaError, create_topics, published, register, unreleased
from services.shell.settings import read_settings

app = typer.Typer(no_args_is_help=True, help="Register the Avro schemas, check that a change is compatible.")

INCOMPATIBLE = 2


@app.command("register")
def register_command() -> None:
    """Register every schema and create the topics; exit 2 when a schema is not compatible."""
    servers = read_settings(Servers)
    try:
        with SchemaRegistryClient({"url": servers.schema_registry_url}) as client:
            ids = register(client, servers.topic_prefix)
    except IncompatibleSchemaError as error:
        typer.echo(f"checkout schemas: {error}", err=True)
        raise typer.Exit(INCOMPATIBLE) from None
    created = create_topics(
        servers.kafka_bootstrap_servers,
        servers.topic_prefix,
        partitions=servers.topic_partitions,
        replication=servers.topic_replication,
    )
    typer.echo(f"{len(ids)} schemas registered, {len(created)} topics created")


@app.command()
def check() -> None:
    """Hold the schemas of this tree against those that the registry has; exit 2 when one is not compatible."""
    servers = read_settings(Servers)
    with SchemaRegistryClient({"url": servers.schema_registry_url}) as client:
        known = set(client.get_subjects())
        bad = [e for e in topics() if not _compatible(client, f"{servers.topic_prefix}{e}-value", e, known)]
    for event in bad:
        typer.echo(f"schemas/{event}.avsc can't replace what is registered: a reader of one would not read the other. "
                   "Add fields with a default, remove only fields that have one.", err=True)  # fmt: skip
    if bad:
        raise typer.Exit(INCOMPATIBLE)
    typer.echo(f"{len(topics())} schemas are compatible")


def _compatible(client: SchemaRegistryClient, subject: str, event: str, known: set[str]) -> bool:
    if subject not in known:
        return True
    return bool(client.test_compatibility_all_versions(subject, Schema(compact(avsc(event)), "AVRO")))


@app.command()
def release(
    folder: Annotated[Path | None, typer.Option(help="Where the versions are kept  [schemas/published].")] = None,
) -> None:
    """Keep the changed schemas as the next published versions; do it in the commit that changes them."""
    target = folder or Path(next(iter(schemas.__path__))) / "published"
    for event in unreleased():
        path = target / f"{event}.{len(published(event)) + 1}.avsc"
        path.write_text(avsc(event), encoding="utf-8")
        typer.echo(f"{path.name}: released")
