"""Workers of the observer for tests, and what their pages say."""

import asyncio
import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer
from uuid_utils.compat import uuid7

from compose.acls.rights import OBSERVER
from compose.fleet import die_with_parent
from schemas.choreography import topics
from schemas.envelope import Envelope, event_headers
from schemas.events import Event
from tests.system import System, free_port, wait_for

STOP_S = 10.0
_CHECKSUM_AT = 17
_CHECKED_FROM = 21
Written = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]
"""Key, value, headers."""


class Worker:
    """One process of `python -m services.observer`. settings: environment variables, such as OBSERVER_VERSION."""

    def __init__(self, system: System, **settings: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.log = system.folder / f"observer-{port}.log"
        quick = {"OBSERVER_GRACE_S": "1", "OBSERVER_WEB_PORT": str(port)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.observer"],
                env=system.environ(OBSERVER) | quick | settings,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )

    def stop(self) -> None:
        """SIGTERM; it must be gone in time, and say that all was well."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_S) == 0, self.log.read_text()[-3000:]

    def end(self) -> None:
        """Gone, whatever the test left."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ask(self, path: str, accept: str = "application/json") -> tuple[int, str]:
        """Status and text of a page."""
        try:
            with urlopen(Request(f"{self.url}{path}", headers={"Accept": accept}), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as answer:
            return answer.code, answer.read().decode()

    def await_ready(self) -> "Worker":
        """Until it holds its partitions and knows all that was said."""
        wait_for(self._ready, f"the observer to be ready; its log: {self.log}")
        return self

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return self.ask("/readyz")[0] == 200
        except (URLError, OSError):
            return False

    def live(self) -> Any:
        """The overview."""
        status, text = self.ask("/live")
        assert status == 200, text
        return json.loads(text)

    def checkout(self, checkout_id: str) -> Any:
        """The timeline of a checkout; None while there is none."""
        status, text = self.ask(f"/checkouts/{checkout_id}")
        return json.loads(text) if status == 200 else None

    def await_state(self, checkout_id: str, state: str) -> Any:
        """Wait until a checkout is in a state; its timeline then."""

        def reached() -> Any:
            view = self.checkout(checkout_id)
            return view if view and view["state"] == state else None

        return wait_for(reached, f"{checkout_id} to be {state} at the observer; its log: {self.log}")

    def metric(self, name: str, **labels: str) -> float:
        """One value of /metrics."""
        wanted = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        pattern = re.compile(rf"^checkout_observer_{name}(?:\{{{re.escape(wanted)}\}})? (\S+)$", re.MULTILINE)
        found = pattern.search(self.ask("/metrics")[1])
        assert found, f"no metric {name} {labels}"
        return float(found[1])

    def heard(self) -> float:
        """Events that this process took into its view."""
        return sum(self.metric("events_total", event=event) for event in topics())


def publish_to(partition: int, system: System, *events: Event) -> None:
    """Publish events to one partition, whatever their keys."""
    producer = Producer({"bootstrap.servers": system.env["KAFKA_BOOTSTRAP_SERVERS"]})
    for event in events:
        envelope = Envelope(event, uuid7(), datetime.now(UTC))
        topic, key = f"{system.servers.topic_prefix}{event.TYPE}", event.checkout_id.encode()
        headers: list[Any] = event_headers(envelope, "shop", envelope.event_id, [])
        producer.produce(topic, system.codec.encode(envelope), key, partition=partition, headers=headers)
    assert producer.flush(10) == 0


@contextmanager
def worker(system: System, **settings: str) -> Iterator[Worker]:
    """A worker that is ready, for a block."""
    made = Worker(system, **settings)
    try:
        yield made.await_ready()
    finally:
        made.end()


def batch(records: Sequence[Written], codec: int = 0, base: int = 0) -> bytes:
    """Records as they lie in Kafka. codec: as the batch's attributes name it. base: the first offset."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 2**30)
    for number, (key, value, headers) in enumerate(records):
        assert builder.append(number, 1_700_000_000_000 + number, key, value, list(headers)) is not None
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base)
    return bytes(data)


def checked(data: bytes | bytearray) -> bytes:
    """The batch with the checksum of what is in it."""
    raw = bytes(data)
    return raw[:_CHECKSUM_AT] + struct.pack(">I", calc_crc32c(raw[_CHECKED_FROM:])) + raw[_CHECKED_FROM:]


def write(system: System, topic: str, partition: int, data: bytes) -> None:
    """Hand a batch to the broker as it is: what a polite client would refuse to write."""
    asyncio.run(_write(system.env["KAFKA_BOOTSTRAP_SERVERS"], TopicPartition(topic, partition), data))


async def _write(servers: str, place: TopicPartition, data: bytes) -> None:
    client = AIOKafkaClient(bootstrap_servers=servers)
    await client.bootstrap()
    try:
        await client.set_topics([place.topic])
        node = client.cluster.leader_for_partition(place)
        request = ProduceRequest(None, -1, 10_000, [(place.topic, [(place.partition, data)])])
        answer = await client.send(node, request)
        [[_, [[_, code, *_]]]] = answer.topics
        assert code == 0, for_code(code)
    finally:
        await client.close()
