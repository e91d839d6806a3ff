"""The tally of a run counts ends, not deliveries."""

from uuid import UUID

from compose.ends import End
from compose.sample import DEAD_LETTER, KINDS
from compose.tally import Tally


def tally_of(*ends: End) -> Tally:
    tally = Tally()
    tally.expect("c-1", KINDS[0])
    for end in ends:
        tally.hear(end)
    return tally


def test_an_end_that_is_delivered_twice_is_one_end() -> None:
    end = End(UUID(int=1), "c-1", "completed")
    assert tally_of(end, end).as_expected


def test_a_second_end_is_not_as_expected() -> None:
    assert not tally_of(End(UUID(int=1), "c-1", "completed"), End(UUID(int=2), "c-1", "completed")).as_expected


def test_another_runs_end_does_not_count() -> None:
    assert not tally_of(End(UUID(int=1), "c-2", "completed")).all_ended


def test_the_letter_of_a_step_that_was_given_up_is_no_second_end() -> None:
    failed, letter = End(UUID(int=1), "c-1", KINDS[0].expected), End(UUID(int=2), "c-1", DEAD_LETTER)
    assert tally_of(failed, letter).as_expected
    assert tally_of(letter, failed).as_expected
    assert not tally_of(letter).all_ended


def test_a_message_that_is_no_checkout_ends_as_a_dead_letter() -> None:
    (kind,) = {kind.title: kind for kind in KINDS if kind.expected == DEAD_LETTER}.values()
    tally = Tally()
    tally.expect("c-1", kind)
    assert not tally.all_ended
    tally.hear(End(UUID(int=1), "c-1", DEAD_LETTER))
    assert tally.as_expected
    assert tally.checkouts() == []


def test_a_delay_is_no_end() -> None:
    assert not tally_of().all_ended
    assert not tally_of(End(UUID(int=1), "c-1", "PAYMENT_TIMED_OUT")).as_expected
