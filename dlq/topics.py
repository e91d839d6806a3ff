"""Reads whole topics, without a consumer group: nothing is joined or committed, no trace is left in the broker."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from dlq.offsets import QUIET, Place, bounds
from schemas.brokers import Kafka, reaching

Progress = Callable[[int, int], None]
"""Called with (offsets passed, offsets in all) while a topic is read."""

READER_GROUP: Final = "dlq-reader"
"""Required by the client, also of a consumer that joins no group; nothing is committed under it."""
_TIMEOUT_S: Final = 30.0
_REACH_S: Final = 5.0
_POLL_S: Final = 0.1
_BATCH: Final = 10
"""A message may have megabytes, and so many are in memory at once, beside what the client holds."""
BOUNDED: Final = {
    # what the client has fetched and nobody has taken yet; each fetch may overshoot it by one answer
    "queued.max.messages.kbytes": 8 * 1024,
    # after which it fetches again soon, and not after a second
    "fetch.queue.backoff.ms": 5,
    # one answer of a broker, which is unpacked as a whole: compressed, it may hold 250 times as much. A larger message
    # still comes, alone
    "fetch.max.bytes": 1024 * 1024,
    # at a topic's end the broker says so at once
    "fetch.wait.max.ms": 20,
    "max.partition.fetch.bytes": 64 * 1024,
}
"""A reader's memory: dead letters may be large, and a command has to live with a container's few hundred MiB.

Source: librdkafka, CONFIGURATION.md.
"""


LeftOut = Callable[[str, int, int], None]
"""Called with the topic, partition and offset of what can't be unpacked."""
_UNPACKABLE: Final = (KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG)  # noqa: SLF001 - they have an underscore


class NoTopicError(Exception):
    """A topic that is to be read does not exist; the text names it."""


def untold(_done: int, _total: int) -> None:
    """The progress of a reading that nobody watches."""


def check_topics(kafka: Kafka, topics: Sequence[str]) -> None:
    """Be sure that there is something to read: a wrong name would answer "nothing there".

    Raises NoTopicError; KafkaException within 5 s when no broker answers.
    """
    known = AdminClient({**reaching(kafka), **QUIET}).list_topics(timeout=_REACH_S).topics
    missing = sorted(set(topics) - set(known))
    if missing:
        hint = "Is TOPIC_PREFIX right? `checkout setup` makes the topics."
        raise NoTopicError(f"there is no topic {', '.join(missing)}. {hint}")


def dump(
    kafka: Kafka,
    topics: Sequence[str],
    since: datetime | None = None,
    progress: Progress = untold,
    left_out: LeftOut | None = None,
    behind: dict[Place, tuple[int, int]] | None = None,
) -> Iterator[Message]:
    """Every committed message of these topics, from their beginning to their present end.

    topics: full names; those that don't exist are left out. since: from the first message at or after it, in each
    partition by itself. Each partition's messages come in order. left_out: told of each place that the client can't
    unpack; None: it is an error. behind: told (where reading ended, where it ends) of each partition whose end is
    behind an open transaction. Raises KafkaException, also for a broker gone silent.
    """
    with closing(_consumer(kafka)) as consumer:
        ends = {place: span for place, span in bounds(kafka, topics).items() if span[1] > span[0]}
        # so that the client knows the leaders when it is assigned, and fetches at once
        consumer.list_topics(timeout=_TIMEOUT_S)
        spans = ends if since is None else _later(consumer, ends, since)
        consumer.assign([TopicPartition(*place, low) for place, (low, _) in spans.items()])
        ended: dict[Place, tuple[int, int]] = {}
        yield from _read(consumer, spans, progress, left_out, ended)
        if behind is not None:
            behind.update((place, (end, high)) for place, (end, high) in ended.items() if end < high)


