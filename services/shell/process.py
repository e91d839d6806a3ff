"""One service process: consumer, relay, timers and health pages; start, graceful stop."""

import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import structlog
from confluent_kafka import Producer
from sqlalchemy import Engine, create_engine

from outbox.relay import Probe, Relay, no_probe, producer_config
from outbox.wake import Wake
from schemas.choreography import check_map
from schemas.codec import Codec, RegistryUnavailableError
from services.shell import logs
from services.shell.batch import Batch
from services.shell.calls import Calls
from services.shell.draft import Scribe
from services.shell.health import HealthServer
from services.shell.intake import Intake, consumer_config
from services.shell.loop import Loop, Parts
from services.shell.metrics import Metrics
from services.shell.service import Service
from services.shell.settings import Settings

_STUCK_S: Final = 60.0
_LEAVE_S: Final = 4.0
_LOOK_S: Final = 0.2
_REGISTRY_AGAIN_S: Final = 1.0

log = structlog.get_logger("shell.process")


async def _nothing() -> None:
    """A service without provider connections."""


def make_engine(url: str, service: str) -> Engine:
    """The engine of a service: the loop, the relay and its health need a handful of connections."""
    return create_engine(
        url,
        pool_size=3,
        max_overflow=2,
        # a server that was restarted is noticed before work is put on a dead connection
        pool_pre_ping=True,
        connect_args={
            "application_name": service,
            "connect_timeout": 5,
            # a lock or statement that takes this long is a fault to be seen, not to be waited for
            "options": "-c statement_timeout=30000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000",
        },
    )


def run(
    service: Service,
    settings: Settings,
    *,
    release: Callable[[], Awaitable[None]] = _nothing,
    probe: Probe = no_probe,
) -> None:
    """Run `service` until SIGTERM or SIGINT, then stop gracefully.

    release: gives the provider's connections back. probe: see `outbox.relay.Probe`.
    """
    check_map()
    logs.configure(settings.log_level, service.name)
    engine = make_engine(settings.database_url.get_secret_value(), service.name)
    codec = Codec(settings.schema_registry_url, settings.topic_prefix)
    stop = _stop_on_signals()
    if not _warm_up(codec, service, stop):
        return
    process = _Process(service, settings, engine, codec, probe)
    try:
        process.run_until(stop)
    finally:
        process.close(release)
        codec.close()
        engine.dispose()


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _warm_up(codec: Codec, service: Service, stop: threading.Event) -> bool:
    """Wait for the registry to know the schemas that this service writes; False when stopped meanwhile."""
    while not stop.is_set():
        try:
            codec.warm_up(service.says())
        except RegistryUnavailableError as error:
            log.warning("waiting for the schema registry", reason=str(error))
            stop.wait(_REGISTRY_AGAIN_S)
        else:
            return True
    return False


class _Process:
    """The parts of a running service and their order of starting and stopping."""

    def __init__(self, service: Service, settings: Settings, engine: Engine, codec: Codec, probe: Probe) -> None:
        group = settings.topic_prefix + service.name
        scribe = Scribe(codec, service.name, group, settings.topic_prefix)
        self._service = service
        self._stop_timeout_s = settings.stop_timeout_s
        self._wake = Wake()
        self._metrics = Metrics(service.name)
        self._calls = Calls(service.perform, service.unknown, service.calls_at_once) if service.perform else None
        batch = Batch(service, engine, scribe, _now, probe)
        self._loop = Loop(
            service,
            settings,
            Parts(codec, engine, batch, self._wake, self._calls, _now, self._metrics, probe),
            lambda revoked: Intake(
                consumer_config(settings.kafka_bootstrap_servers, group),
                [settings.topic_prefix + topic for topic in service.topics()],
                revoked,
            ),
        )
        self._relay = Relay(
            engine,
            lambda: Producer(producer_config(settings.kafka_bootstrap_servers)),
            self._wake,
            probe=probe,
            on_published=self._metrics.published,
        )
        self._threads = [
            threading.Thread(target=self._guard, args=(part.run,), name=name, daemon=True)
            for name, part in (("loop", self._loop), ("relay", self._relay))
        ]
        self._broken = threading.Event()
        self._health = HealthServer(
            settings.metrics_host, settings.metrics_port, self._alive, self._ready, self._metrics.registry
        )

    def run_until(self, stop: threading.Event) -> None:
        """Start, and return when asked to stop. Raises RuntimeError when a part breaks: better dead than half alive."""
        for thread in self._threads:
            thread.start()
        log.info("started", health_port=self._health.port)
        while not stop.wait(_LOOK_S):
            if self._broken.is_set():
                raise RuntimeError(f"{self._service.name}: a part of the process broke; see the log")

    def close(self, release: Callable[[], Awaitable[None]]) -> None:
        """Stop taking, finish what is held, publish what was committed, leave."""
        loop, relay = self._threads
        self._loop.stop()
        self._await_end_of(loop)
        self._relay.stop()
        _join(relay, _LEAVE_S + _LEAVE_S)
        if loop.is_alive() or relay.is_alive():
            # a client that waits for a broker can't be asked to stop; what it holds is committed, or comes again
            log.warning("leaving without the broker's word")
            os._exit(0)
        if self._calls:
            self._calls.close(release)
        self._health.close()
        self._wake.close()
        log.info("gone")

    def _await_end_of(self, loop: threading.Thread) -> None:
        """Until the loop has left the group; no longer than it may take, nor long after it is done with its work."""
        until = time.monotonic() + self._stop_timeout_s + _LEAVE_S
        while loop.is_alive() and time.monotonic() < min(until, self._loop.done_at + _LEAVE_S):
            loop.join(_LOOK_S)

    def _guard(self, part: Callable[[], None]) -> None:
        try:
            part()
        # whatever it is: logged here, and the process ends with an error
        except Exception:
            log.exception("a part of the process broke")
            self._broken.set()

    def _alive(self) -> dict[str, str]:
        silent_s = time.monotonic() - self._loop.beat_at
        return {"loop": f"no turn for {silent_s:.0f} s"} if silent_s > _STUCK_S else {}

    def _ready(self) -> dict[str, str]:
        faults = self._alive()
        if self._loop.waiting_for:
            faults["waiting_for"] = self._loop.waiting_for
        if not self._loop.assigned:
            faults["consumer"] = "no partitions assigned"
        if not self._relay.connected:
            faults["relay"] = "not connected to the database"
        return faults


def _join(thread: threading.Thread, limit_s: float) -> None:
    if thread.is_alive():
        thread.join(limit_s)


def _now() -> datetime:
    return datetime.now(UTC)
