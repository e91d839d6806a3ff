"""What can go wrong in a command becomes one clear line on stderr and an exit code, never a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer
from confluent_kafka import KafkaException

from dlq.filters import BadFilterError
from dlq.settings import SettingsError
from dlq.topics import NoTopicError
from schemas.secret import masked
from schemas.terminal import flat

FAILED: Final = 2
"""The command could not do what it was asked. 1 is left for commands that looked and found something."""

_REASON_CHARS: Final = 2000


class DlqError(Exception):
    """A reason to give up that speaks for itself; the commands' own errors derive from it."""


_SPEAK_FOR_THEMSELVES: Final = (DlqError, BadFilterError, NoTopicError, SettingsError)


@contextmanager
def one_line(command: str) -> Iterator[None]:
    """Run the body of `dlq <command>`; known errors end it with one line on stderr and exit code 2."""
    try:
        yield
    except _SPEAK_FOR_THEMSELVES as error:
        end(command, str(error))
    except KafkaException as error:
        end(command, f"Kafka: {error.args[0].str()}. Is KAFKA_BOOTSTRAP_SERVERS right and the broker running?")
    except BrokenPipeError:
        raise  # whoever read our output has had enough: the entry point's business
    except OSError as error:
        end(command, f"{error.filename}: {error.strerror}" if error.filename else str(error))


def end(command: str, reason: str, code: int = FAILED) -> None:
    """Say why on one line of stderr and exit."""
    typer.echo(f"dlq {command}: {flat(masked(reason), limit=_REASON_CHARS)}", err=True)
    raise typer.Exit(code)
