"""Asks brokers what the client library does not tell: where partitions stand, and their batches as they are stored.

Brokers are reached as the client library's properties say. Everything is asked of a partition's leader.
"""

import asyncio
import logging
import ssl
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from schemas.brokers import Kafka, reaching
from schemas.kafka.tokens import OAUTH, ClientCredentials

Partition = tuple[str, int]

_TIMEOUT_MS: Final = 10_000
_LATEST: Final = -1
_UNCOMMITTED, _COMMITTED = 0, 1
_PARTITION_BYTES: Final = 1024 * 1024
_ANSWER_BYTES: Final = 4 * 1024 * 1024
_SASL: Final = {
    "sasl.mechanism": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
}


class Ends(NamedTuple):
    """lso: what committed reading sees ends before it. high: what is stored on enough brokers ends before it."""

    lso: int
    high: int


class Leaders:
    """A connection to the leaders of partitions. Belongs to the event loop in which it is opened."""

    def __init__(self, kafka: Kafka) -> None:
        # it logs every reconnect as an error; what fails is raised here, and its caller's to tell
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._client = AIOKafkaClient(**properties(kafka))
        self._topics: set[str] = set()

    async def open(self) -> None:
        """Raises KafkaError, OSError or TimeoutError, as the other methods do."""
        await self._client.bootstrap()

    async def close(self) -> None:
        """Leave the connections."""
        await self._client.close()

    async def ends(self, partitions: Iterable[Partition]) -> dict[Partition, Ends]:
        """Where partitions end; those whose leader is not known at the moment are left out."""
        led = await self._by_leader(partitions)
        found: list[dict[Partition, int]] = []
        for level in (_COMMITTED, _UNCOMMITTED):
            last: dict[Partition, int] = {}
            for leader, some in led.items():
                asked = _by_topic(dict.fromkeys(some, (_LATEST,)))
                last |= _offsets(await self._client.send(leader, OffsetRequest(-1, level, asked)))
            found.append(last)
        lso, high = found
        self._renew(len(lso) < sum(map(len, led.values())))
        return {partition: Ends(lso[partition], high[partition]) for partition in lso if partition in high}

    async def fetch(self, starts: Mapping[Partition, int]) -> dict[Partition, bytes]:
        """What is stored from these offsets on, whole batches first; uncommitted too.

        About 1 MiB of each partition and 4 MiB from each leader, unless the first batch alone is larger.
        """
        found: dict[Partition, bytes] = {}
        for leader, some in (await self._by_leader(starts)).items():
            asked = _by_topic({partition: (starts[partition], _PARTITION_BYTES) for partition in some})
            request = FetchRequest(0, 0, _ANSWER_BYTES, _UNCOMMITTED, asked)
            found |= _stored(await self._client.send(leader, request))
        self._renew(len(found) < len(starts))
        return found

    async def _by_leader(self, partitions: Iterable[Partition]) -> dict[int, list[Partition]]:
        wanted = list(partitions)
        self._topics |= {topic for topic, _ in wanted}
        await self._client.set_topics(sorted(self._topics))
        led: dict[int, list[Partition]] = defaultdict(list)
        for partition in wanted:
            leader = self._client.cluster.leader_for_partition(TopicPartition(*partition))
            if leader is not None and leader >= 0:
                led[leader].append(partition)
        self._renew(sum(map(len, led.values())) < len(wanted))
        return led

    def _renew(self, is_stale: bool) -> None:
        """Have the leaders looked up anew, in the background: one of them has moved."""
        if is_stale:
            self._client.force_metadata_update()


def properties(kafka: Kafka) -> dict[str, Any]:
    """The client library's properties as aiokafka names them."""
    given = reaching(kafka)
    protocol = given.get("security.protocol", "PLAINTEXT")
    found = {
        "bootstrap_servers": given["bootstrap.servers"],
        "security_protocol": protocol,
        "request_timeout_ms": _TIMEOUT_MS,
        **{ours: given[name] for name, ours in _SASL.items() if name in given},
    }
    if given.get("sasl.mechanism") == OAUTH:
        found["sasl_oauth_token_provider"] = ClientCredentials(kafka)
    return found | ({"ssl_context": tls(given)} if protocol.endswith("SSL") else {})


def tls(given: Mapping[str, Any]) -> ssl.SSLContext:
    """Brokers are verified by name, by the authorities that are named or the system's. Raises OSError."""
    context = ssl.create_default_context(cafile=given.get("ssl.ca.location"))
    if "ssl.certificate.location" in given:
        context.load_cert_chain(given["ssl.certificate.location"], given.get("ssl.key.location"))
    return context


def _by_topic(asked: Mapping[Partition, tuple[int, ...]]) -> list[tuple[str, list[tuple[int, ...]]]]:
    topics: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for (topic, partition), words in asked.items():
        topics[topic].append((partition, *words))
    return list(topics.items())


def _offsets(answer: Any) -> dict[Partition, int]:
    """What an OffsetResponse says, of the partitions about which it says something."""
    return {
        (topic, partition): offset
        for topic, partitions in answer.topics
        for partition, error, _, offset, *_ in partitions
        if not error and offset >= 0
    }


def _stored(answer: Any) -> dict[Partition, bytes]:
    """What a FetchResponse holds, of the partitions of which it holds something."""
    return {
        (topic, partition): rest[-1] or b""
        for topic, partitions in answer.topics
        for partition, error, *rest in partitions
        if not error
    }


async def opened(kafka: Kafka) -> Leaders:
    """Leaders that can be asked. Raises KafkaError, OSError or TimeoutError, and leaves nothing open then."""
    leaders = Leaders(kafka)
    try:
        await leaders.open()
    except BaseException:
        await asyncio.shield(leaders.close())
        raise
    return leaders
