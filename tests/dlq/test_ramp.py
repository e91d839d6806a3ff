"""The ramp as a table of numbers, and the bucket that keeps its rate."""

from dataclasses import replace

import pytest

from dlq.ramp import LAG_LIMIT, SLOWEST, STAGE_S, STAGES, Bucket, Ramp, Seen, Stop


def seen(at_s: float, sent: int, answered: int, failed_again: int = 0, lag: int | None = None) -> Seen:
    return Seen(at_s=at_s, sent=sent, answered=answered, failed_again=failed_again, lag=lag)


def rate_after(ramp: Ramp, *observations: Seen) -> float | str:
    """The rate in the end, or why it stopped."""
    for observation in observations:
        found = ramp.next(observation)
        if isinstance(found, Stop):
            return found.why
        ramp = found
    return ramp.rate


def test_every_stage_follows_when_outcomes_come_back_well() -> None:
    ramp, at_s, sent, rates = Ramp(), 0.0, 0, []
    for _ in range(5):
        rates.append(ramp.rate)
        at_s, sent = at_s + STAGE_S, sent + int(ramp.rate * STAGE_S)
        found = ramp.next(seen(at_s, sent, sent))
        assert isinstance(found, Ramp)
        ramp = found
    assert rates == [1, 5, 25, 125, 125]
    assert tuple(rates[:4]) == STAGES


@pytest.mark.parametrize(
    ("observation", "rate"),
    [
        (seen(STAGE_S, 20, 20), 25),  # all answered
        (seen(STAGE_S - 0.1, 20, 20), 5),  # the stage isn't over
        (seen(STAGE_S, 20, 16), 25),  # the last second's are not due yet
        (seen(STAGE_S, 20, 11), 5),  # too few answers to go on
        (seen(STAGE_S, 20, 0), 5),  # nobody answers: no faster
        (seen(STAGE_S, 20, 20, 2), 25),  # exactly the budget
        (seen(STAGE_S, 20, 20, 3), 2.5),  # past the budget
        (seen(0.5, 20, 20, 3), 2.5),  # ... which is seen at once
        (seen(STAGE_S, 20, 20, 4), 2.5),  # exactly twice the budget
        (seen(STAGE_S, 4, 4, 4), 25),  # four outcomes say nothing
        (seen(0.5, 20, 20, 0, lag=100 + LAG_LIMIT), 5),  # lag grew to its limit
        (seen(0.5, 20, 20, 0, lag=101 + LAG_LIMIT), 2.5),  # ... and past it
        (seen(STAGE_S, 20, 20, 0, lag=None), 25),  # a lag that can't be told holds nobody up
    ],
)
def test_an_observation_leads_to_a_rate(observation: Seen, rate: float) -> None:
    assert rate_after(Ramp(rate=5, lag_before=100), observation) == rate


def test_more_than_twice_the_budget_ends_it() -> None:
    assert rate_after(Ramp(rate=5), seen(0.1, 20, 20, 5)) == ("25 % of the outcomes failed again, more than twice 10 %")
    assert rate_after(Ramp(rate=5, budget=0.5), seen(0.1, 20, 20, 5)) == 5


def test_a_rate_is_halved_once_and_then_given_a_stages_time() -> None:
    bad = seen(1.0, 20, 20, 3)
    assert rate_after(Ramp(rate=8), bad, replace(bad, at_s=1.1), replace(bad, at_s=STAGE_S + 0.9)) == 4
    assert rate_after(Ramp(rate=8), bad, replace(bad, at_s=STAGE_S + 1)) == 2


def test_the_rate_never_falls_to_nothing() -> None:
    bad = [seen(STAGE_S * n, 20, 20, 3) for n in range(1, 20)]
    assert rate_after(Ramp(), *bad) == SLOWEST


def test_it_climbs_again_when_the_share_is_well_again() -> None:
    assert rate_after(Ramp(rate=5), seen(1, 20, 20, 3), seen(1 + STAGE_S, 30, 30, 3)) == 5


def test_a_lag_that_stays_is_the_new_measure() -> None:
    lag = 2 * LAG_LIMIT
    first, later = seen(1, 20, 20, 0, lag), seen(1 + STAGE_S, 60, 60, 0, lag)
    assert rate_after(Ramp(rate=50, lag_before=0), first, later) == 125


def test_a_cap_is_never_passed() -> None:
    assert rate_after(Ramp(cap=3), seen(STAGE_S, 4, 4), seen(2 * STAGE_S, 16, 16)) == 3


def test_a_bucket_gives_its_rate_and_no_more() -> None:
    bucket = Bucket(rate=10, at_s=0, burst=2)
    given = sum(bucket.take(100, at_s=tick / 100) for tick in range(1001))
    assert given in (100, 101)  # one at once, then ten a second for ten seconds; the last one is a matter of rounding


@pytest.mark.parametrize(("burst", "given"), [(1, 1), (5, 5), (100, 51)])
def test_after_a_pause_a_bucket_gives_at_most_its_burst(burst: float, given: int) -> None:
    assert Bucket(rate=5, at_s=0, burst=burst).take(100, at_s=10) == given


def test_a_bucket_says_how_long_to_wait() -> None:
    bucket = Bucket(rate=4, at_s=0)
    assert bucket.take(1, at_s=0) == 1
    assert bucket.wait_s() == pytest.approx(0.25)
    assert bucket.take(1, at_s=0.24) == 0
    assert bucket.take(1, at_s=0.25) == 1


def test_a_bucket_changes_its_pace() -> None:
    bucket = Bucket(rate=1, at_s=0)
    bucket.take(1, at_s=0)
    bucket.pace(100, burst=20, at_s=0)
    assert bucket.take(100, at_s=0.1) == 10
