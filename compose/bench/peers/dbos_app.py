"""The checkout on DBOS Transact: each is one durable workflow, started from the topic of the requests.

Its documented way: `@DBOS.kafka_consumer` puts each message on a queue in DBOS' system database, any process takes it
from there, and each `@DBOS.step` is recorded in the system database once it is done. A step here is one transaction in
the shop's database, which changes nothing when it is run again, as a step may be. There is no inbox: the workflow's id,
which DBOS makes of topic, partition and offset, is one. Goods, money and orders are in one database, as no events go
between services. The last step publishes the end and waits for the broker's word.

Documented settings used: two processes that share a queue with `worker_concurrency`, as Python's lock bounds one;
few threads in each (`max_executor_threads`), as more wait for that lock; steps round a pool of psycopg's connections,
as a datasource's transactions, which both databases record, took over half as long again; a `polling_interval_sec`
and a `batch_size` below the defaults of 1 s and 250, with which a lone request waits for up to two seconds; no log
lines below warnings.
"""

import json
import os
import signal
import threading
from collections.abc import Callable

from confluent_kafka import KafkaError, Message, Producer
from dbos import DBOS, DBOSConfig, KafkaMessage
from psycopg import Connection, RawCursor
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from compose.bench.peers import steps
from compose.bench.peers.steps import Json, Step

QUEUE = "checkouts"
# of each process: workflows in work, and those that it has taken from the queue with them
THREADS = 4
TAKEN = 16
POLL_S = 0.1
PUBLISH_S = 30.0


class PublishError(Exception):
    """The broker did not take the end of a checkout: the step has failed, and its workflow with it."""


class Shop:
    """What the steps use: the shop's database and its producer."""

    def __init__(self, database_url: str, bootstrap_servers: str, completed: str) -> None:
        # the raw cursor takes Postgres' own placeholders; a statement is prepared at its second use
        options = {"cursor_factory": RawCursor, "row_factory": dict_row, "prepare_threshold": 1}
        self._pool = ConnectionPool(database_url, min_size=THREADS, max_size=THREADS, kwargs=options, open=True)
        self._completed = completed
        # an end is awaited one by one in each thread: nothing to linger for
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "linger.ms": 0})
        threading.Thread(target=self._deliver, daemon=True).start()

    def run(self, *parts: Step) -> None:
        """Do these in one transaction."""
        with self._pool.connection() as connection:
            for part in parts:
                _run(connection, part)

    def say_completed(self, checkout_id: str) -> None:
        """Publish the end; returns when the broker has it, or raises PublishError."""
        reported = threading.Event()
        errors: list[KafkaError] = []

        def report(error: KafkaError | None, _message: Message) -> None:
            errors.extend([error] if error else [])
            reported.set()

        value = json.dumps({"checkout_id": checkout_id})
        self._producer.produce(self._completed, value, checkout_id, on_delivery=report)
        if not reported.wait(PUBLISH_S) or errors:
            raise PublishError(f"{checkout_id}: {errors or 'no answer'}")

    def _deliver(self) -> None:
        while True:
            self._producer.poll(1.0)


def _run(connection: Connection, step: Step) -> None:
    try:
        statement, arguments = next(step)
        while True:
            cursor = connection.execute(statement, arguments)
            statement, arguments = step.send(cursor.fetchall() if cursor.description else [])
    except StopIteration:
        return


def define(shop: Shop, bootstrap_servers: str, prefix: str) -> None:
    """The workflow and its steps."""
    accept = _step("accept", shop, steps.accept)
    reserve = _step("reserve", shop, steps.reserve)
    authorize = _step("authorize", shop, steps.expect_payment, steps.authorize)
    create_order = _step("create_order", shop, steps.create_order)
    confirm_reservation = _step("confirm_reservation", shop, steps.commit_stock)
    capture = _step("capture", shop, steps.capture)

    @DBOS.step(name="complete")
    def complete(heard: Json) -> None:
        shop.run(steps.complete(heard))
        shop.say_completed(heard["checkout_id"])

    @DBOS.kafka_consumer(
        config={"bootstrap.servers": bootstrap_servers, "group.id": f"{prefix}checkouts"},
        topics=[f"{prefix}{steps.REQUESTED}"],
        batch_size=1,
        queue_name=QUEUE,
    )
    @DBOS.workflow(name="checkout")
    def checkout(message: KafkaMessage) -> None:
        heard = json.loads(message.value)
        for step in (accept, reserve, authorize, create_order, confirm_reservation, capture, complete):
            step(heard)


def _step(name: str, shop: Shop, *parts: Callable[[Json], Step]) -> Callable[[Json], None]:
    def step(heard: Json) -> None:
        shop.run(*(part(heard) for part in parts))

    recorded: Callable[[Json], None] = DBOS.step(name=name)(step)
    return recorded


def main() -> None:
    """Work until SIGTERM."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    bootstrap_servers, prefix = os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["TOPIC_PREFIX"]
    shop = Shop(os.environ["SHOP_DATABASE"], bootstrap_servers, f"{prefix}{steps.COMPLETED}")
    config: DBOSConfig = {
        "name": "checkouts",
        "system_database_url": os.environ["SYSTEM_DATABASE"],
        "executor_id": os.environ["SERVICE"],
        # the same in all processes: they share the queue
        "application_version": "1",
        "log_level": "WARNING",
        "max_executor_threads": THREADS,
    }
    DBOS(config=config)
    define(shop, bootstrap_servers, prefix)
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=TAKEN, polling_interval_sec=POLL_S)
    stopped.wait()
    DBOS.destroy()


if __name__ == "__main__":
    main()
