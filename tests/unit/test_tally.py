"""The tally of a run counts ends, not deliveries."""

from uuid import UUID

from compose.ends import End
from compose.sample import KINDS
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
