"""One message, one transaction: how the peers that handle messages run a step, on asyncpg."""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from compose.bench.peers.steps import Event, Json, Step, once


@dataclass(frozen=True, slots=True)
class Place:
    """Where one service of a peer lives."""

    service: str
    bootstrap_servers: str
    prefix: str
    database_url: str

    @classmethod
    def of(cls, service: str, environ: Mapping[str, str]) -> "Place":
        """Of `service`, as its environment says."""
        return cls(
            service, environ["KAFKA_BOOTSTRAP_SERVERS"], environ["TOPIC_PREFIX"], environ[f"{service.upper()}_DATABASE"]
        )


async def connect(place: Place, connections: int) -> asyncpg.Pool:
    """A pool of exactly so many connections. Statements are prepared once for each connection (asyncpg's default)."""
    return await asyncpg.create_pool(
        place.database_url,
        min_size=connections,
        max_size=connections,
        # no session state is ever left behind: spares the round trip that clears it
        reset=_nothing,
    )


async def _nothing(_connection: asyncpg.Connection) -> None:
    pass


async def handle(pool: asyncpg.Pool, service: str, event: str, heard: Json) -> Event | None:
    """Inbox row, state row, audit row in one transaction; the event to say once that is committed."""
    async with pool.acquire() as connection, connection.transaction():
        return await _run(connection, once(service, event, heard))


async def _run(connection: asyncpg.Connection, step: Step) -> Event | None:
    try:
        statement, arguments = next(step)
        while True:
            statement, arguments = step.send(await connection.fetch(statement, *arguments))
    except StopIteration as end:
        said: Event | None = end.value
        return said
