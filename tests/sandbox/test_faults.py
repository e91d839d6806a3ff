"""Faults on demand: what the caller sees, what took place, and what the key says afterwards."""

import http.client
import json
import time
from typing import Any

import pytest

from .driving import Provider, fresh, wait_until

LOST = (http.client.RemoteDisconnected, ConnectionResetError)


def lookup(provider: Provider, checkout_id: str) -> Any:
    answered = provider.get(f"/v1/idempotency-keys/checkout%3A{checkout_id}%3Aauth")
    return answered.body if answered.status == 200 else None


def test_latency_delays_the_answer(provider: Provider) -> None:
    begun = time.monotonic()
    assert provider.authorize(fresh("checkout"), fault="latency:300").status == 200
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_has_no_effect_and_is_not_stored(provider: Provider, status: int) -> None:
    checkout_id = fresh("checkout")
    assert provider.authorize(checkout_id, fault=f"error:{status}").status == status
    assert provider.effects_of(checkout_id) == []
    assert lookup(provider, checkout_id) is None
    again = provider.authorize(checkout_id)
    assert (again.status, again.replayed) == (200, False)


def test_an_error_after_the_effect_is_replayed_while_the_lookup_tells_the_truth(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    first = provider.authorize(checkout_id, fault="error_after:500")
    again = provider.authorize(checkout_id)
    assert (first.status, again.status, again.replayed) == (500, 500, True)
    found = lookup(provider, checkout_id)
    assert (found["state"], found["status"]) == ("completed", 500)
    assert provider.payment(found["payment_id"])["status"] == "authorized"
    assert provider.effects_of(checkout_id) == ["authorized"]


def test_a_reset_before_has_no_effect(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    with pytest.raises(ConnectionResetError):
        provider.authorize(checkout_id, fault="reset_before")
    assert provider.effects_of(checkout_id) == []
    assert not provider.authorize(checkout_id).replayed


@pytest.mark.parametrize("fault", ["reset_after", "lost_answer"])
def test_an_answer_that_is_lost_can_be_had_again_with_the_key(provider: Provider, fault: str) -> None:
    checkout_id = fresh("checkout")
    with pytest.raises(LOST):
        provider.authorize(checkout_id, fault=fault)
    assert provider.effects_of(checkout_id) == ["authorized"]
    again = provider.authorize(checkout_id)
    assert (again.status, again.replayed) == (200, True)
    assert provider.effects_of(checkout_id) == ["authorized"]


def test_a_reset_is_a_reset_and_a_lost_answer_an_orderly_end(provider: Provider) -> None:
    with pytest.raises(ConnectionResetError, match="reset by peer"):
        provider.authorize(fresh("checkout"), fault="reset_after")
    with pytest.raises(http.client.RemoteDisconnected):
        provider.authorize(fresh("checkout"), fault="lost_answer")


def test_a_hang_never_answers_and_has_no_effect(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    with pytest.raises(TimeoutError):
        provider.authorize(checkout_id, fault="hang", deadline_s=0.4)
    assert provider.effects_of(checkout_id) == []
    again = provider.authorize(checkout_id)
    assert (again.status, again.replayed) == (200, False)


@pytest.mark.parametrize("operation", ["capture", "void", "refund"])
def test_every_operation_can_lose_its_answer(provider: Provider, operation: str) -> None:
    payment_id, key = provider.authorized(), fresh("key")
    if operation == "refund":
        provider.act("capture", payment_id, 1000)
    amount_minor = None if operation == "void" else 1000
    with pytest.raises(LOST):
        provider.act(operation, payment_id, amount_minor, key, fault="lost_answer")
    again = provider.act(operation, payment_id, amount_minor, key)
    assert (again.status, again.replayed) == (200, True)


def test_several_faults_come_together(provider: Provider) -> None:
    begun = time.monotonic()
    assert provider.authorize(fresh("checkout"), fault="latency:100, latency:100,error:502").status == 502
    assert time.monotonic() - begun >= 0.2


def test_a_lookup_can_fail_too(provider: Provider) -> None:
    payment_id = provider.authorized()
    assert provider.get(f"/v1/authorizations/{payment_id}", fault="error:503").status == 503
    assert provider.get(f"/v1/authorizations/{payment_id}", fault="error_after:500").status == 500
    with pytest.raises(LOST):
        provider.get(f"/v1/authorizations/{payment_id}", fault="lost_answer")


@pytest.mark.parametrize(
    "fault", ["explode", "latency", "latency:60001", "error:404", "hang:5", "error:", "latency:-1"]
)
def test_an_unknown_fault_is_named(provider: Provider, fault: str) -> None:
    answered = provider.authorize(fresh("checkout"), fault=fault)
    assert answered.status == 400
    assert "known are" in answered.body["error"]["message"]


def test_a_rule_meets_its_operation_only_and_so_many_times(provider: Provider) -> None:
    provider.set_faults({"fault": "error:503", "operation": "capture", "times": 2})
    payment_id, key = provider.authorized(), fresh("key")
    statuses = [provider.act("capture", payment_id, 1000, key).status for _ in range(3)]
    assert statuses == [503, 503, 200]
    (rule,) = provider.get("/v1/faults").body["rules"]
    assert (rule["fault"], rule["operation"], rule["times"], rule["applied"]) == ("error:503", "capture", 2, 2)


def test_a_rule_can_mean_one_checkout_in_all_its_operations(provider: Provider) -> None:
    mine, other = fresh("checkout"), fresh("checkout")
    ids = {checkout_id: provider.authorize(checkout_id).body["payment_id"] for checkout_id in (mine, other)}
    provider.set_faults({"fault": "error:500", "checkout_id": mine})
    assert provider.act("capture", ids[mine], 1000).status == 500
    assert provider.get(f"/v1/authorizations/{ids[mine]}").status == 500
    assert provider.get(f"/v1/idempotency-keys/checkout%3A{mine}%3Aauth").status == 500
    assert provider.authorize(mine).status == 500
    assert provider.act("capture", ids[other], 1000).status == 200
    assert provider.get(f"/v1/authorizations/{ids[other]}").status == 200


def test_a_random_rule_repeats_itself_by_its_seed(provider: Provider) -> None:
    def struck(seed: int) -> list[int]:
        provider.set_faults({"fault": "error:500", "operation": "lookup", "probability": 0.5, "seed": seed})
        return [provider.get("/v1/authorizations/pay_nope").status for _ in range(30)]

    first = struck(7)
    assert set(first) == {404, 500}
    assert struck(7) == first
    assert struck(8) != first


def test_a_rule_of_probability_zero_never_strikes(provider: Provider) -> None:
    provider.set_faults({"fault": "error:500", "probability": 0})
    assert [provider.authorize(fresh("checkout")).status for _ in range(10)] == [200] * 10


def test_faults_never_meet_the_auditor_and_end_when_told(provider: Provider) -> None:
    provider.set_faults({"fault": "error:500"})
    for path in ("/v1/ledger", "/v1/payments", "/healthz", "/v1/faults"):
        assert provider.get(path).status == 200
    assert provider.send("DELETE", "/v1/faults").body == {"rules": []}
    assert provider.authorize(fresh("checkout")).status == 200


def test_every_fault_applied_is_one_line_in_the_log(provider: Provider) -> None:
    checkout_id = fresh("checkout")
    provider.authorize(checkout_id, fault="latency:1,error:500")
    provider.authorize(checkout_id)
    wait_until(lambda: checkout_id in provider.log, "the log line")
    lines = [line for line in provider.log.splitlines() if checkout_id in line]
    assert len(lines) == 2
    assert "fault=latency:1" in lines[0]
    assert "fault=error:500" in lines[1]


@pytest.mark.parametrize(
    "rules",
    [
        {},
        [1],
        [{}],
        [{"fault": 5}],
        [{"fault": "explode"}],
        [{"fault": "hang", "operation": "steal"}],
        [{"fault": "hang", "probability": 2}],
        [{"fault": "hang", "probability": "often"}],
        [{"fault": "hang", "times": -1}],
        [{"fault": "hang", "seed": 1.5}],
        [{"fault": "hang", "checkout_id": 5}],
        [{"fault": "hang", "sometimes": True}],
        [{"fault": "hang"}] * 101,
    ],
)
def test_a_bad_rule_is_refused_and_changes_nothing(provider: Provider, rules: Any) -> None:
    provider.set_faults({"fault": "latency:1"})
    assert provider.send("PUT", "/v1/faults", json.dumps(rules).encode()).status == 400
    assert len(provider.get("/v1/faults").body["rules"]) == 1
