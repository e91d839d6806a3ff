"""Processes that write rows or run our relay while it is measured. Each says when it is ready, and awaits its turn."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

from confluent_kafka import Producer
from sqlalchemy import Engine, create_engine

import outbox
from compose.bench.relay_places import BATCH, Place, rows
from outbox.relay import producer_config

_READY_S: Final = 60.0
_STOP_S: Final = 30.0
_SETTLE_S: Final = 0.5
_TOGETHER: Final = 5
"""Events of one transaction at a steady load, as in small batches of a service."""

Child = Callable[..., None]


class Held:
    """A process that waits for its turn."""

    def __init__(self, pid: int, pipe: "Connection[Any, Any]") -> None:
        self.pid = pid
        self._pipe = pipe

    def go(self) -> None:
        """Its turn."""
        self._pipe.send(None)

    def answer(self, limit_s: float) -> Any:
        """What it says when it is done. Raises TimeoutError, and EOFError when it is gone."""
        if not self._pipe.poll(limit_s):
            raise TimeoutError(f"process {self.pid} gave no answer within {limit_s:.0f} s")
        return self._pipe.recv()


@contextmanager
def process(child: Child, *arguments: Any) -> Iterator[Held]:
    """Runs `child(pipe, *arguments)` in a new interpreter; ready when the block begins, ended with it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    run = context.Process(target=child, args=(theirs, *arguments), daemon=True)
    run.start()
    # or its end would not be heard
    theirs.close()
    held = Held(run.pid or 0, ours)
    try:
        held.answer(_READY_S)
        yield held
        held.go()
        run.join(_STOP_S)
    finally:
        run.kill()
        run.join()


@contextmanager
def _relay(place: Place, engine: Engine) -> Iterator[tuple[outbox.Relay, outbox.Wake]]:
    wake = outbox.Wake()
    relay = outbox.Relay(engine, lambda: Producer(producer_config(place.kafka)), wake)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        while not relay.connected:
            time.sleep(_SETTLE_S / 100)
        # it takes its shards now
        time.sleep(_SETTLE_S)
        yield relay, wake
    finally:
        relay.stop()
        thread.join()


def relay_alone(pipe: "Connection[Any, Any]", place: Place) -> None:
    """A relay that knows nothing but the table."""
    engine = create_engine(place.url)
    pipe.send(None)
    pipe.recv()
    with _relay(place, engine):
        pipe.recv()


def relay_of_a_service(pipe: "Connection[Any, Any]", place: Place, count: int) -> None:
    """Commits `count` rows at its turn, and offers them, as a service does."""
    engine, records = create_engine(place.url), rows(place.topics, count)
    with _relay(place, engine) as (relay, wake):
        with engine.begin() as db:
            for start in range(0, count, BATCH):
                outbox.add(db, *records[start : start + BATCH])
            # in a service they would come one batch at a time, and not be looked through by every collection
            gc.freeze()
            pipe.send(None)
            pipe.recv()
        relay.offer(records)
        wake.set()
        pipe.recv()


def steady_writer(pipe: "Connection[Any, Any]", place: Place, rate: int, seconds: float, relays: bool) -> None:
    """Commits `rate` events a second and answers with each key's time; with a relay beside it where it `relays`."""
    engine, records = create_engine(place.url), rows(place.topics, int(rate * seconds))
    if not relays:
        _write_steadily(pipe, engine, records, rate, lambda _records: None)
        return
    with _relay(place, engine) as (relay, wake):

        def tell(committed: list[outbox.Record]) -> None:
            relay.offer(committed)
            wake.set()

        _write_steadily(pipe, engine, records, rate, tell)


def _write_steadily(
    pipe: "Connection[Any, Any]",
    engine: Engine,
    records: list[outbox.Record],
    rate: int,
    tell: Callable[[list[outbox.Record]], None],
) -> None:
    pipe.send(None)
    pipe.recv()
    committed_ns: dict[bytes, int] = {}
    began = time.monotonic()
    for start in range(0, len(records), _TOGETHER):
        part = records[start : start + _TOGETHER]
        time.sleep(max(0.0, began + start / rate - time.monotonic()))
        with engine.begin() as db:
            outbox.add(db, *part)
        now = time.time_ns()
        tell(part)
        committed_ns |= dict.fromkeys((record.key.encode() for record in part), now)
    pipe.send(committed_ns)
    pipe.recv()
