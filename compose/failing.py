"""What can go wrong in a command becomes one clear line and an exit code, never a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2
import typer
from confluent_kafka import KafkaException
from confluent_kafka.schema_registry import SchemaRegistryError
from sqlalchemy.exc import DBAPIError

from compose.acls.broker import AclsError
from compose.fleet import ServiceEndedError
from compose.publisher import BadLineError, NotDeliveredError
from compose.run import RunError
from compose.show import UnknownCheckoutError
from compose.stack import StackError
from dlq.settings import SettingsError
from schemas.codec import RegistryUnavailableError
from schemas.registry import IncompatibleSchemaError
from schemas.secret import masked
from schemas.terminal import flat
from services.shell.database import words_of
from services.shell.rights import OwnerError

FAILED: Final = 1
INCOMPATIBLE: Final = 2
COULD_NOT: Final = 2
"""Of a command whose 1 is a finding."""
_REASON_CHARS: Final = 2000
_SPEAK_FOR_THEMSELVES: Final = (
    AclsError,
    BadLineError,
    NotDeliveredError,
    OwnerError,
    RegistryUnavailableError,
    RunError,
    SettingsError,
    ServiceEndedError,
    StackError,
    UnknownCheckoutError,
)


@contextmanager
def one_line(command: str) -> Iterator[None]:
    """Run a command's body; known errors end it with one line on stderr."""
    try:
        yield
    except IncompatibleSchemaError as error:
        _end(command, str(error), INCOMPATIBLE)
    except _SPEAK_FOR_THEMSELVES as error:
        _end(command, str(error))
    except DBAPIError as error:
        _end(command, f"database: {words_of(error)}. Is it running, and migrated (`checkout setup`)?")
    except KafkaException as error:
        _end(command, f"Kafka: {error.args[0].str()}. Is KAFKA_BOOTSTRAP_SERVERS right and the broker running?")
    except (httpx2.HTTPError, SchemaRegistryError) as error:
        _end(command, f"schema registry: {_lines(error)}. Is SCHEMA_REGISTRY_URL right and the registry running?")
    except OSError as error:
        where = f"{error.filename}: {error.strerror}" if error.filename else f"{error}. Are the servers running?"
        _end(command, where)


@contextmanager
def or_could_not(command: str) -> Iterator[None]:
    """The same for a command that looks for findings: what it can't do is exit code 2."""
    try:
        with one_line(command):
            yield
    except typer.Exit:
        raise typer.Exit(COULD_NOT) from None


def _lines(error: object) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _end(command: str, reason: str, code: int = FAILED) -> None:
    typer.echo(f"checkout {command}: {flat(masked(reason), limit=_REASON_CHARS)}", err=True)
    raise typer.Exit(code) from None
