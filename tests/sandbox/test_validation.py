"""Bad requests: 400 with one clear sentence, never a 500, and never a card number kept."""

import gzip
import json
import socket
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from .driving import Provider, fresh

GOOD: dict[str, Any] = {"checkout_id": "c", "amount_minor": 1, "currency": "EUR", "payment_method": "tok_ok"}
CARD = "4242424242424242"


def without(name: str) -> dict[str, Any]:
    return {field: value for field, value in GOOD.items() if field != name}


BODIES: list[tuple[bytes, str]] = [
    (b"", "Missing"),
    (b"{", "JSON"),
    (b"\xff\xfe", "JSON"),
    (b'"text"', "object"),
    (b"[" * 60_000, "nested"),
    (b'{"amount_minor": NaN}', "JSON"),
    (b'{"amount_minor": ' + b"9" * 5000 + b"}", "JSON"),
    *[(json.dumps(without(name)).encode(), name) for name in GOOD],
    *[
        (json.dumps(GOOD | wrong).encode(), next(iter(wrong)))
        for wrong in (
            {"amount_minor": 0},
            {"amount_minor": -5},
            {"amount_minor": 10.0},
            {"amount_minor": "10"},
            {"amount_minor": True},
            {"amount_minor": None},
            {"amount_minor": 10**12},
            {"amount_minor": 2**63 + 2},
            {"currency": "eur"},
            {"currency": "EURO"},
            {"currency": "ÉUR"},
            {"currency": 978},
            {"checkout_id": ""},
            {"checkout_id": "x" * 201},
            {"checkout_id": "a\nb"},
            {"checkout_id": "\ud800"},
            {"checkout_id": {"id": 1}},
            {"customer": 7},
            {"payment_method": None},
            {"surprise": 1},
        )
    ],
]


@pytest.mark.parametrize(("body", "named"), BODIES)
def test_a_bad_body_is_a_400_that_names_what_is_wrong(provider: Provider, body: bytes, named: str) -> None:
    answered = provider.send("POST", "/v1/authorizations", body, {"Idempotency-Key": fresh("key")})
    assert answered.status == 400
    assert named in answered.body["error"]["message"]
    assert answered.body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("capture", {}),
        ("capture", {"amount_minor": 0}),
        ("refund", {"amount_minor": "1"}),
        ("refund", {}),
        ("void", {"amount_minor": 1}),
        ("void", [1]),
    ],
)
def test_a_bad_body_of_the_other_operations_is_a_400_too(provider: Provider, operation: str, body: Any) -> None:
    payment_id = provider.authorized()
    assert provider.post(f"/v1/authorizations/{payment_id}/{operation}", body, fresh("key")).status == 400
    assert provider.kinds(payment_id) == ["authorized"]


def test_a_void_needs_no_body(provider: Provider) -> None:
    path = f"/v1/authorizations/{provider.authorized()}/void"
    assert provider.send("POST", path, None, {"Idempotency-Key": fresh("key")}).status == 200


@pytest.mark.parametrize("key", [None, "", "x" * 256, "tab\there", f"checkout:{CARD}:auth"])
def test_a_post_needs_a_proper_key(provider: Provider, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    answered = provider.send("POST", "/v1/authorizations", json.dumps(GOOD).encode(), headers)
    assert answered.status == 400
    assert "Idempotency-Key" in answered.body["error"]["message"]


def test_a_body_of_64_kib_is_read_and_a_larger_one_is_not(provider: Provider) -> None:
    headers = {"Idempotency-Key": fresh("key")}
    body = json.dumps(GOOD | {"checkout_id": fresh("checkout")}).encode()
    fits = provider.send("POST", "/v1/authorizations", body.ljust(64 * 1024), headers)
    larger = provider.send("POST", "/v1/authorizations", body.ljust(64 * 1024 + 1), headers)
    assert fits.status == 200
    assert (larger.status, larger.code) == (400, "body_too_large")


def test_a_compressed_body_is_not_json(provider: Provider) -> None:
    headers = {"Idempotency-Key": fresh("key"), "Content-Encoding": "gzip"}
    for content in (json.dumps(GOOD).encode(), b" " * 50_000_000):
        assert provider.send("POST", "/v1/authorizations", gzip.compress(content), headers).status == 400


HEAD = b"POST /v1/authorizations HTTP/1.1\r\nHost: x\r\nIdempotency-Key: raw\r\n"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"4242424242424242\r\n\r\n", b""),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"ZZZ\r\n4242424242424242\r\n"),
        (HEAD + b"X: 4242424242424242" + b"1" * 10_000 + b"\r\n\r\n", b""),
    ],
)
def test_broken_http_is_a_400_and_not_logged(provider: Provider, first: bytes, then: bytes) -> None:
    with socket.create_connection(("127.0.0.1", provider.port), timeout=5) as connection:
        connection.sendall(first)
        assert provider.get("/healthz").status == 200  # by now the first part was read
        connection.sendall(then)
        assert connection.recv(100).split()[1] == b"400"
    assert CARD not in provider.log


def test_a_client_that_leaves_in_the_middle_of_its_body_disturbs_nobody(provider: Provider) -> None:
    with socket.create_connection(("127.0.0.1", provider.port), timeout=5) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
    assert provider.authorize(fresh("checkout")).status == 200


@pytest.mark.parametrize("query", ["after=x", "limit=0", "limit=1001", "after=-1", "after=" + "9" * 30, "limit=٣"])
@pytest.mark.parametrize("path", ["/v1/ledger", "/v1/payments"])
def test_a_bad_page_is_a_400(provider: Provider, path: str, query: str) -> None:
    assert provider.get(f"{path}?{query.replace('٣', '%D9%A3')}").status == 400


def test_an_unknown_route_answers_json(provider: Provider) -> None:
    assert provider.get("/v2/charges").code == "no_such_route"
    assert provider.send("PATCH", "/v1/authorizations").status == 405


@pytest.mark.parametrize("path", ["/v1/authorizations/%00", "/v1/idempotency-keys/%ED%A0%80", "/v1/authorizations/%FF"])
def test_a_strange_name_in_a_path_is_not_found(provider: Provider, path: str) -> None:
    assert provider.get(path).status == 404


@pytest.mark.parametrize(
    "where",
    [
        {"checkout_id": f"order {CARD}"},
        {"customer": "4242 4242 4242 4242"},
        {"customer": "3782-822463-10005"},
        {"payment_method": f"tok_{CARD}"},
        {"amount_minor": int(CARD)},
        {"card": {"number": [CARD]}},
        {CARD: 1},
        {"customer": "\\u0034242424242424242"},
    ],
)
def test_a_card_number_is_refused_and_kept_nowhere(provider: Provider, where: dict[str, Any]) -> None:
    body = json.dumps(GOOD | where).replace("\\\\u0034", "\\u0034").encode()
    answered = provider.send("POST", "/v1/authorizations", body, {"Idempotency-Key": fresh("key")})
    assert (answered.status, answered.code) == (400, "card_number")
    kept = (CARD.encode(), b"4242 4242", b"3782-822463")
    files = [path.read_bytes() for path in provider.directory.iterdir()]
    assert not any(number in content for number in kept for content in (*files, answered.raw))


def test_digits_that_are_no_card_pass(provider: Provider) -> None:
    answered = provider.authorize("order-4242424242424241")
    assert answered.status == 200
    with closing(sqlite3.connect(provider.ledger)) as ledger:
        (found,) = ledger.execute("SELECT COUNT(*) FROM payments WHERE checkout_id LIKE 'order-%'").fetchone()
    assert found == 1
