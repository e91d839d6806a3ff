"""Dead letters on real topics, and the `dlq` command on them; each `Desk` has topics of its own."""

import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import stamina
from confluent_kafka import Message, Producer

from dlq import cli
from dlq import letter as dead
from dlq.contents import whole_letters
from dlq.desk import PARTITIONER
from dlq.ledger import Entry, State, moment
from dlq.letters import DeadLetter
from dlq.reading import read_ledger, read_letters
from dlq.settings import DlqSettings
from dlq.topics import dump
from schemas.choreography import LEDGER_TOPIC, retry_topic
from schemas.codec import Codec
from schemas.envelope import Envelope, Header
from schemas.events import CheckoutAccepted, Event, Line
from schemas.kafka.record import KafkaRecord
from schemas.registry import register
from schemas.registry_client import registry_client
from tests.dlq.making import environment, own_topics
from tests.servers import TestServers

START: Final = datetime(2026, 11, 20, 10, tzinfo=UTC)
PARTITIONS: Final = 3


@dataclass(frozen=True)
class Ran:
    """What a command said. code: its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def accepted(checkout_id: str, **changes: Any) -> CheckoutAccepted:
    fields = {
        "checkout_id": checkout_id,
        "customer_id": "customer-1",
        "payment_method_id": "card-1",
        "currency": "EUR",
        "total_minor": 2500,
        "lines": (Line(sku="sku-1", quantity=2, unit_price_minor=1250),),
        "expires_at": START + timedelta(days=1),
    }
    return CheckoutAccepted(**{**fields, **changes})


class Desk:
    """The dead letters of one test, under a prefix of their own."""

    def __init__(self, settings: DlqSettings) -> None:
        self.settings, self.prefix = settings, settings.topic_prefix
        client = registry_client(settings.schema_registry_url)
        self.schema_ids = register(client, self.prefix)
        client.close()
        self.codec = Codec(settings.schema_registry_url, self.prefix)
        self._producer = Producer({**settings.kafka, "partitioner": PARTITIONER, "log_level": 2})

    def close(self) -> None:
        self.codec.close()
        self._producer.close()

    # what lies there

    def encoded(self, event: Event) -> bytes:
        return self.codec.encode(Envelope(event, uuid.uuid4(), START))

    def letter(self, n: int = 0, *, value: bytes | None = None, **more: Any) -> dead.Letter:
        """The n-th letter: of its own checkout, failed n seconds after the first."""
        lane = more.pop("lane", f"c-{n}")
        topic = more.pop("topic", "checkout.accepted")
        headers: list[Header] = more.pop("headers", [("ce_type", b"checkout.accepted"), ("traceparent", b"00-aa")])
        origin = KafkaRecord(
            topic=self.prefix + topic,
            partition=0,
            offset=more.pop("offset", n),
            timestamp=START,
            key=more.pop("key", lane.encode()),
            value=self.encoded(accepted(lane)) if value is None else value,
            headers=headers,
        )
        fields: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "event_id": uuid.uuid4(),
            "service": "payment",
            "group": f"{self.prefix}payment",
            "handler": "on_checkout_accepted",
            "handler_version": "1",
            "disposition": dead.Disposition.FATAL,
            "fault": dead.Fault(error_class="ValueError", message="no", fingerprint="f" * 16),
            "attempts": 1,
            "timeouts": 0,
            "first_failed_at": START + timedelta(seconds=n),
            "failed_at": START + timedelta(seconds=n),
        }
        return dead.Letter(lane=lane, origin=origin, **{**fields, **more})

    def put(self, *letters: dead.Letter) -> list[str]:
        """Put letters where services put them; their ids."""
        for each in letters:
            made = dead.record(each, self.prefix)
            self._say(made.topic, made.kafka_key, made.payload, list(made.headers))
        self.flush()
        return [each.id for each in letters]

    def _say(self, topic: str, key: bytes | None, value: bytes | None, headers: list[Header]) -> None:
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, headers=[*headers])
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def say(self, topic: str, key: bytes | None, value: bytes | None, headers: list[Header]) -> None:
        """One record on a topic, named without the prefix."""
        self._say(self.prefix + topic, key, value, headers)
        self.flush()

    def silence(self) -> bool:
        """Whether nothing was sent and nothing written down."""
        return not [*self.retried(), *self.records(LEDGER_TOPIC), *self.records("dlq.audit")]

    def flush(self) -> None:
        assert self._producer.flush(60) == 0

    def entry(self, letter_id: str, state: State, service: str = "payment", **more: str | int) -> None:
        """What a service, or a colleague, writes to the ledger."""
        said: dict[str, Any] = {"at": moment(START), "by": "payment", **more}
        entry = Entry(service=service, letter=letter_id, state=state, **said)
        self.say(LEDGER_TOPIC, entry.key.encode(), entry.value(), [])

    def answer(self, sent: Iterable[Message], state: State = State.RESOLVED) -> None:
        """The outcome that a service writes of what it found on its retry topic."""
        for message in sent:
            said = dead.text_headers(message)
            count = int(said["dlq-replay-count"])
            self.entry(said["dlq-id"], state, said["dlq-service"], replay_id=said["dlq-replay-id"], replay_count=count)

    def retried(self, service: str = "payment") -> list[Message]:
        """What is committed on a retry topic, in each partition's order."""
        return self.records(retry_topic(service))

    def retried_ids(self, service: str = "payment") -> Counter[str]:
        return Counter(dead.letter_id(message) for message in self.retried(service))

    def records(self, topic: str) -> list[Message]:
        return list(dump(self.settings.kafka_bootstrap_servers, [self.prefix + topic]))

    def audit(self) -> list[dict[str, Any]]:
        lines = [json.loads(message.value() or b"") for message in self.records("dlq.audit")]
        return sorted(lines, key=lambda line: str(line["at"]))

    def letters(self) -> dict[str, DeadLetter]:
        return {each.id: each for each in whole_letters(self.settings, read_letters(self.settings))}

    def ledger(self) -> dict[str, Entry]:
        return {entry.letter: entry for entry in read_ledger(self.settings).values()}

    def states(self) -> Counter[State]:
        return Counter(entry.state for entry in self.ledger().values())

    # the command

    @property
    def environ(self) -> dict[str, str]:
        return environment(self.settings)

    def dlq(self, *arguments: str) -> Ran:
        """Run a command in this process, as its entry point does."""
        out, err = io.StringIO(), io.StringIO()
        stamina.instrumentation.set_on_retry_hooks([])
        with _environ(self.environ), redirect_stdout(out), redirect_stderr(err):
            code = cli.run(arguments)
        return Ran(code, out.getvalue(), err.getvalue())

    def dlq_on_terminal(self, *arguments: str, editor: str) -> Ran:
        """Run a command whose standard input is a terminal, with an editor."""
        ours, theirs = pty.openpty()
        try:
            process = self.start(*arguments, stdin=theirs, more={"VISUAL": editor})
            return ended(process)
        finally:
            os.close(ours)
            os.close(theirs)

    def start(
        self, *arguments: str, stdin: int = subprocess.DEVNULL, more: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Run a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", "from dlq.cli import main; main()", *arguments],
            env={**os.environ, **self.environ, **(more or {})},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@contextmanager
def desk_on(servers: TestServers) -> Iterator[Desk]:
    """Topics and schemas of their own; they are dropped in the end."""
    with own_topics(servers, PARTITIONS) as settings:
        desk = Desk(settings)
        try:
            yield desk
        finally:
            desk.close()


def wait_until(holds: Callable[[], bool], timeout_s: float = 30) -> None:
    """Ask again and again until it holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never held"
        threading.Event().wait(0.05)


def ended(process: subprocess.Popen[str], timeout_s: float = 60) -> Ran:
    out, err = process.communicate(timeout=timeout_s)
    return Ran(process.returncode, out, err)


def job_in(text: str) -> str:
    """The job that a replay says it is."""
    return str(re.findall(r"^dlq: job (\S+)$", text, re.MULTILINE)[-1])


def ids_in_order(messages: Sequence[Message]) -> list[str]:
    return [dead.letter_id(message) for message in messages]


@contextmanager
def _environ(more: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
