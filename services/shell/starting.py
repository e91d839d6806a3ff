"""What a process does before its parts start."""

import gc
import signal
import threading
from typing import Final

import structlog

from schemas.choreography import subscriptions
from schemas.codec import Codec, RegistryUnavailableError
from services.shell.service import Service

_REGISTRY_AGAIN_S: Final = 1.0
_GARBAGE: Final = 50_000
"""New objects until the collector looks; Python's default, 700, is less than one message of a batch makes."""

log = structlog.get_logger("shell.process")


def look_less_for_garbage() -> None:
    """What is loaded by now stays, and a batch makes many objects without cycles: looking for some is time lost."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)


def stop_on_signals() -> threading.Event:
    """Set when the process is asked to stop."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def warm_up(codec: Codec, service: Service, stop: threading.Event) -> bool:
    """Wait for the registry to know the schemas that this service writes; False when stopped meanwhile.

    Those that it hears are looked up too.
    """
    while not stop.is_set():
        try:
            codec.warm_up(service.says(), subscriptions(service.name))
        except RegistryUnavailableError as error:
            log.warning("waiting for the schema registry", reason=str(error))
            stop.wait(_REGISTRY_AGAIN_S)
        else:
            return True
    return False
