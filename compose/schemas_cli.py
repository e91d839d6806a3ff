"""`checkout schemas`: register them, refuse incompatible ones, release new versions, write them down for people."""

from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

import schemas
from compose.failing import FAILED, INCOMPATIBLE, one_line
from compose.setting_up import make_topics, register_schemas
from compose.settings import Servers
from schemas.choreography import topics
from schemas.codec import avsc, compact
from schemas.registry import published, unreleased
from schemas.registry_client import registry_client
from services.shell.settings import read_settings

app = typer.Typer(no_args_is_help=True, help="Register the Avro schemas, check that a change is compatible.")

_NOT_FOUND = 404


@app.command("register")
def register_command() -> None:
    """Register every schema and create the topics; exit 2 when a schema is not compatible."""
    servers = read_settings(Servers)
    with one_line("schemas register"):
        ids, created = register_schemas(servers), make_topics(servers)
    typer.echo(f"{len(ids)} schemas registered, {len(created)} topics created")


@app.command()
def check() -> None:
    """Hold the schemas of this tree against those that the registry has; exit 2 when one is not compatible."""
    servers = read_settings(Servers)
    with one_line("schemas check"), registry_client(servers.registry) as client:
        bad = [event for event in topics() if not _compatible(client, f"{servers.topic_prefix}{event}-value", event)]
    for event in bad:
        typer.echo(f"schemas/{event}.avsc can't replace what is registered: a reader of one would not read the other. "
                   "Add fields with a default, remove only fields that have one.", err=True)  # fmt: skip
    if bad:
        raise typer.Exit(INCOMPATIBLE)
    typer.echo(f"{len(topics())} schemas are compatible")


def _compatible(client: SchemaRegistryClient, subject: str, event: str) -> bool:
    try:
        client.get_latest_version(subject)
    except SchemaRegistryError as error:
        if error.http_status_code == _NOT_FOUND:
            return True
        raise
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


@app.command("asyncapi")
def asyncapi_command(
    check_only: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a file is stale.")] = False,
    root: Annotated[Path | None, typer.Option(help="The source tree  [this one].")] = None,
) -> None:
    """Write schemas/asyncapi.yaml and docs/events.html from the map and the schemas."""
    # imported here: it reads every schema and needs PyYAML, and no other command does
    from compose.language import files  # noqa: PLC0415

    where = root or files.ROOT
    with one_line("schemas asyncapi"):
        names = files.stale(where) if check_only else files.write(where)
    for name in names:
        typer.echo(f"{name}: {'stale; write it with `checkout schemas asyncapi`' if check_only else 'written'}")
    if check_only and names:
        raise typer.Exit(FAILED)
    if not names:
        typer.echo("everything is up to date")
