"""A transactional outbox and inbox for Postgres and Kafka; usable by any service.

    import outbox

    with Session(engine) as session, session.begin():
        session.add(order)
        outbox.add(session, outbox.Record(topic="shop.order_placed", key="o-1", payload=b"..."))

A `Relay` publishes what was committed; `inbox` drops what was handled already.
"""

from outbox.add import Record, add
from outbox.ddl import create_tables
from outbox.relay import Relay
from outbox.wake import Wake

__all__ = ["Record", "Relay", "Wake", "add", "create_tables"]
