"""What one answer of the registry means: one id's matter, or that it is away. Faults between us and a real one."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from confluent_kafka.schema_registry import Schema
from uuid_utils.compat import uuid7

from schemas.codec import Codec, RegistryUnavailableError, SchemaPendingError, UndecodableError, avsc
from schemas.envelope import Envelope
from schemas.events import CheckoutCancelRequested
from schemas.registry_client import registry_client
from tests.registry_proxy import UNKNOWN, Answer, RegistryProxy, registry_proxy
from tests.servers import TestServers

EVENT = "checkout.cancel_requested"
NOT_ASKED = 7_000_000


@pytest.fixture
def proxy(servers: TestServers) -> Iterator[RegistryProxy]:
    with registry_client(servers.registry) as client:
        client.register_schema(f"{EVENT}-value", Schema(avsc(EVENT), "AVRO"))
    with registry_proxy(servers.registry) as found:
        yield found


@pytest.fixture
def codec(proxy: RegistryProxy) -> Iterator[Codec]:
    with closing(Codec(proxy.url)) as made:
        made.warm_up([EVENT])
        yield made


@pytest.fixture
def cold(proxy: RegistryProxy) -> Iterator[Codec]:
    """One that has asked for nothing yet."""
    with closing(Codec(proxy.url)) as made:
        yield made


def wish(codec: Codec) -> bytes:
    event = CheckoutCancelRequested(checkout_id="c-1", reason="why not")
    return codec.encode(Envelope(event, uuid7(), datetime.now(UTC)))


def id_of(value: bytes) -> int:
    return int.from_bytes(value[1:5], "big")


HTML = Answer(404, b"<html>default backend - 404</html>", {"Content-Type": "text/html"})
REFUSALS = {
    "unknown": (UNKNOWN, "unknown to the registry"),
    "a proxy's page": (HTML, "HTTP 404, and not in the registry's words"),
    "401": (Answer(401), "HTTP 401"),
    "403": (Answer(403, b'{"error_code": 40301, "message": "no"}'), "HTTP 403: no"),
    "422": (Answer(422), "HTTP 422"),
    "500": (Answer(500), "HTTP 500"),
    "no JSON": (Answer(200, b"nothing"), "can't be read"),
    "no schema": (Answer(200, b'{"schema": 5}'), "can't be read"),
    "deep": (Answer(200, b"[" * 5000), "can't be read"),
    "a redirect": (Answer(302, b"", {"Location": "http://127.0.0.1:1/"}), "HTTP 302"),
    "endless": (Answer(200, b" " * (2 * 1024 * 1024)), "more than 1 MiB"),
}


@pytest.mark.parametrize(("answer", "said"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_for_one_id_is_that_messages_matter(
    proxy: RegistryProxy, codec: Codec, answer: Answer, said: str
) -> None:
    value = wish(codec)
    proxy.faults[NOT_ASKED] = answer
    with pytest.raises(SchemaPendingError, match=f"schema id {NOT_ASKED}: .*{said}") as pending:
        codec.decode(EVENT, b"\0" + NOT_ASKED.to_bytes(4, "big") + value[5:])
    assert pending.value.asked
    assert codec.decode(EVENT, value).event.checkout_id == "c-1"


def test_a_bad_answer_is_remembered_for_a_moment(proxy: RegistryProxy, codec: Codec) -> None:
    value = b"\0" + NOT_ASKED.to_bytes(4, "big") + b"x"
    proxy.faults[NOT_ASKED] = UNKNOWN
    for _ in range(50):
        with pytest.raises(SchemaPendingError):
            codec.decode(EVENT, value)
    assert proxy.asked.count(NOT_ASKED) == 1


@pytest.mark.parametrize("answer", [Answer(401), Answer(500), HTML, UNKNOWN], ids=["401", "500", "html", "unknown"])
def test_a_registry_that_refuses_everything_is_away(
    proxy: RegistryProxy, codec: Codec, cold: Codec, answer: Answer
) -> None:
    value = wish(codec)
    proxy.faults[0] = answer
    with pytest.raises(RegistryUnavailableError):
        cold.decode(EVENT, value)
    # who has looked them up at its start needs nobody
    assert codec.decode(EVENT, value).event.checkout_id == "c-1"
    proxy.faults.clear()
    assert cold.decode(EVENT, value).event.checkout_id == "c-1"


def test_a_registry_that_wants_to_be_left_alone_is(proxy: RegistryProxy, codec: Codec, cold: Codec) -> None:
    value = wish(codec)
    proxy.faults[id_of(value)] = Answer(429, b"", {"Retry-After": "30"})
    for _ in range(3):
        with pytest.raises(SchemaPendingError) as pending:
            cold.decode(EVENT, value)
        assert not pending.value.asked
    assert proxy.asked.count(id_of(value)) == 1


def test_unknown_ids_take_a_share_of_the_time_only(proxy: RegistryProxy, codec: Codec) -> None:
    refused = 0
    for number in range(1500):
        try:
            codec.decode(EVENT, b"\0" + (NOT_ASKED + number).to_bytes(4, "big") + b"x")
        except SchemaPendingError as pending:
            refused += not pending.asked
    assert refused > 0
    assert len(set(proxy.asked)) < 1500 - refused + 5


def test_what_is_known_from_the_start_is_read_beside_a_flood_of_unknown_ids(codec: Codec) -> None:
    value = wish(codec)
    for number in range(2500):
        with pytest.raises(SchemaPendingError):
            codec.decode(EVENT, b"\0" + (NOT_ASKED + number).to_bytes(4, "big") + b"x")
    assert codec.decode(EVENT, value).event.checkout_id == "c-1"


def test_refused_schemas_push_out_none_that_is_used(proxy: RegistryProxy, codec: Codec) -> None:
    value = wish(codec)
    other = Answer(200, b'{"schema": "{\\"type\\": \\"record\\", \\"name\\": \\"x\\", \\"fields\\": []}"}')
    for number in range(1200):
        proxy.faults[NOT_ASKED + number] = other
        codec._source._spent_s = 0.0
        with pytest.raises(UndecodableError):
            codec.decode(EVENT, b"\0" + (NOT_ASKED + number).to_bytes(4, "big") + b"x")
    proxy.faults[0] = Answer(500)
    assert codec.decode(EVENT, value).event.checkout_id == "c-1"


def test_a_schema_of_another_event_is_refused_once_and_for_all(proxy: RegistryProxy, codec: Codec) -> None:
    value = wish(codec)
    for _ in range(3):
        with pytest.raises(UndecodableError, match=r"it is checkout\.cancel_requested, not checkout\.requested"):
            codec.decode("checkout.requested", value)
    assert proxy.asked.count(id_of(value)) == 1


def test_a_registry_that_is_gone_is_away(servers: TestServers) -> None:
    with closing(Codec("http://127.0.0.1:1/apis/ccompat/v7")) as codec, pytest.raises(RegistryUnavailableError):
        codec.decode(EVENT, b"\0\0\0\0\x01x")
    assert servers.registry
