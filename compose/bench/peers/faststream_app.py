"""The checkout on FastStream: one process for each service, named by SERVICE.

A subscriber for each topic, message by message, one transaction each, then the next event is published. No outbox: its
documentation of Kafka has none, and this is to its advantage in speed. By its default policy (ACK_FIRST) offsets are
committed in the background, whatever became of the message: a process that ends between commit and publish, or an
error, loses the event.

Documented settings used: the aiokafka broker (it took less CPU here than the Confluent one, which hands every poll to
a thread); `max_workers` on the subscribers, as order within a topic doesn't matter here (each checkout has one message
there); ACK_FIRST, as the other policies commit after each message; `no_confirm`: a publish returns once the message is
in the producer's buffer; `apply_types=False`, which leaves pydantic's validation out; no log line for each message;
uvloop, which its own command takes where it is installed, and orjson likewise. The driver is asyncpg, as a handler must
not block.
"""

import os
from typing import Any

import asyncpg
import uvloop
from faststream import FastStream
from faststream.kafka import KafkaBroker

from compose.bench.peers.database import Place, connect, handle
from compose.bench.peers.steps import EVENTS, HEARD_BY

# messages of each topic in work
MAX_WORKERS = 8


def build(place: Place) -> FastStream:
    """The app of one service."""
    broker = KafkaBroker(place.bootstrap_servers, acks="all", apply_types=False, logger=None)
    app = FastStream(broker, logger=None)
    database: list[asyncpg.Pool] = []

    @app.on_startup
    async def open_database() -> None:
        database.append(await connect(place, MAX_WORKERS * len(HEARD_BY[place.service])))

    for event in HEARD_BY[place.service]:
        _subscribe(broker, place, event, database)
    return app


def _subscribe(broker: KafkaBroker, place: Place, event: str, database: list[asyncpg.Pool]) -> None:
    publishers = {name: broker.publisher(f"{place.prefix}{name}") for name in EVENTS}

    @broker.subscriber(
        f"{place.prefix}{event}",
        group_id=f"{place.prefix}{place.service}.{event}",
        auto_offset_reset="earliest",
        max_workers=MAX_WORKERS,
    )
    async def on_event(heard: dict[str, Any]) -> None:
        said = await handle(database[0], place.service, event, heard)
        if said is not None:
            name, value = said
            await publishers[name].publish(value, key=value["checkout_id"].encode(), no_confirm=True)


if __name__ == "__main__":
    uvloop.run(build(Place.of(os.environ["SERVICE"], os.environ)).run())
