"""When a message is tried again and when it is given up: tables of numbers."""

from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlq.letter import Disposition
from dlq.policy import FINAL, Again, Dead, FaultClass, Policy
from services.shell.settings import Settings, policy

from . import making as a

LIMITS: Final = {
    FaultClass.EARLY: 8,
    FaultClass.PROVIDER: 10,
    FaultClass.COMPENSATION: 20,
    FaultClass.BUG: 5,
    FaultClass.NOT_STORABLE: 5,
}
REGISTRY: Final = (FaultClass.SCHEMA, FaultClass.REGISTRY)
"""Not limited by attempts: what the registry does not give comes after a while, or not at all."""
POLICY: Final = Policy(attempts=LIMITS)
SLOW: Final = [kind for kind in LIMITS if kind is not FaultClass.EARLY]
DAY_S: Final = 86_400.0


def step(kind: FaultClass, attempts: int, age_s: float = 0.0, chance: float = 0.0) -> Again | Dead:
    """The next step of a message that first failed `age_s` ago."""
    return POLICY.next_step(kind, attempts, a.AT - timedelta(seconds=age_s), a.AT, chance)


@pytest.mark.parametrize("kind", SLOW)
def test_waits_grow_by_half_a_minute_up_to_five(kind: FaultClass) -> None:
    waits = [POLICY.wait_s(kind, attempts) for attempts in range(1, 13)]
    assert waits == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


def test_what_came_too_early_looks_again_soon_and_then_less_often() -> None:
    assert [POLICY.wait_s(FaultClass.EARLY, attempts) for attempts in range(1, 8)] == [1, 2, 4, 8, 15, 15, 15]
    assert POLICY.wait_s(FaultClass.EARLY, 10_000) == 15


@pytest.mark.parametrize(
    ("chance", "wait_s"), [(0.0, 30.0), (0.5, 31.5), (1.0, 33.0)], ids=["none", "half of it", "all of it"]
)
def test_chance_makes_a_wait_up_to_a_tenth_longer(chance: float, wait_s: float) -> None:
    assert POLICY.wait_s(FaultClass.PROVIDER, 1, chance) == pytest.approx(wait_s)
    assert step(FaultClass.PROVIDER, 1, chance=chance) == Again(a.AT + timedelta(seconds=wait_s))


@pytest.mark.parametrize(("kind", "limit"), LIMITS.items())
def test_each_class_has_a_limit_of_its_own(kind: FaultClass, limit: int) -> None:
    assert isinstance(step(kind, limit - 1), Again)
    for attempts in (limit, limit + 1):
        assert step(kind, attempts) == Dead(Disposition.RETRIES_EXHAUSTED)


FOR_GOOD: Final = {
    FaultClass.REFUSED: Disposition.FATAL,
    FaultClass.UNSAFE: Disposition.UNSAFE,
    FaultClass.UNDECODABLE: Disposition.UNDECODABLE,
}


@pytest.mark.parametrize(("kind", "disposition"), FOR_GOOD.items())
def test_what_trying_again_can_not_mend_is_dead_at_once(kind: FaultClass, disposition: Disposition) -> None:
    assert step(kind, 1) == Dead(disposition)


def test_every_class_is_either_final_or_has_a_limit() -> None:
    assert set(FINAL) == set(FOR_GOOD)
    assert set(FINAL) | set(LIMITS) | set(REGISTRY) == set(FaultClass)
    assert not set(FINAL) & set(LIMITS)


@pytest.mark.parametrize(
    ("age_s", "then"),
    [
        (0, Again(a.AT + timedelta(seconds=30))),
        (DAY_S - 30, Again(a.AT + timedelta(seconds=30))),
        (DAY_S - 29.999, Dead(Disposition.DEADLINE)),
        (2 * DAY_S, Dead(Disposition.DEADLINE)),
    ],
    ids=["young", "the next try is its last moment", "the next try would be too late", "long over"],
)
def test_what_would_be_tried_when_it_is_too_old_is_given_up_now(age_s: float, then: Again | Dead) -> None:
    assert step(FaultClass.PROVIDER, 1, age_s) == then


def test_exhausted_comes_before_too_old_and_final_before_both() -> None:
    assert step(FaultClass.PROVIDER, 10, 2 * DAY_S) == Dead(Disposition.RETRIES_EXHAUSTED)
    assert step(FaultClass.REFUSED, 10, 2 * DAY_S) == Dead(Disposition.FATAL)


policies = st.builds(
    Policy,
    first_s=st.floats(0.001, 1000),
    step_s=st.floats(0, 1000),
    most_s=st.floats(0.001, 5000),
    early_first_s=st.floats(0.001, 100),
    early_most_s=st.floats(0.001, 100),
    jitter=st.floats(0, 1),
    attempts=st.just(LIMITS),
)
chances = st.floats(0, 1)


@given(policies, st.sampled_from(list(LIMITS)), st.integers(1, 10_000), chances)
def test_waits_never_shrink_and_never_pass_the_longest(
    policy: Policy, kind: FaultClass, attempts: int, chance: float
) -> None:
    most = policy.early_most_s if kind is FaultClass.EARLY else policy.most_s
    this, following = (policy.wait_s(kind, n, chance) for n in (attempts, attempts + 1))
    assert 0 < this <= following <= most * (1 + policy.jitter) * (1 + 1e-9)
    assert policy.wait_s(kind, attempts) <= this


@given(policies, st.sampled_from([*FINAL, *LIMITS]), st.integers(1, 50), chances, st.floats(0, 3 * DAY_S))
def test_a_next_try_is_later_than_now_and_within_its_age(
    policy: Policy, kind: FaultClass, attempts: int, chance: float, age_s: float
) -> None:
    first = a.AT - timedelta(seconds=age_s)
    match policy.next_step(kind, attempts, first, a.AT, chance):
        case Again(at):
            assert a.AT < at <= first + timedelta(seconds=policy.max_age_s)
            assert attempts < LIMITS[kind]
        case Dead(disposition):
            assert disposition in Disposition


def test_the_settings_of_a_service_are_the_policy_that_is_promised() -> None:
    needed: dict[str, Any] = {
        "kafka_bootstrap_servers": "k",
        "schema_registry_url": "http://r",
        "database_url": "postgresql://d",
    }
    assert policy(Settings(**needed)) == POLICY


@pytest.mark.parametrize(
    ("age_s", "then"),
    [
        (0, Again(a.AT + timedelta(seconds=2))),
        (59.9, Again(a.AT + timedelta(seconds=2))),
        (60, Dead(Disposition.UNDECODABLE)),
    ],
)
def test_a_schema_that_the_registry_does_not_give_is_asked_for_a_minute(age_s: float, then: Again | Dead) -> None:
    assert step(FaultClass.SCHEMA, 2, age_s) == then


def test_a_registry_that_is_away_is_waited_for_as_long_as_anything_is() -> None:
    assert step(FaultClass.REGISTRY, 0, DAY_S / 2) == Again(a.AT + timedelta(seconds=15))
    assert step(FaultClass.REGISTRY, 0, DAY_S) == Dead(Disposition.DEADLINE)
