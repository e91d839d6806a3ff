"""What is said goes into the table: read, fold, keep, acknowledge, in this order."""

import time
from collections.abc import Callable
from typing import Any

import structlog

from schemas.choreography import topics
from schemas.codec import Codec, UndecodableError
from services.observer.beginnings import Beginnings
from services.observer.engine import elsewhere_topic, event_topics, listen
from services.observer.metrics import Metrics
from services.observer.placing import home_of
from services.observer.reading import Place, Reader, origin_of, passed_on, place_of
from services.observer.settings import ObserverSettings
from services.observer.timeline import Timeline, add, decoded, encoded

log = structlog.get_logger("observer.hearing")


class Hearing:
    """Listens to every event's topic, and to what was passed on. changed: keys of timelines that changed since.

    folded: partition of a topic -> the offset behind the last record that was folded.
    """

    def __init__(self, app: Any, table: Any, settings: ObserverSettings, codec: Codec, metrics: Metrics) -> None:
        self._app, self._table, self._metrics = app, table, metrics
        self._prefix, self._keep_s = settings.topic_prefix, settings.observer_keep_s
        self._partitions: int = table.partitions
        self._reader = Reader(codec)
        self._elsewhere = elsewhere_topic(app, self._partitions, settings.observer_replication)
        self.changed: set[bytes] = set()
        self.folded: dict[Any, int] = {}
        self.beginnings = Beginnings()
        self.topics = {self._prefix + topic for topic in topics()} | {self._elsewhere.get_topic_name()}
        listen(app, event_topics(app, self._prefix), "events", self._listener(self._place_here))
        listen(app, self._elsewhere, "elsewhere", self._listener(origin_of))

    def timeline(self, key: bytes) -> Timeline | None:
        """What the table has of a checkout."""
        value = self._table.get(key)
        return None if value is None else decoded(value)

    def _place_here(self, message: Any) -> Place:
        return place_of(message, self._prefix)

    def _listener(self, place_of: Callable[[Any], Place]) -> Callable[[Any], Any]:
        async def hear(stream: Any) -> None:
            # acknowledged by hand: Faust would do it before the table's topic has it
            async for event in stream.noack().events():
                await self._take(event, place_of)

        return hear

    async def _take(self, event: Any, place_of: Callable[[Any], Place]) -> None:
        message, generation = event.message, self._app.consumer_generation_id

        def settled(sent: Any = None) -> None:
            if sent is not None and sent.exception() is not None:
                log.error("not kept: it will be read again after a restart", reason=repr(sent.exception()))
            # else its partition may be another worker's by now, who reads it again
            elif generation == self._app.consumer_generation_id:
                event.ack()

        sent = await self._settle(message, place_of, generation)
        if not self.beginnings.counts(self._app.consumer_generation_id, message.tp, message.offset):
            return
        self.folded[message.tp] = max(self.folded.get(message.tp, 0), message.offset + 1)
        if sent is None:
            settled()
        else:
            # the next record need not wait until the table's topic has this one; its acknowledgement does
            sent.add_done_callback(settled)

    async def _settle(self, message: Any, place_of: Callable[[Any], Place], generation: int) -> Any:
        """Fold a record. What it has to wait for until it counts as settled; None: nothing."""
        try:
            place = place_of(message)
            if self._too_old(message):
                return None
            checkout_id, said = await self._reader.read(message, place)
            if generation != self._app.consumer_generation_id:
                return None
            if home_of(message.key, self._partitions) != message.partition:
                return await self._pass_on(message, place)
            known = self.timeline(message.key) or Timeline(checkout_id)
            return self._keep(message.key, known, add(known, said), said.event)
        except UndecodableError as error:
            self._metrics.undecodable(message.topic.removeprefix(self._prefix))
            where = {"topic": message.topic, "partition": message.partition, "offset": message.offset}
            log.warning("left behind: it can't be decoded", **where, reason=str(error))
        # a record that this code can't handle must not keep the others from being heard
        except Exception:
            log.exception("left behind", topic=message.topic, partition=message.partition, offset=message.offset)
        return None

    def _too_old(self, message: Any) -> bool:
        """While the past is read again: what has left the table long ago is not taken in for a moment."""
        old = message.timestamp < time.time() - self._keep_s
        return bool(old and message.key not in self._table)

    async def _pass_on(self, message: Any, place: Place) -> Any:
        home, headers = home_of(message.key, self._partitions), passed_on(message, place)
        return await self._elsewhere.send(key=message.key, value=message.value, partition=home, headers=headers)

    def _keep(self, key: bytes, known: Timeline, new: Timeline, event: str) -> Any:
        if new is known:
            return None
        value = encoded(new)
        # `table[key] = value` does the same two things, but doesn't tell when the topic has it
        self._table.data[key] = value
        self.changed.add(key)
        self._metrics.heard(event)
        return self._table.send_changelog(home_of(key, self._partitions), key, value)
