"""Which batches behind an open transaction are said, and since when a partition counts as held up by one."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.kafka.batches import batches
from schemas.kafka.raw import Ends
from schemas.kafka.unfinished import Scan
from services.shell.held_partition import HeldPartition
from tests.unit.test_record_batches import TRANSACTIONAL, a_marker, a_record, stored

OPEN, COMMIT, ABORT, PLAIN = "open", "commit", "abort", "plain"
PLACE = ("t", 0)
AFTER_S = 5.0


def log_of(*steps: tuple[str, int]) -> bytes:
    """A partition: each step is one batch of one record by a producer, or its marker."""
    made = []
    for offset, (what, producer) in enumerate(steps):
        if what in (COMMIT, ABORT):
            made.append(a_marker(what == COMMIT, base=offset, producer=producer))
        else:
            attributes = TRANSACTIONAL if what == OPEN else 0
            value = f"{offset}".encode()
            made.append(stored(a_record(value=value), base=offset, attributes=attributes, producer=producer))
    return b"".join(made)


def read(it: HeldPartition, log: bytes) -> list[int]:
    """The offsets of what is said, in the order in which it is handed on."""
    found: list[int] = []
    while (start := it.start) is not None:
        rest = b"".join(log[a:b] for a, b, last in spans(log) if last >= start)
        went_on = it.take(rest, start)
        while (record := it.next()) is not None:
            assert record.value == f"{record.offset}".encode()
            found.append(record.offset)
        if not went_on:
            break
    return found


def spans(log: bytes) -> list[tuple[int, int, int]]:
    """(from, to, last offset) of each batch."""
    found, at = [], 0
    for batch in batches(log):
        end = at + 61 + len(batch.body)
        found.append((at, end, batch.last_offset))
        at = end
    return found


def held(lso: int = 0, high: int = 100) -> HeldPartition:
    it = HeldPartition(PLACE, Ends(lso, high), 0.0)
    assert it.update(Ends(lso, high), lso, AFTER_S, AFTER_S)
    assert it.is_held
    return it


def test_what_is_in_no_transaction_is_said() -> None:
    assert read(held(), log_of((OPEN, 1), (PLAIN, 2), (OPEN, 1), (PLAIN, -1))) == [1, 3]


def test_what_was_committed_behind_an_open_transaction_is_said() -> None:
    log = log_of((OPEN, 1), (OPEN, 2), (PLAIN, 3), (OPEN, 2), (COMMIT, 2), (OPEN, 2))
    assert read(held(), log) == [2, 1, 3]


def test_what_was_aborted_is_never_said() -> None:
    assert read(held(), log_of((OPEN, 1), (OPEN, 2), (ABORT, 2), (OPEN, 2), (COMMIT, 2))) == [3]


def test_nothing_is_said_twice() -> None:
    it = held()
    log = log_of((OPEN, 1), (PLAIN, 2), (OPEN, 3))
    assert read(it, log) == [1]
    log = log_of((OPEN, 1), (PLAIN, 2), (OPEN, 3), (PLAIN, 2), (COMMIT, 3))
    assert read(it, log) == [3, 2]
    assert read(it, log) == []


def test_what_the_lso_has_passed_is_the_consumer_s() -> None:
    it = held()
    assert read(it, log_of((OPEN, 1), (OPEN, 2), (OPEN, 3))) == []
    assert it.holder == 1
    assert it.update(Ends(2, 100), 2, AFTER_S, AFTER_S)
    assert it.holder == 3
    assert read(it, log_of((OPEN, 1), (OPEN, 2), (OPEN, 3), (COMMIT, 1), (COMMIT, 2), (PLAIN, 4))) == [5]


steps = st.lists(st.tuples(st.sampled_from([OPEN, COMMIT, ABORT, PLAIN]), st.integers(1, 3)), max_size=30)


@given(steps, st.integers(0, 30))
def test_as_much_is_said_as_a_reader_of_the_whole_log_finds(log: list[tuple[str, int]], cut: int) -> None:
    """However it is cut into fetches."""
    said, undecided = [], dict[int, list[int]]()
    for offset, (what, producer) in enumerate(log):
        if what == PLAIN:
            said.append(offset)
        elif what == OPEN:
            undecided.setdefault(producer, []).append(offset)
        else:
            said += undecided.pop(producer, []) if what == COMMIT else []
            undecided.pop(producer, None)
    it = held()
    found = read(it, log_of(*log[:cut])) + read(it, log_of(*log))
    assert sorted(found) == sorted(said)


def test_a_transaction_that_ends_soon_holds_up_nothing() -> None:
    it = HeldPartition(PLACE, Ends(10, 20), 0.0)
    assert it.update(Ends(10, 20), 10, 4.9, AFTER_S)
    assert not it.is_held
    assert it.start is None
    assert not it.update(Ends(20, 20), 20, 5.0, AFTER_S)


def test_what_the_consumer_can_deliver_itself_comes_first() -> None:
    it = HeldPartition(PLACE, Ends(10, 20), 0.0)
    assert it.update(Ends(10, 20), 9, 60.0, AFTER_S)
    assert not it.is_held
    assert it.update(Ends(10, 20), 10, 60.5, AFTER_S)
    assert it.is_held


def test_transactions_that_overlap_hold_up_what_lies_behind_though_the_lso_moves() -> None:
    it = HeldPartition(PLACE, Ends(0, 100), 0.0)
    for second in range(1, 9):
        assert it.update(Ends(second, 100 + second), second, float(second), AFTER_S)
        assert it.is_held == (second >= AFTER_S)


def test_a_transaction_after_another_has_its_own_time() -> None:
    it = held(0, 100)
    assert it.update(Ends(100, 200), 100, 6.0, AFTER_S)
    assert not it.is_held
    assert it.since == 6.0


def test_a_partition_that_goes_back_is_begun_anew() -> None:
    assert not held(50, 100).update(Ends(20, 30), 20, 6.0, AFTER_S)


def test_what_can_t_be_read_is_left_until_the_lso_moves() -> None:
    it = held()
    assert it.take(log_of((OPEN, 1), (PLAIN, 2)) + stored(b"", base=2, magic=1), 0)
    first = it.next()
    assert first is not None
    assert first.offset == 1
    assert it.next() is None
    assert it.start is None
    assert it.update(Ends(3, 100), 3, AFTER_S, AFTER_S)
    assert it.start == 3


def test_a_batch_that_can_t_be_unpacked_is_left_and_the_next_is_read() -> None:
    log = log_of((OPEN, 1)) + stored(b"no zstd", base=1, attributes=4) + stored(a_record(value=b"2"), base=2)
    assert read(held(), log) == [2]


def test_the_places_of_an_endless_transaction_are_not_remembered_without_end() -> None:
    scan = Scan(0)
    for batch in batches(b"".join(stored(b"", base=n, attributes=TRANSACTIONAL) for n in range(100_010))):
        scan.passes(batch)
    [commit] = batches(a_marker(1, base=100_010))
    scan.passes(commit)
    assert len(list(scan.committed())) == 100_000