class Picker:
    """Reads single messages by where they lie, over one connection. Raises KafkaException. Use `close` at the end."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka, self._consumer = kafka, _consumer(kafka)
        self._consumer.list_topics(timeout=_TIMEOUT_S)

    def pick(self, places: Collection[tuple[str, int, int]]) -> Iterator[Message]:
        """The messages that lie there, in each partition's order; those that are gone are left out.

        Everything between the first and the last of a partition is read, and nothing of it kept.
        """
        wanted, spans = set(places), self._spans(places)
        if not spans:
            return
        self._consumer.assign([TopicPartition(*place, low) for place, (low, _) in spans.items()])
        for message in _read(self._consumer, spans, untold, lambda *_: None, {}):
            if (message.topic(), message.partition(), message.offset()) in wanted:
                yield message

    def close(self) -> None:
        """Give the connection back."""
        self._consumer.close()

    def _spans(self, places: Collection[tuple[str, int, int]]) -> dict[Place, tuple[int, int]]:
        """(first, next after the last) of each partition, as far as it is still there."""
        spans: dict[Place, tuple[int, int]] = {}
        for topic, partition, offset in places:
            low, high = spans.get((topic, partition), (offset, offset + 1))
            spans[topic, partition] = min(low, offset), max(high, offset + 1)
        there = bounds(self._kafka, sorted({topic for topic, _ in spans})) if spans else {}
        cut = {x: (max(low, there[x][0]), min(high, there[x][1])) for x, (low, high) in spans.items() if x in there}
        return {place: (low, high) for place, (low, high) in cut.items() if low < high}


def _consumer(kafka: Kafka) -> Consumer:
    return Consumer(
        {
            **reaching(kafka),
            "group.id": READER_GROUP,
            "enable.auto.commit": False,
            # what was aborted was never said
            "isolation.level": "read_committed",
            # the markers of transactions have offsets and are no messages: only the client knows when they are passed
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # retention may take the beginning away meanwhile
            **BOUNDED,
            **QUIET,
        }
    )


def _later(consumer: Consumer, spans: dict[Place, tuple[int, int]], since: datetime) -> dict[Place, tuple[int, int]]:
    """The part of each span that is not older than `since`; spans without any are left out."""
    if not spans:
        return {}
    asked = [TopicPartition(*place, max(0, int(since.timestamp() * 1000))) for place in spans]
    found = consumer.offsets_for_times(asked, timeout=_TIMEOUT_S)
    starts = {(place.topic, place.partition): place.offset for place in found}
    return {place: (starts[place], high) for place, (_, high) in spans.items() if 0 <= starts[place] < high}


def _read(
    consumer: Consumer,
    spans: dict[Place, tuple[int, int]],
    progress: Progress,
    left_out: LeftOut | None,
    ended: dict[Place, tuple[int, int]],
) -> Iterator[Message]:
    left, total = dict(spans), sum(high - low for low, high in spans.values())
    heard_at = time.monotonic()
    while left:
        first = consumer.poll(_POLL_S)
        if first is None:
            _check_silence(heard_at, left)
            continue
        for message in [first, *consumer.consume(_BATCH, 0)]:
            place, offset = (str(message.topic()), int(message.partition() or 0)), int(message.offset() or 0)
            if place not in left or offset < left[place][0]:
                continue
            high, error = left[place][1], message.error()
            if error is not None and error.code() in _UNPACKABLE and left_out is not None:
                left_out(*place, offset)
                # the client would ask for the same bytes for ever
                consumer.seek(TopicPartition(*place, offset + 1))
            elif _is_message(message) and offset < high:
                yield message
            at_end = error is not None and error.code() not in _UNPACKABLE
            ended[place] = left[place] = (offset if at_end else offset + 1, high)
            if at_end or offset >= high - 1:
                del left[place]
        progress(total - sum(high - low for low, high in left.values()), total)
        # after the caller had its messages: its time is not the broker's silence
        heard_at = time.monotonic()


def _is_message(message: Message) -> bool:
    """False at the end of a partition. Raises KafkaException for what is an error."""
    error = message.error()
    if error is None:
        return True
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own codes have an underscore
        return False
    raise KafkaException(error)


def _check_silence(heard_at: float, left: dict[Place, tuple[int, int]]) -> None:
    if time.monotonic() - heard_at > _TIMEOUT_S:
        topic, partition = next(iter(left))
        raise KafkaException(
            KafkaError(
                KafkaError._TIMED_OUT,  # noqa: SLF001
                f"nothing more of {topic} partition {partition} within {_TIMEOUT_S:.0f} s",
            )
        )
