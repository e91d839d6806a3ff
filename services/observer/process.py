"""One worker's process: wait for what it needs, run, stop within ten seconds."""

import asyncio
import logging
import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog

from schemas.choreography import check_map
from schemas.codec import Codec
from services.observer.ground import NotAlikeError, await_topics
from services.observer.observer import Observer
from services.observer.settings import ObserverSettings
from services.observer.web import Pages
from services.shell import logs
from services.shell.settings import EXIT_CONFIG

_STOP_S: Final = 8.0
_CHATTY: Final = ("mode.timers", "faust.transport.producer")
"""They warn of what is no fault: a turn that waits for the broker, a producer that sends in parts."""

log = structlog.get_logger("observer.process")


def run(settings: ObserverSettings) -> NoReturn:
    """Until SIGTERM or SIGINT; ends the process, with 1 when a part broke: whoever started it starts it again."""
    check_map()
    logs.configure(settings.log_level, "observer")
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with tempfile.TemporaryDirectory(prefix="observer-") as folder:
        code = loop.run_until_complete(_run(settings, Path(folder)))
    log.info("gone")
    # a thread that waits for a registry or a broker can't be asked to stop; what is not acknowledged comes again
    os._exit(code)


async def _run(settings: ObserverSettings, folder: Path) -> int:
    stop, waiting = asyncio.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stopping, stop, waiting)
    try:
        partitions = await asyncio.to_thread(await_topics, settings.kafka, settings.topic_prefix, waiting)
    except NotAlikeError as error:
        log.critical("can't start", reason=str(error))
        return EXIT_CONFIG
    if partitions is None:
        return 0
    codec = Codec(settings.registry, settings.topic_prefix)
    observer = Observer(settings, codec, partitions, folder)
    Pages(observer)
    return await _until(stop, observer.app)


def _stopping(stop: asyncio.Event, waiting: threading.Event) -> None:
    stop.set()
    waiting.set()


async def _until(stop: asyncio.Event, app: Any) -> int:
    """Run the app. It may still be reading its table, or waiting for a broker, when it is told to stop."""
    start = asyncio.ensure_future(app.start())
    told = asyncio.ensure_future(stop.wait())
    broken = asyncio.ensure_future(_broken(app, start))
    await asyncio.wait((told, broken), return_when=asyncio.FIRST_COMPLETED)
    code = 0 if told.done() else 1
    if code:
        log.error("a part of the process broke", reason=repr(broken.result()))
    try:
        async with asyncio.timeout(_STOP_S):
            await app.stop()
            start.cancel()
    except TimeoutError:
        log.warning("leaving without the broker's word")
    return code


async def _broken(app: Any, start: "asyncio.Future[None]") -> object:
    """Ends when the app does, or can't start, with the reason."""
    try:
        await start
        await app.wait_until_stopped()
    # whatever it is, the process ends with it
    except Exception as error:
        return error
    return app.crash_reason
