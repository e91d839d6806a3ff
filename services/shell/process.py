"""One service process: consumer, relay, timers and health pages; start, graceful stop."""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import structlog
from confluent_kafka import Consumer, Producer
from sqlalchemy import Engine

from outbox.add import Record
from outbox.beside_connector import BesideConnector
from outbox.relay import Probe, Relay, no_probe, producer_config
from outbox.sweeper import Sweeper
from outbox.wake import Wake
from schemas.cards import masked_bytes
from schemas.choreography import check_map, retry_topic
from schemas.codec import Codec
from schemas.registry_address import Registry
from services.shell import logs
from services.shell.batch import Batch
from services.shell.calls import LOOKUP, Calls
from services.shell.case import Desk
from services.shell.claims import Claims
from services.shell.delivery import Call, Delivery
from services.shell.engine import make_engine
from services.shell.fatal_messages import FatalMessages, InHand
from services.shell.flood import Flood
from services.shell.gate import Gate, Gates
from services.shell.health import HealthServer
from services.shell.held_up import HeldUp, described
from services.shell.intake import Intake, consumer_config
from services.shell.kafka_login import KafkaLogin
from services.shell.lag import Lag
from services.shell.loop import Loop, Parts
from services.shell.metrics import Metrics
from services.shell.open_transactions import OpenTransactions
from services.shell.retry_worker import RetryWorker
from services.shell.scribe import Scribe
from services.shell.service import Service
from services.shell.settings import Settings, policy
from services.shell.standing import Standing
from services.shell.starting import look_less_for_garbage, stop_on_signals, warm_up
from services.shell.tracing import tracing_of

_STUCK_S: Final = 60.0
_LEAVE_S: Final = 4.0
_LOOK_S: Final = 0.2

log = structlog.get_logger("shell.process")


def run(
    service: Service,
    settings: Settings,
    *,
    metrics: Metrics | None = None,
    probe: Probe = no_probe,
    make_codec: Callable[[Registry, str], Codec] = Codec,
) -> None:
    """Run `service` until SIGTERM or SIGINT, then stop gracefully. probe: see `outbox.relay.Probe`.

    make_codec: given the registry and the topics' prefix.
    """
    check_map()
    logs.configure(settings.log_level, service.name)
    engine = make_engine(settings.database_url, service.name)
    codec = make_codec(settings.registry, settings.topic_prefix)
    stop = stop_on_signals()
    if not warm_up(codec, service, stop):
        return
    process = _Process(service, settings, engine, codec, metrics or Metrics(service.name), probe)
    look_less_for_garbage()
    try:
        process.run_until(stop)
    finally:
        process.close()
        codec.close()
        engine.dispose()


