"""One key, one effect: replays, conflicts, and what is not stored."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import StartProvider
from .driving import Provider, fresh, wait_until


def lookup(provider: Provider, key: str) -> dict[str, object]:
    answered = provider.get(f"/v1/idempotency-keys/{key.replace(':', '%3A')}")
    return dict(answered.body) if answered.status == 200 else {}


@pytest.mark.parametrize("token", ["tok_ok", "tok_decline_insufficient_funds"])
def test_the_same_request_again_gets_the_stored_answer_byte_for_byte(provider: Provider, token: str) -> None:
    checkout_id = fresh("checkout")
    first = provider.authorize(checkout_id, token)
    second = provider.authorize(checkout_id, token)
    assert not first.replayed
    assert second.replayed
    assert (second.status, second.raw) == (first.status, first.raw)
    assert len(provider.effects_of(checkout_id)) == 1


@pytest.mark.parametrize(("operation", "amount_minor"), [("capture", 1000), ("void", None), ("refund", 1000)])
def test_every_operation_replays(provider: Provider, operation: str, amount_minor: int | None) -> None:
    payment_id = provider.authorized()
    if operation == "refund":
        provider.act("capture", payment_id, 1000)
    key = fresh("key")
    first = provider.act(operation, payment_id, amount_minor, key)
    second = provider.act(operation, payment_id, amount_minor, key)
    assert (first.status, second.status, second.replayed) == (200, 200, True)
    assert second.raw == first.raw
    assert provider.kinds(payment_id).count({"capture": "captured", "void": "voided"}.get(operation, "refunded")) == 1


def test_a_refusal_by_the_payments_state_is_stored_too(provider: Provider) -> None:
    payment_id, key = provider.authorized(), fresh("key")
    assert provider.act("refund", payment_id, 1000, key).code == "payment_not_captured"
    provider.act("capture", payment_id, 1000)
    again = provider.act("refund", payment_id, 1000, key)
    assert (again.code, again.replayed) == ("payment_not_captured", True)


def test_a_replay_shows_the_answer_of_then_not_the_state_of_now(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    first = provider.authorize(checkout_id)
    provider.act("void", first.body["payment_id"])
    assert provider.authorize(checkout_id).body["status"] == "authorized"


def test_spelling_the_same_json_otherwise_is_the_same_request(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    first = provider.authorize(checkout_id)
    body = (
        f'{{ "payment_method":"tok_ok", "customer" : "cus_1","currency":"EUR",'
        f'"amount_minor":1000, "checkout_id":"{checkout_id}" }}'
    )
    key = {"Idempotency-Key": f"checkout:{checkout_id}:auth"}
    assert provider.send("POST", "/v1/authorizations", body.encode(), key).raw == first.raw


def test_the_same_key_with_another_request_is_an_error(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    key = f"checkout:{checkout_id}:auth"
    payment_id = provider.authorize(checkout_id, amount_minor=1000).body["payment_id"]
    others = [
        provider.authorize(checkout_id, amount_minor=999),
        provider.act("capture", payment_id, 1000, key),
        provider.act("void", payment_id, None, key),
    ]
    assert [other.status for other in others] == [400, 400, 400]
    assert {other.body["error"]["type"] for other in others} == {"idempotency_error"}
    assert provider.kinds(payment_id) == ["authorized"]


def test_the_same_key_on_another_payment_is_an_error(provider: Provider) -> None:
    one, other, key = provider.authorized(), provider.authorized(), fresh("key")
    assert provider.act("capture", one, 1000, key).status == 200
    assert provider.act("capture", other, 1000, key).body["error"]["type"] == "idempotency_error"


def test_a_key_in_use_is_a_conflict_until_its_request_is_done(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    key = f"checkout:{checkout_id}:auth"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(provider.authorize, checkout_id, "tok_delay_1500")
        wait_until(lambda: lookup(provider, key).get("state") == "in_flight", "the first request to start")
        assert provider.effects_of(checkout_id) == []
        same = provider.authorize(checkout_id, "tok_delay_1500")
        other = provider.authorize(checkout_id, "tok_ok")
        assert (same.status, same.code) == (409, "idempotency_key_in_use")
        assert (other.status, other.body["error"]["type"]) == (400, "idempotency_error")
        assert first.result().status == 200
    again = provider.authorize(checkout_id, "tok_delay_1500", deadline_s=1.2)
    assert (again.replayed, again.raw) == (True, first.result().raw)
    assert provider.effects_of(checkout_id) == ["authorized"]


@pytest.mark.parametrize("token", ["tok_ok", "tok_delay_100"])
def test_fifty_at_once_with_one_key_have_one_effect(provider: Provider, token: str) -> None:
    checkout_id = fresh("checkout")
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: provider.authorize(checkout_id, token), range(50)))
    bodies = {answer.raw for answer in answers if answer.status == 200}
    assert {answer.status for answer in answers} <= {200, 409}
    assert len(bodies) == 1
    assert provider.effects_of(checkout_id) == ["authorized"]
    assert sum(not answer.replayed for answer in answers if answer.status == 200) == 1


def test_fifty_captures_and_voids_at_once_with_fifty_keys_end_in_one_of_them(provider: Provider) -> None:
    payment_id = provider.authorized()
    wishes = [("capture", 1000), ("void", None)] * 25
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda wish: provider.act(wish[0], payment_id, wish[1]), wishes))
    assert [answer.status for answer in answers].count(200) == 1
    assert provider.kinds(payment_id) in (["authorized", "captured"], ["authorized", "voided"])


def test_what_failed_validation_leaves_the_key_free(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    assert provider.authorize(checkout_id, amount_minor=0).status == 400
    assert provider.authorize(checkout_id, "tok_nonsense").status == 400
    assert lookup(provider, f"checkout:{checkout_id}:auth") == {}
    honest = provider.authorize(checkout_id)
    assert (honest.status, honest.replayed) == (200, False)


def test_a_command_on_a_payment_that_does_not_exist_leaves_the_key_free(provider: Provider) -> None:
    key = fresh("key")
    assert provider.act("void", "pay_nope", key=key).status == 404
    assert provider.act("void", provider.authorized(), key=key).status == 200


def test_a_lookup_by_key_tells_what_became_of_the_request(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    key = f"checkout:{checkout_id}:auth"
    answered = provider.authorize(checkout_id)
    assert lookup(provider, key) == {
        "key": key,
        "state": "completed",
        "status": 200,
        "response": answered.body,
        "operation": "authorize",
        "payment_id": answered.body["payment_id"],
    }


def test_the_lookup_of_a_decline_shows_the_decline(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    declined = provider.authorize(checkout_id, "tok_decline_fraudulent")
    found = lookup(provider, f"checkout:{checkout_id}:auth")
    assert (found["status"], found["response"]) == (402, declined.body)


def test_a_key_is_forgotten_after_its_time(start_provider: StartProvider) -> None:
    provider = start_provider("--key-ttl-s", "0.2")
    first = provider.authorize("c1")
    wait_until(lambda: lookup(provider, "checkout:c1:auth") == {}, "the key to be forgotten")
    second = provider.authorize("c1")
    assert not second.replayed
    assert second.body["payment_id"] != first.body["payment_id"]
