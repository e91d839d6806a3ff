"""One worker: events go into the table, the overview follows, and time shows what is stuck or broken."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from schemas.codec import Codec
from services.observer.engine import make_app, make_table
from services.observer.hearing import Hearing
from services.observer.index import Breach, Index
from services.observer.instants import SECOND
from services.observer.metrics import Metrics
from services.observer.overview import View, breach_view, worker_view
from services.observer.placing import home_of
from services.observer.rules import AT_ONCE
from services.observer.settings import ObserverSettings
from services.observer.summary import summary
from services.observer.timeline import Timeline
from services.observer.watermark import Watermark

_TICK_S: Final = 1.0
_ASK_S: Final = 5.0
_AGAIN_S: Final = 3.0
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
        self._hearing = Hearing(self.app, self.table, settings, codec, self.metrics)
        self._limits, self._prefix = settings.limits, settings.topic_prefix
        self._watermark = Watermark()
        self._told: set[tuple[str, str, str]] = set()
        self._indexed: tuple[int, frozenset[int]] = (-1, frozenset())
        self.app.task(self._keep_time)
        self.app.task(self._try_again)

    # --- what is asked --------------------------------------------------------------------------------------

    def timeline(self, checkout_id: str) -> Timeline | None:
        """The timeline of a checkout that is at home here."""
        return self._hearing.timeline(checkout_id.encode())

    def breaches(self, checkout_id: str = "") -> list[Breach]:
        """What is broken now; of one checkout where one is named."""
        self._catch_up()
        lifetime_s = self.settings.observer_stuck_s
        horizon_us = _now_us() - round((self.settings.observer_keep_s - lifetime_s) * SECOND)
        found = self.index.breaches(self._watermark.reached_us, horizon_us)
        waiting = self._hearing.waiting
        return [
            breach
            for breach in found
            if checkout_id in ("", breach.checkout_id)
            and (breach.finding.due_us == AT_ONCE or breach.checkout_id.encode() not in waiting)
        ]

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
    def table_topic(self) -> str:
        """The topic of the table."""
        return str(self.table.changelog_topic.get_topic_name())

    @property
    def owned(self) -> frozenset[int]:
        """The partitions that this worker holds."""
        return frozenset(tp.partition for tp in self._places())

    def _places(self) -> list[Any]:
        consumer = self.app.consumer
        return (
            [tp for tp in consumer.assignment() if tp.topic in self._hearing.topics]
            if self.app.tables.actives_ready
            else []
        )

    # --- what time brings -----------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        # not a timer of Faust's: those warn of every turn that waits for the broker
        while not self.app.should_stop:
            await self._tick()
            await self.app.sleep(_TICK_S)

    async def _try_again(self) -> None:
        while not self.app.should_stop:
            await self.app.sleep(_AGAIN_S)
            await self._hearing.try_again()

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
        self.index = Index()
        self._hearing.forget()
        for number, key in enumerate(list(self.table.keys())):
            if home_of(key, self.partitions) in now[1]:
                self._hearing.changed.add(key)
            else:
                # another worker's now; without a word to the table's topic
                self.table.data.pop(key, None)
            if number % _PART == 0:
                self._catch_up()
                await asyncio.sleep(0)
        await self._begin()
        self._indexed = now
        log.info("partitions", held=sorted(now[1]), of=self.partitions, checkouts=len(self.table.data))

    async def _begin(self) -> None:
        """Every partition is read from where its group stands, or from its first record."""
        consumer, places, generation = self.app.consumer, self._places(), self.app.consumer_generation_id
        committed = await asyncio.wait_for(consumer.seek_to_committed(), _ASK_S)
        first = await asyncio.wait_for(consumer.earliest_offsets(*places), _ASK_S)
        starts = {place: max(committed.get(place) or 0, first[place]) for place in places}
        self._hearing.begin(generation, starts)
        await self._read_from(starts)

    async def _read_from(self, starts: Mapping[Any, int]) -> None:
        seeks = (self.app.consumer.seek(place, offset) for place, offset in starts.items())
        await asyncio.wait_for(asyncio.gather(*seeks), _ASK_S)

    def _catch_up(self) -> None:
        """The overview follows the table."""
        changed = self._hearing.changed
        while changed:
            key = changed.pop()
            timeline = self._hearing.timeline(key)
            if timeline is None:
                # the table's topic may hold anything
                self.table.data.pop(key, None)
                self.index.drop(key.decode("utf-8", "replace"))
            else:
                home = home_of(key, self.partitions)
                self.index.put(timeline.checkout_id, summary(timeline, home, self._limits))

    async def _advance(self) -> None:
        places, consumer = self._places(), self.app.consumer
        if not places:
            return
        if self._watermark.wants_ends:
            now_us = _now_us()
            self._watermark.note(now_us, await asyncio.wait_for(consumer.highwaters(*places), _ASK_S))
        # all at once: the consumer's thread answers between two fetches
        folded = self._hearing.folded
        still_open = self._watermark.open(folded)
        positions = await asyncio.wait_for(asyncio.gather(*map(consumer.position, still_open)), _ASK_S)
        fetched = dict(zip(still_open, positions, strict=True))
        busy, beginnings = {message.tp for message in consumer.unacked}, self._hearing.beginnings
        await self._read_from(beginnings.again(self._watermark.passed(fetched) - busy))
        self._watermark.settle(folded, fetched, busy | beginnings.awaited)

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
            self.table.data.pop(key, None)
            self.index.drop(checkout_id)


def _now_us() -> int:
    return time.time_ns() // 1000
