"""Servers that are no provider: none at all, one that never answers, one that always answers the same bytes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

HOST = "127.0.0.1"


@contextmanager
def dead_url() -> Iterator[str]:
    """An address that refuses connections: its port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield f"http://{HOST}:{taken.getsockname()[1]}"


@asynccontextmanager
async def silent_url() -> AsyncIterator[str]:
    """A server that accepts and listens, and never says a word."""

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with _serving(listen) as url:
        yield url


@asynccontextmanager
async def fixed_url(answer: bytes, heard: list[bytes]) -> AsyncIterator[str]:
    """A server that answers every request with `answer`, and hangs up. heard: gets the head of each request."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()

    async with _serving(speak) as url:
        yield url


def http(status: int, body: bytes, *, announced: int | None = None) -> bytes:
    """An HTTP answer in JSON's name. announced: the length that its head promises, when that is not the body's."""
    length = len(body) if announced is None else announced
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


@asynccontextmanager
async def _serving(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve until the clients have left."""
    under_way: set[asyncio.Task[None]] = set()

    async def to_its_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handle(reader, writer)
        writer.close()
        await writer.wait_closed()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(asyncio.create_task(to_its_end(reader, writer)))

    async with await asyncio.start_server(start, HOST, 0) as server:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*under_way)
