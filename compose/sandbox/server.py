"""The server's life: open the ledger, serve until told to stop, finish what is in flight, close the ledger."""

import asyncio
import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from compose.sandbox.app import make_app
from compose.sandbox.group_commit import GroupCommit
from compose.sandbox.ledger import Ledger
from compose.sandbox.provider import Provider
from compose.sandbox.reader import Reader

log = logging.getLogger("compose.sandbox")

BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says. Port 0 takes a free one; the start line in the log names it."""

    host: str
    port: int
    ledger: Path
    authorization_ttl_s: float
    key_ttl_s: float
    shutdown_timeout_s: float
    seed: int


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises LedgerError or OSError when it can't start."""
    ledger = Ledger(
        settings.ledger,
        authorization_ttl_us=round(settings.authorization_ttl_s * 1e6),
        key_ttl_us=round(settings.key_ttl_s * 1e6),
    )
    reader = Reader(settings.ledger)
    commits = GroupCommit(ledger)
    provider = Provider(commits, reader, settings.seed)
    committing = asyncio.create_task(commits.run())
    try:
        await _listen(provider, settings, committing)
    finally:
        commits.close()
        await committing
        reader.close()
        ledger.close()
    log.info("stopped ledger=%s", settings.ledger)


async def _listen(provider: Provider, settings: Settings, committing: asyncio.Task[None]) -> None:
    runner = web.AppRunner(
        make_app(provider),
        access_log=None,  # nothing per request: it would cost a third of the throughput
        shutdown_timeout=settings.shutdown_timeout_s,
        auto_decompress=False,  # 64 KiB are 64 KiB; a compressed body is not JSON
        handler_cancellation=False,  # an effect completes although its client has left
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG)
        await site.start()
        host, port = runner.addresses[0][:2]
        log.info("started url=http://%s:%d ledger=%s", host, port, settings.ledger)
        await _until_told_to_stop(provider.stopping, committing)
    finally:
        await runner.cleanup()


async def _until_told_to_stop(stopping: asyncio.Event, committing: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait({told, committing}, return_when=asyncio.FIRST_COMPLETED)
    stopping.set()  # a ledger that can't go on ends the server too
    await told
