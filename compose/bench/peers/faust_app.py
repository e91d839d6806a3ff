"""The checkout on Faust (faust-streaming): one worker for each service, named by SERVICE.

An agent for each topic, as its user guide has it: message by message, one transaction each, then the next event is
sent. No outbox: its documentation tells of none, and this is to Faust's advantage in speed. A worker that ends between
commit and send loses the event, and as Faust acknowledges what an agent failed at, an error loses it too.

Documented settings used: `concurrency` on the agents, as order within a topic doesn't matter here (each checkout has
one message there); `--loop uvloop`; the Cython extension of the wheel (its default); orjson, which its JSON codec takes
where it is installed; no web server; no leader and no topics of its own, as nothing here needs them. `topic.send`
returns once the message is in the producer's buffer. The driver is asyncpg, as an agent must not block.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import cache

import asyncpg
import faust

from compose.bench.peers.database import Place, connect, handle
from compose.bench.peers.steps import EVENTS, HEARD_BY, Json

# actors for each topic
CONCURRENCY = 8

Database = Callable[[], Awaitable[asyncpg.Pool]]


def build(place: Place) -> faust.App:
    """The app of one service."""
    app = faust.App(
        f"{place.prefix}{place.service}",
        broker=f"kafka://{place.bootstrap_servers}",
        autodiscover=False,
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    topics = {
        event: app.topic(f"{place.prefix}{event}", key_type=bytes, value_serializer="json", key_serializer="raw")
        for event in EVENTS
    }
    hears = HEARD_BY[place.service]

    @cache
    def database() -> Awaitable[asyncpg.Pool]:
        return asyncio.ensure_future(connect(place, CONCURRENCY * len(hears)))

    for event in hears:
        app.agent(topics[event], name=event, concurrency=CONCURRENCY)(_agent(place.service, event, topics, database))
    return app


def _agent(
    service: str, event: str, topics: Mapping[str, faust.Topic], database: Database
) -> Callable[[faust.Stream[Json]], Awaitable[None]]:
    async def agent(stream: faust.Stream[Json]) -> None:
        pool = await database()
        async for heard in stream:
            said = await handle(pool, service, event, heard)
            if said is not None:
                name, value = said
                await topics[name].send(key=value["checkout_id"].encode(), value=value)

    return agent


if __name__ == "__main__":
    build(Place.of(os.environ["SERVICE"], os.environ)).main()
