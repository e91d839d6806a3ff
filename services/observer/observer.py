"""One worker: events go into the table, the overview follows, and time shows what is stuck or broken."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

from schemas.choreography import topics
from schemas.codec import Codec, UndecodableError
from services.observer.engine import elsewhere_topic, event_topics, listen, make_app, make_table
from services.observer.index import SECOND, Breach, Index
from services.observer.metrics import Metrics
from services.observer.overview import View, breach_view, worker_view
from services.observer.placing import home_of
from services.observer.reading import Place, Reader, origin_of, passed_on, place_of
from services.observer.settings import ObserverSettings
from services.observer.summary import summary
from services.observer.timeline import Timeline, add, decoded, encoded
from services.observer.watermark import Watermark

_TICK_S: Final = 1.0
_ASK_S: Final = 5.0
_PART: Final = 500

log = structlog.get_logger("observer")


class Observer:
    """The Faust app, its table, and what is derived from that. partitions: of every event's topic."""

    def __init__(self, settings: ObserverSettings, codec: Codec, partitions: int, folder: Path) -> None:
        self.settings, self.partitions = settings, partitions
        self.app = make_app(settings, partitions, folder)
        self.table = make_table(self.app, partitions)
        self.metrics = Metrics(self)
        self.index = Index()
        self._reader = Reader(codec)
        self._limits, self._prefix = settings.limits, settings.topic_prefix
        self._watermark = Watermark()
        self._folded: dict[Any, int] = {}
        self._dirty: set[bytes] = set()
        self._told: set[tuple[str, str, str]] = set()
        self._indexed: tuple[int, frozenset[int]] = (-1, frozenset())
        self._elsewhere = elsewhere_topic(self.app, partitions, settings.observer_replication)
        self._heard = {self._prefix + topic for topic in topics()} | {self._elsewhere.get_topic_name()}
        listen(self.app, event_topics(self.app, self._prefix), "events", self._listener(self._place_here))
        listen(self.app, self._elsewhere, "elsewhere", self._listener(origin_of))
        self.app.timer(interval=_TICK_S, name="tick")(self._tick)

    # --- what is said ---------------------------------------------------------------------------------------

    def _place_here(self, message: Any) -> Place:
        return place_of(message, self._prefix)

    def _listener(self, place_of: Callable[[Any], Place]) -> Callable[[Any], Any]:
        async def hear(stream: Any) -> None:
            # by hand: what is not in the table when the worker stops must come again
            async for event in stream.noack().events():
                if await self._take(event.message, place_of):
                    self._folded[event.message.tp] = event.message.offset + 1
                    event.ack()

        return hear

    async def _take(self, message: Any, place_of: Callable[[Any], Place]) -> bool:
        """Whether a record is settled; not when its partition went to another worker while the registry was away."""
        generation = self.app.consumer_generation_id
        try:
            place = place_of(message)
            if self._too_old(message):
                return True
            checkout_id, said = await self._reader.read(message, place)
            if generation != self.app.consumer_generation_id:
                return False
            if home_of(message.key, self.partitions) != message.partition:
                await self._pass_on(message, place)
            else:
                self._fold(message.key, add(self._timeline(message.key) or Timeline(checkout_id), said), said.event)
        except UndecodableError as error:
            self.metrics.undecodable(message.topic.removeprefix(self._prefix))
            where = {"topic": message.topic, "partition": message.partition, "offset": message.offset}
            log.warning("left behind: it can't be decoded", **where, reason=str(error))
        # a record that this code can't handle must not keep the others from being heard
        except Exception:
            log.exception("left behind", topic=message.topic, partition=message.partition, offset=message.offset)
        return True

    def _too_old(self, message: Any) -> bool:
        """While the past is read again: what has left the table long ago is not taken in for a moment."""
        old = message.timestamp < time.time() - self.settings.observer_keep_s
        return bool(old and message.key not in self.table)

    async def _pass_on(self, message: Any, place: Place) -> None:
        home, headers = home_of(message.key, self.partitions), passed_on(message, place)
        sent = await self._elsewhere.send(key=message.key, value=message.value, partition=home, headers=headers)
        await sent

    def _fold(self, key: bytes, timeline: Timeline, event: str) -> None:
        value = encoded(timeline)
        if value != self.table.get(key):
            self.table[key] = value
            self._dirty.add(key)
            self.metrics.heard(event)

    def _timeline(self, key: bytes) -> Timeline | None:
        value = self.table.get(key)
        return None if value is None else decoded(value)

    # --- what is asked --------------------------------------------------------------------------------------

    def timeline(self, checkout_id: str) -> Timeline | None:
        """The timeline of a checkout that is at home here."""
        return self._timeline(checkout_id.encode())

    def breaches(self, checkout_id: str = "") -> list[Breach]:
        """What is broken now; of one checkout where one is named."""
        self._catch_up()
        lifetime_s = self.settings.observer_stuck_s
        horizon_us = _now_us() - round((self.settings.observer_keep_s - lifetime_s) * SECOND)
        found = self.index.breaches(self._watermark.reached_us, horizon_us)
        return [breach for breach in found if checkout_id in ("", breach.checkout_id)]

    def breach_views(self, checkout_id: str) -> list[View]:
        """What is broken of one checkout."""
        return [breach_view(breach, self._prefix) for breach in self.breaches(checkout_id)]

    @property
    def heard_us(self) -> int | None:
        """Everything that was on the topics then is known here; None while that is being found out."""
        return self._watermark.reached_us

    def view(self) -> View:
        """The overview of this worker."""
        place = {"url": self.settings.url, "partitions": sorted(self.owned), "of": self.partitions}
        return worker_view(
            self.index,
            self.breaches(),
            now_us=_now_us(),
            heard_us=self.heard_us,
            prefix=self._prefix,
            place=place,
        )

    @property
    def owned(self) -> frozenset[int]:
        """The partitions that this worker holds."""
        return frozenset(tp.partition for tp in self._places())

    def _places(self) -> list[Any]:
        consumer = self.app.consumer
        return [tp for tp in consumer.assignment() if tp.topic in self._heard] if self.app.tables.actives_ready else []

    # --- what time brings -----------------------------------------------------------------------------------

    async def _tick(self) -> None:
        try:
            await self._follow_assignment()
            self._catch_up()
            await self._advance()
            self._tell()
            self._forget()
        # the broker may be away; whatever it is, the next tick tries again
        except Exception as error:
            log.warning("the overview stands still", reason=f"{type(error).__name__}: {error}")

    async def _follow_assignment(self) -> None:
        """After a rebalance: what is shown is what is held, and nothing is known to be complete."""
        now = (self.app.rebalancing_count, self.owned)
        if now == self._indexed or not self.app.tables.actives_ready:
            return
        self._watermark.forget()
        self.index, self._dirty = Index(), set()
        for number, key in enumerate(list(self.table.keys())):
            if home_of(key, self.partitions) in now[1]:
                self._dirty.add(key)
            else:
                # another worker's now; without a word to the table's topic
                del self.table.data[key]
            if number % _PART == 0:
                self._catch_up()
                await asyncio.sleep(0)
        self._indexed = now
        log.info("partitions", held=sorted(now[1]), of=self.partitions, checkouts=len(self.table.data))

    def _catch_up(self) -> None:
        """The overview follows the table."""
        while self._dirty:
            key = self._dirty.pop()
            timeline = self._timeline(key)
            if timeline is not None:
                home = home_of(key, self.partitions)
                self.index.put(timeline.checkout_id, summary(timeline, home, self._limits))

    async def _advance(self) -> None:
        places, consumer = self._places(), self.app.consumer
        if not places:
            return
        if self._watermark.wants_ends:
            now_us = _now_us()
            self._watermark.note(now_us, await asyncio.wait_for(consumer.highwaters(*places), _ASK_S))
        positions = {tp: await asyncio.wait_for(consumer.position(tp), _ASK_S) for tp in self._open()}
        self._watermark.settle(self._folded, positions, {message.tp for message in consumer.unacked})

    def _open(self) -> list[Any]:
        return list(self._watermark.open(self._folded))

    def _tell(self) -> None:
        """A breach is told once, as loudly as a log can."""
        now = {
            (breach.checkout_id, breach.finding.rule, breach.finding.fault.event_id): breach
            for breach in self.breaches()
        }
        for identity in now.keys() - self._told:
            view = breach_view(now[identity], self._prefix)
            # `event` is the logger's own name for its message
            log.critical("conservation is broken", said=view.pop("event"), **view)
        self._told = set(now)

    def _forget(self) -> None:
        """What has settled long ago leaves the table; never while it is not known that nothing more comes."""
        if self.heard_us is None:
            return
        before_us = self.heard_us - round(self.settings.observer_keep_s * SECOND)
        for checkout_id in list(self.index.leaving(before_us, self.settings.observer_most_checkouts)):
            key = checkout_id.encode()
            self.table.send_changelog(home_of(key, self.partitions), key, None, value_serializer="raw")
            del self.table.data[key]
            self.index.drop(checkout_id)


def _now_us() -> int:
    return time.time_ns() // 1000
