"""Discard and restore: state and audit in one step, a reason always, and a clear no where it makes no sense."""

from collections.abc import Iterator

import pytest

from dlq.actions import at_desk
from dlq.desk import Desk as Writer
from dlq.desk import Out, TakenOverError
from dlq.ledger import Entry, State
from schemas.envelope import rfc3339
from tests.dlq.acting import START, Desk, desk_on, ended
from tests.servers import TestServers


@pytest.fixture
def desk(servers: TestServers) -> Iterator[Desk]:
    with desk_on(servers) as made:
        yield made


def test_a_discarded_letter_says_who_and_why_in_ledger_and_audit(desk: Desk) -> None:
    [letter_id] = desk.put(desk.letter())
    ran = desk.dlq("discard", letter_id, "--why", "a test order", "--by", "ann", "--yes")
    assert (ran.code, ran.out) == (0, "1 discarded\n")
    entry = desk.ledger()[letter_id]
    assert (entry.state, entry.by, entry.why, entry.fingerprint) == (State.DISCARDED, "ann", "a test order", "f" * 16)
    [line] = desk.audit()
    assert (line["action"], line["by"], line["why"], line["letters"]) == ("discarded", "ann", "a test order", 1)
    assert line["detail"]["state_before"] == "open"
    assert [message.key() for message in desk.records("dlq.audit")] == [f"payment/{letter_id}".encode()]


def test_who_does_it_is_the_user_of_this_host_where_nobody_is_named(desk: Desk) -> None:
    [letter_id] = desk.put(desk.letter())
    desk.dlq("discard", letter_id, "--why", "x", "--yes")
    user, _, host = desk.ledger()[letter_id].by.partition("@")
    assert user
    assert host


@pytest.mark.parametrize("why", [[], ["--why", ""], ["--why", "  "]])
def test_nothing_is_discarded_without_a_reason(desk: Desk, why: list[str]) -> None:
    [letter_id] = desk.put(desk.letter())
    ran = desk.dlq("discard", letter_id, "--yes", *why)
    assert ran.code == 2
    assert "say why" in ran.err
    assert desk.silence()


def test_nothing_is_discarded_without_a_yes(desk: Desk) -> None:
    desk.put(desk.letter())
    ran = ended(desk.start("discard", "--why", "x"))
    assert ran.code == 2
    assert "Say --yes" in ran.err
    assert desk.silence()


def test_a_discarded_letter_is_restored_and_then_replayed(desk: Desk) -> None:
    [letter_id] = desk.put(desk.letter())
    desk.dlq("discard", letter_id, "--why", "x", "--yes")
    assert desk.dlq("replay", letter_id, "--yes").code == 1
    assert not desk.retried()
    assert desk.dlq("restore", letter_id, "--yes").code == 0
    assert desk.letters()[letter_id].state is State.OPEN
    assert desk.dlq("replay", letter_id, "--yes").code == 0
    assert set(desk.retried_ids()) == {letter_id}
    assert [line["action"] for line in desk.audit()][:2] == ["discarded", "restored"]


def test_what_its_replays_came_to_stays_with_a_discarded_and_a_restored_letter(desk: Desk) -> None:
    [letter_id] = desk.put(desk.letter())
    desk.entry(letter_id, State.FAILED_AGAIN, replay_id="J", replay_count=3, outcome="failed_again")
    for command in (["discard", "--why", "x"], ["restore"]):
        desk.dlq(*command, letter_id, "--yes")
        entry = desk.ledger()[letter_id]
        assert (entry.replay_id, entry.replay_count, entry.outcome) == ("J", 3, "failed_again")


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (State.RESOLVED, f"already resolved at {rfc3339(START)} by payment"),
        (State.REPLAYING, f"being replayed by job J since {rfc3339(START)}: wait for its outcome"),
        (State.SUPERSEDED, "superseded by other"),
        (State.DISCARDED, f"already discarded by payment at {rfc3339(START)}: a test"),
    ],
)
def test_a_settled_letter_cannot_be_discarded(desk: Desk, state: State, why: str) -> None:
    [letter_id] = desk.put(desk.letter())
    desk.entry(letter_id, state, why="a test", replay_id="J", edited_to="other")
    ran = desk.dlq("discard", letter_id, "--why", "x", "--yes", "--json")
    assert ran.code == 1
    assert ran.json == {
        "discarded": [],
        "refused": [
            {"service": "payment", "id": letter_id, "reason": state.value.replace("_", " "), "why": why},
        ],
    }
    assert desk.ledger()[letter_id].state is state
    assert not desk.audit()


@pytest.mark.parametrize("state", [State.OPEN, State.FAILED_AGAIN, State.TOO_LATE])
def test_a_letter_that_is_not_settled_can_be_discarded(desk: Desk, state: State) -> None:
    [letter_id] = desk.put(desk.letter())
    desk.entry(letter_id, state)
    assert desk.dlq("discard", letter_id, "--why", "x", "--yes").code == 0


def test_only_a_discarded_letter_is_restored(desk: Desk) -> None:
    ids = desk.put(desk.letter(0), desk.letter(1))
    desk.entry(ids[1], State.RESOLVED)
    ran = desk.dlq("restore", *ids, "--yes", "--json")
    assert ran.code == 1
    assert {each["why"] for each in ran.json["refused"]} == {
        "not discarded: open",
        f"not discarded: already resolved at {rfc3339(START)} by payment",
    }
    assert not desk.audit()


def test_a_filter_discards_many_in_one_transaction_and_leaves_the_others(desk: Desk) -> None:
    ids = desk.put(*[desk.letter(n) for n in range(1200)])
    others = desk.put(desk.letter(5, service="warehouse"))
    desk.entry(ids[0], State.RESOLVED)
    ran = desk.dlq("discard", "--service", "payment", "--why", "x", "--yes")
    assert (ran.code, ran.out) == (0, "1,199 discarded\n")
    assert "refused: 1 resolved" in ran.err
    assert desk.states() == {State.DISCARDED: 1199, State.RESOLVED: 1}
    assert len(desk.audit()) == 1199
    assert others[0] not in desk.ledger()


def test_a_filter_that_finds_nothing_changes_nothing(desk: Desk) -> None:
    assert desk.dlq("discard", "--why", "x", "--checkout", "nobody", "--yes").out == "0 discarded\n"
    assert desk.dlq("restore", "--yes").out == "0 restored\n"
    assert desk.silence()


def test_an_action_whose_desk_is_taken_is_done_again_with_the_newest_ledger(desk: Desk) -> None:
    [letter_id] = desk.put(desk.letter())
    seen: list[int] = []

    def act(writer: Writer, ledger: dict[str, Entry]) -> None:
        seen.append(len(ledger))
        if len(seen) == 1:
            Writer(desk.settings).close()
            desk.entry(letter_id, State.RESOLVED)
        writer.commit([Out("payment.retry", b"k", b"v")])

    at_desk(desk.settings, act)
    assert seen == [0, 1]
    assert len(desk.retried()) == 1


@pytest.mark.slow
def test_an_action_whose_desk_is_always_taken_gives_up(desk: Desk) -> None:
    def act(writer: Writer, _ledger: object) -> None:
        Writer(desk.settings).close()
        writer.commit([Out("payment.retry", b"k", b"v")])

    with pytest.raises(TakenOverError, match="another command took over"):
        at_desk(desk.settings, act)
    assert desk.silence()
