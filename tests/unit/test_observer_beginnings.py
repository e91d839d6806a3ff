"""A partition counts from where its group stands, whatever Faust threw away while partitions moved."""

from services.observer.beginnings import Beginnings


def begun(**starts: int) -> Beginnings:
    made = Beginnings()
    made.at(7, dict(starts.items()))
    return made


def test_before_it_is_known_where_to_begin_nothing_counts() -> None:
    assert not Beginnings().counts(7, "a", 0)
    assert not begun(a=0).counts(8, "a", 0)


def test_a_partition_that_begins_where_it_should_counts_from_then_on() -> None:
    beginnings = begun(a=3)
    assert [beginnings.counts(7, "a", offset) for offset in (3, 4, 9)] == [True, True, True]
    assert not beginnings.awaited


def test_one_that_begins_later_does_not_count_until_it_began_again() -> None:
    beginnings = begun(a=3, b=0)
    assert not beginnings.counts(7, "a", 5)
    assert beginnings.again(set()) == {"a": 3}
    assert beginnings.again(set()) == {}
    assert [beginnings.counts(7, "a", offset) for offset in (3, 4)] == [True, True]
    assert beginnings.awaited == {"b"}


def test_one_that_was_passed_without_a_word_begins_again() -> None:
    assert begun(a=3, b=0).again({"b"}) == {"b": 0}


def test_a_transactions_mark_at_the_beginning_is_believed_after_some_tries() -> None:
    beginnings = begun(a=3)
    for _ in range(5):
        assert not beginnings.counts(7, "a", 4)
        assert beginnings.again(set()) == {"a": 3}
    assert not beginnings.counts(7, "a", 4)
    assert beginnings.again(set()) == {}
    assert beginnings.counts(7, "a", 4)
