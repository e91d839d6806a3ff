"""When most of a partition fails it stops; one message tells whether it is better."""

from typing import Final

import pytest

from services.shell.flood import Flood, Partition

HERE: Final = ("checkout.failed", 0)
THERE: Final = ("checkout.failed", 1)


def feed(flood: Flood, outcomes: str, partition: Partition = HERE, first: int = 0) -> str:
    """What becomes of a row of messages: `.` is fine, `x` fails; told as `.`, `x` may fail, `S` stops."""
    told = ""
    for offset, outcome in enumerate(outcomes, start=first):
        if outcome == ".":
            flood.fine(partition, [offset])
            told += "."
        else:
            told += "x" if flood.may_fail(partition, offset) else "S"
    return told


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ("xxx", "xxx"),
        ("xxxx", "xxxS"),
        ("xxxxx", "xxxSS"),
        ("...xxx", "...xxx"),
        ("...xxxx", "...xxxx"),
        ("...xxxxx", "...xxxxS"),
        (".x.x.x.x.x.x", ".x.x.x.x.x.x"),
        ("xxx.", "xxx."),
        ("......xxxxx", "......xxxxS"),
        ("..........xxxxx", "..........xxxxS"),
    ],
    ids=[
        "few may fail",
        "more may not",
        "a stopped one stays stopped",
        "half of them may",
        "a little more than half is noticed at the next one",
        "most may not",
        "every second one may",
        "what is fine goes on",
        "only the newest count",
        "however many were fine before",
    ],
)
def test_a_partition_stops_when_most_of_its_newest_messages_fail(outcomes: str, told: str) -> None:
    assert feed(Flood(at_least=3, window=6), outcomes) == told


def test_a_window_is_never_too_small_for_its_rule() -> None:
    """Three failures of five are most; a window of one would never have held them."""
    assert feed(Flood(at_least=3, window=1), "..xxxx") == "..xxxS"


def test_without_a_limit_nothing_stops() -> None:
    assert feed(Flood(at_least=0, window=6), "x" * 1000) == "x" * 1000


def test_the_same_message_counts_once_however_often_its_batch_is_tried() -> None:
    flood = Flood(at_least=3, window=6)
    assert [feed(flood, "x", first=7) for _ in range(100)] == ["x"] * 100
    assert feed(flood, "xx", first=8) == "xx"
    assert feed(flood, "x", first=10) == "S"


def test_a_message_that_fails_again_is_among_the_newest() -> None:
    flood = Flood(at_least=3, window=6)
    assert feed(flood, "x.....") == "x....."
    feed(flood, "x", first=0)
    assert feed(flood, "xxx", first=6) == "xxx"
    assert feed(flood, "x", first=9) == "S"


def test_a_message_that_is_fine_at_its_second_try_is_fine() -> None:
    flood = Flood(at_least=3, window=6)
    assert feed(flood, "xxx") == "xxx"
    flood.fine(HERE, [1])
    assert feed(flood, "x", first=3) == "x"


def test_partitions_have_nothing_to_do_with_each_other() -> None:
    flood = Flood(at_least=3, window=6)
    assert feed(flood, "xxxx") == "xxxS"
    assert feed(flood, "xxxx", THERE) == "xxxS"
    assert feed(flood, "....", THERE) == "...."
    assert feed(flood, "x", first=9) == "S"


@pytest.mark.parametrize(("fine", "may"), [(0, False), (2, False), (3, True), (100, True)])
def test_what_was_handled_in_the_same_transaction_counts_before_it_is_committed(fine: int, may: bool) -> None:
    flood = Flood(at_least=3, window=6)
    feed(flood, "xxx")
    assert flood.may_fail(HERE, 9, fine) is may


def test_a_probed_partition_stops_at_its_first_failure_again() -> None:
    flood = Flood(at_least=3, window=6)
    feed(flood, "xxxx")
    flood.probe(HERE)
    assert feed(flood, "x", first=3) == "S"
    assert feed(flood, "x", first=3) == "S"


def test_a_probed_partition_whose_first_message_is_fine_starts_anew() -> None:
    flood = Flood(at_least=3, window=6)
    feed(flood, "xxxx")
    flood.probe(HERE)
    assert feed(flood, ".xxx", first=3) == ".xxx"


def test_a_partition_that_went_away_and_came_back_starts_anew() -> None:
    flood = Flood(at_least=3, window=6)
    feed(flood, "xxxx")
    flood.probe(THERE)
    flood.forget({HERE, THERE})
    assert feed(flood, "xxx") == "xxx"
    assert feed(flood, "x", THERE) == "x"


def test_what_is_handled_in_the_same_transaction_pushes_old_failures_out_of_the_window() -> None:
    flood = Flood(at_least=3, window=6)
    assert feed(flood, "xxx") == "xxx"
    assert flood.may_fail(HERE, 50, fine=40)
    assert not flood.may_fail(HERE, 51, fine=1)