class _Process:
    """The parts of a running service and their order of starting and stopping."""

    def __init__(
        self, service: Service, settings: Settings, engine: Engine, codec: Codec, metrics: Metrics, probe: Probe
    ) -> None:
        self._service = service
        self._stop_timeout_s = settings.stop_timeout_s
        self._wake = Wake()
        self._metrics = metrics
        self._gates = self._make_gates(service)
        self._tracing, self._end_tracing = tracing_of(settings, service.name)
        self._calls = self._make_calls(service)
        self._login = KafkaLogin(settings.kafka)
        self._relay = self._make_relay(settings, engine, probe)
        self._open_transactions = self._make_open_transactions(settings)
        self._loop = self._make_loop(settings, engine, codec, probe)
        self._measure(settings, engine)
        self._threads = [
            threading.Thread(target=self._guard, args=(part.run,), name=name, daemon=True)
            for name, part in (("loop", self._loop), ("relay", self._relay))
        ]
        self._broken = threading.Event()
        self._health = HealthServer(
            settings.metrics_host, settings.metrics_port, self._alive, self._ready, self._detail, self._metrics.registry
        )

    def _make_relay(self, settings: Settings, engine: Engine, probe: Probe) -> Relay | BesideConnector:
        make_producer = self._login.maker("relay", Producer)
        relay = Relay(
            engine,
            lambda: make_producer(producer_config(settings.kafka)),
            self._wake,
            probe=probe,
            on_published=self._metrics.published,
            on_sent=self._tracing.sent if self._tracing else None,
            letters_only=bool(settings.outbox_slot),
        )
        if not settings.outbox_slot:
            return relay
        return BesideConnector(Sweeper(engine, settings.outbox_slot, on_published=self._metrics.swept), relay)

    def _measure(self, settings: Settings, engine: Engine) -> None:
        """What is read when the metrics are asked for."""
        name, prefix = self._service.name, settings.topic_prefix
        self._metrics.registry.register(Standing(name, engine, lambda: self._relay.settled))
        make = self._login.maker("lag", Consumer)
        self._metrics.registry.register(Lag(name, settings.kafka, prefix + name, prefix, self._loop.partitions, make))
        self._metrics.watch(
            "checkout_partitions_stopped",
            "Partitions stopped because most of their messages fail: page somebody",
            lambda: len(self._loop.stalled()),
        )
        self._metrics.watch(
            "checkout_outbox_blocked_keys",
            "Keys whose next row of the outbox can't be published; `checkout outbox blocked` shows them",
            lambda: len(self._relay.blocked),
        )

    def _make_loop(self, settings: Settings, engine: Engine, codec: Codec, probe: Probe) -> Loop:
        service, prefix, me = self._service, settings.topic_prefix, uuid4()
        group = prefix + service.name
        flood = Flood(settings.flood_at_least, settings.flood_window)
        baggage = frozenset(name.strip() for name in settings.baggage_names.split(",") if name.strip())
        scribe = Scribe(codec, service.name, group, prefix, baggage)
        folder = Path(settings.reading_folder or Path(tempfile.gettempdir()) / "checkout-reading")
        in_hand = self._in_hand = InHand.create(folder, group)
        fatal = FatalMessages(engine, folder, group)
        mask = _as_it_is if settings.keep_card_numbers else masked_bytes
        desk = Desk(
            service, scribe, policy(settings), self._gates, flood, me, self._tracing, mark=in_hand.mark, mask=mask
        )
        batch = Batch(engine, desk, _now, probe)
        claims = Claims(engine, me, settings.retry_lease_s)
        worker = RetryWorker(claims, self._gates, codec, prefix, settings.retry_poll_s, _now)
        parts = Parts(
            codec, engine, batch, self._committed, self._calls, worker, flood, _now, self._metrics, fatal, in_hand.mark,
            self._open_transactions, probe,
        )  # fmt: skip
        heard = [prefix + topic for topic in (*service.topics(), retry_topic(service.name))]
        config, make = consumer_config(settings.kafka, group), self._login.maker("consumer", Consumer)
        unpack = settings.unpack_outbox_headers

        def make_intake(revoked: Callable[[set[tuple[str, int]]], None]) -> Intake:
            return Intake(
                config, heard, revoked, fatal.expire, unpack=unpack, mark=in_hand.mark, fatal=fatal, make=make
            )

        return Loop(service, settings, parts, make_intake)

    def _committed(self, records: Sequence[Record]) -> None:
        """Published straight from memory; what is lost on the way is in the table."""
        self._relay.offer(records)
        self._wake.set()

    def _make_open_transactions(self, settings: Settings) -> OpenTransactions | None:
        if not settings.open_transaction_after_s:
            return None
        after_s, unpack = settings.open_transaction_after_s, settings.unpack_outbox_headers
        made = OpenTransactions(settings.kafka, after_s=after_s, unpack=unpack)
        self._metrics.registry.register(HeldUp(self._service.name, settings.topic_prefix, made.held))
        return made

    def _make_gates(self, service: Service) -> Gates:
        """One per provider operation, and one for look-ups."""
        breaking = service.breaking
        names = (*service.operations, LOOKUP) if service.provider else ()
        limit, tell = service.calls_at_once, self._metrics.breaker
        gates = [Gate(name, breaking.failures, breaking.open_s, limit, tell) for name in names]
        for gate in gates:
            self._metrics.breaker(gate.operation, gate.state)
        return Gates(gates)

    def _make_calls(self, service: Service) -> Calls | None:
        if service.provider is None:
            return None
        return Calls(service.provider, service.unknown, self._gates, service.calls_at_once, self._called)

    def _called(self, delivery: Delivery, call: Call, began_ns: int) -> None:
        self._metrics.called(delivery, call, began_ns)
        if self._tracing:
            self._tracing.called(delivery, call, began_ns)

    def run_until(self, stop: threading.Event) -> None:
        """Start, and return when asked to stop. Raises RuntimeError when a part breaks: better dead than half alive."""
        for thread in self._threads:
            thread.start()
        log.info("started", health_port=self._health.port)
        while not stop.wait(_LOOK_S):
            self._login.renew()
            if self._broken.is_set():
                raise RuntimeError(f"{self._service.name}: a part of the process broke; see the log")

    def close(self) -> None:
        """Stop taking, finish what is held, publish what was committed, leave."""
        loop, relay = self._threads
        self._loop.stop()
        self._await_end_of(loop)
        self._relay.stop()
        _join(relay, _LEAVE_S + _LEAVE_S)
        if loop.is_alive() or relay.is_alive():
            # a client that waits for a broker can't be asked to stop; what it holds is committed, or comes again
            log.warning("leaving without the broker's word")
            self._in_hand.mark(None)
            os._exit(0)
        self._in_hand.close()
        if self._calls:
            self._calls.close()
        if self._open_transactions:
            self._open_transactions.close()
        self._health.close()
        self._wake.close()
        self._end_tracing()
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
        if not self._loop.partitions():
            faults["consumer"] = "no partitions assigned"
        if self._relay.missing:
            faults["relay"] = self._relay.missing
        return faults

    def _detail(self) -> dict[str, object]:
        """What does not keep the process from working, and should be seen: for /readyz."""
        held = described(self._open_transactions.held()) if self._open_transactions else []
        return {
            "breakers": self._gates.states(),
            "partitions_stopped": self._loop.stalled(),
            "open_transactions": held,
        }


def _join(thread: threading.Thread, limit_s: float) -> None:
    if thread.is_alive():
        thread.join(limit_s)


def _as_it_is(content: bytes) -> bytes:
    return content


def _now() -> datetime:
    return datetime.now(UTC)
