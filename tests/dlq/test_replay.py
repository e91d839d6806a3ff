"""Replays on real topics: each letter exactly once, in order, whoever is killed, stopped or overtaken meanwhile."""

import signal
import subprocess
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from dlq.desk import Desk as Writer
from dlq.desk import Out, TakenOverError
from dlq.jobs import read_jobs
from dlq.lag import live_lag
from dlq.ledger import State
from dlq.letter import originals, text_headers
from dlq.messages import headers_of
from schemas.envelope import rfc3339
from tests.dlq.acting import START, Desk, Ran, desk_on, ended, ids_in_order, job_in, wait_until
from tests.servers import TestServers


@pytest.fixture
def desk(servers: TestServers) -> Iterator[Desk]:
    with desk_on(servers) as made:
        yield made


@pytest.fixture(scope="module")
def still(servers: TestServers) -> Iterator[Desk]:
    """A desk with one letter, for tests after which nothing may have changed."""
    with desk_on(servers) as made:
        made.put(made.letter())
        yield made


def test_a_letter_comes_back_byte_for_byte_with_what_its_service_must_know(desk: Desk) -> None:
    header = ("x-odd", b"\xff\x00")
    made = desk.letter(value=b"\x00\x00", headers=[("traceparent", b"00-aa"), header, header, ("none", None)])
    desk.put(made)
    ran = desk.dlq("replay", made.id, "--yes", "--why", "the bank is back", "--by", "ann")
    assert ran.code == 0, ran
    [message] = desk.retried()
    assert (message.key(), message.value()) == (b"c-0", b"\x00\x00")
    assert originals(headers_of(message)) == made.origin.headers
    said = text_headers(message)
    assert {name: value for name, value in said.items() if name.startswith("dlq-")} == {
        "dlq-id": made.id,
        "dlq-event-id": str(made.event_id),
        "dlq-service": "payment",
        "dlq-original-topic": made.origin.topic,
        "dlq-original-partition": "0",
        "dlq-original-offset": "0",
        "dlq-original-timestamp": rfc3339(START),
        "dlq-first-failed-at": rfc3339(START),
        "dlq-replay-id": job_in(ran.err),
        "dlq-replay-count": "1",
        "dlq-edit-of": "",
        "dlq-edit-root": "",
    }
    entry = desk.ledger()[made.id]
    assert (entry.state, entry.by, entry.why) == (State.REPLAYING, "ann", "the bank is back")
    assert (entry.replay_id, entry.replay_count, entry.fingerprint) == (job_in(ran.err), 1, "f" * 16)


def test_the_audit_has_a_start_and_an_end_with_who_and_why(desk: Desk) -> None:
    desk.put(*[desk.letter(n) for n in range(3)])
    ran = desk.dlq("replay", "--yes", "--by", "ann", "--why", "again")
    started, last = desk.audit()
    assert (started["action"], last["action"]) == ("replay_started", "replay_ended")
    assert {line["replay_id"] for line in (started, last)} == {job_in(ran.err)}
    assert (started["by"], started["why"], started["letters"]) == ("ann", "again", 3)
    assert last["detail"] == {"sent": 3, "of": 3}


def test_a_dry_run_tells_the_plan_and_leaves_no_trace(desk: Desk) -> None:
    desk.put(desk.letter(0), desk.letter(1), desk.letter(2, service="warehouse"))
    people, machines = desk.dlq("replay", "--dry-run"), desk.dlq("replay", "--dry-run", "--json")
    assert people.code == machines.code == 0
    assert people.out.startswith("3 letters would be sent\n")
    assert machines.json["by_service"] == {"payment": 2, "warehouse": 1}
    assert len(machines.json["letters"]) == 3
    assert desk.silence()


def test_without_a_yes_and_without_a_terminal_nothing_is_sent(still: Desk) -> None:
    ran = ended(still.start("replay"))
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == (
        "dlq replay: 1 letters are to be sent. Say --yes: there is no terminal to ask on. Nothing was done"
    )
    assert still.silence()


def test_the_letters_of_one_checkout_come_back_in_the_order_in_which_they_failed(desk: Desk) -> None:
    letters = [desk.letter(n, lane=f"c-{n % 4}") for n in range(40)]
    desk.put(*reversed(letters))
    assert desk.dlq("replay", "--yes").code == 0
    found = desk.retried()
    for lane in range(4):
        mine = [message for message in found if message.key() == f"c-{lane}".encode()]
        assert ids_in_order(mine) == [each.id for each in letters if each.lane == f"c-{lane}"]
        assert len({message.partition() for message in mine}) == 1


def test_a_key_goes_to_the_partition_that_the_services_producers_choose(desk: Desk) -> None:
    desk.put(*[desk.letter(n) for n in range(30)])
    desk.dlq("replay", "--yes")
    assert _places(desk.retried()) == _places(desk.records("payment.dlq"))


def _places(messages: list[Message]) -> dict[bytes, int]:
    return {bytes(str(message.key()), "utf-8"): int(message.partition() or 0) for message in messages}


def test_a_letter_without_key_or_value_comes_back_without(desk: Desk) -> None:
    made, bare = desk.letter(0), desk.letter(1)
    desk.put(made, replace(bare, origin=replace(bare.origin, key=None, value=None)))
    assert desk.dlq("replay", "--yes").code == 0
    assert {(message.key() is None, message.value() is None) for message in desk.retried()} == {
        (True, True),
        (False, False),
    }


def test_only_what_the_service_wrote_itself_is_sent_back_to_it(desk: Desk) -> None:
    spring = [("kafka_dlt-original-topic", f"{desk.prefix}checkout.accepted".encode()), ("mine", b"1")]
    desk.say("payment.dlq", b"c-1", b"value", [*spring])
    desk.say("payment.dlq", b"c-2", b"value", [("dlq-id", b"x"), ("dlq-service", b"warehouse")])
    ran = desk.dlq("replay", "--yes", "--json", "--no-wait")
    assert ran.json["refused"] == {"not written by its service": 2}
    assert desk.silence()


def test_large_letters_go_in_chunks_of_a_few_megabytes(desk: Desk) -> None:
    large = [desk.letter(n, value=bytes([n]) * 900_000) for n in range(25)]
    desk.put(*large)
    tracemalloc.start()
    ran = desk.dlq("replay", "--yes", "--no-wait")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (ran.code, peak < 60_000_000) == (0, True), ran
    sent = {(message.key(), message.value()) for message in desk.retried()}
    assert sent == {(each.origin.key, each.origin.value) for each in large}


def test_every_refusal_is_counted_and_told_with_its_reason(desk: Desk) -> None:
    states = [State.RESOLVED, State.TOO_LATE, State.DISCARDED, State.SUPERSEDED, State.REPLAYING]
    ids = desk.put(*[desk.letter(n) for n in range(7)])
    for letter_id, state in zip(ids, states, strict=False):
        desk.entry(letter_id, state, why="a test", replay_id="J", edited_to="other")
    desk.entry(ids[5], State.FAILED_AGAIN, replay_count=5)
    dry = desk.dlq("replay", "--dry-run", "--json")
    assert {each["id"]: each["why"] for each in dry.json["refusals"]} == {
        ids[0]: f"already resolved at {rfc3339(START)} by payment",
        ids[1]: f"too late, said payment at {rfc3339(START)}: a test",
        ids[2]: "discarded by payment: a test; restore it first",
        ids[3]: "superseded by other",
        ids[4]: f"being replayed by job J since {rfc3339(START)}",
        ids[5]: "replayed 5 times and failed again each time: edit or discard it",
    }
    ran = desk.dlq("replay", "--yes", "--json", "--no-wait")
    assert ran.json["sent"] == 1
    assert ran.json["refused"] == dry.json["refused"]
    assert set(desk.retried_ids()) == {ids[6]}
    assert desk.dlq("replay", ids[0], "--yes").code == 1
    assert desk.dlq("replay", ids[5], "--yes", "--max-replays", "6").code == 0
    assert desk.retried_ids()[ids[5]] == 1


def test_filters_and_a_limit_choose_the_letters(desk: Desk) -> None:
    ids = desk.put(*[desk.letter(n) for n in range(4)])
    desk.put(desk.letter(9, service="warehouse"))
    assert desk.dlq("replay", "--service", "payment", "--limit", "2", "--yes").code == 0
    assert set(desk.retried_ids()) == set(ids[:2])
    assert desk.dlq("replay", ids[3][:13], "--yes").code == 0
    assert set(desk.retried_ids()) == {*ids[:2], ids[3]}
    assert not desk.retried("warehouse")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["replay", "no-such-id", "--yes"], "dlq replay: there is no letter no-such-id"),
        (["replay", "--resume", "J", "--yes"], "dlq replay: there is no replay J"),
        (["cancel", "J"], "dlq cancel: there is no replay J"),
        (["replay", "--budget", "5", "--yes"], "dlq: Invalid value for --budget"),
        (["replay", "--rate", "0", "--yes"], "dlq: Invalid value for '--rate'"),
        (["replay", "--limit", "0", "--yes"], "dlq: Invalid value for '--limit'"),
        (["replay", "--state", "gone", "--yes"], "dlq replay: there is no state 'gone'"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_2(still: Desk, arguments: list[str], line: str) -> None:
    ran = still.dlq(*arguments)
    assert ran.code == 2
    assert ran.err.startswith(line), ran.err
    assert len(ran.err.splitlines()) == 1
    assert still.silence()


def test_outcomes_are_waited_for_and_failures_are_an_exit_code(desk: Desk) -> None:
    ids = desk.put(*[desk.letter(n) for n in range(4)])
    process = desk.start("replay", "--yes", "--json")
    wait_until(lambda: len(desk.retried()) == 4)
    sent = sorted(desk.retried(), key=lambda message: ids.index(text_headers(message)["dlq-id"]))
    desk.answer(sent[:2])
    desk.answer(sent[2:3], State.TOO_LATE)
    desk.answer(sent[3:], State.FAILED_AGAIN)
    ran = ended(process)
    assert ran.code == 1
    assert ran.json["outcomes"] == {"handled": 2, "too_late": 1, "failed_again": 1, "still_out": 0}
    assert (ran.json["sent"], ran.json["planned"], ran.json["end"]) == (4, 4, "")


@pytest.mark.slow
def test_outcomes_of_another_job_do_not_count(desk: Desk) -> None:
    ids = desk.put(desk.letter(0), desk.letter(1))
    process = desk.start("replay", ids[0], "--yes", "--json", "--wait-limit", "2")
    wait_until(lambda: len(desk.retried()) == 1)
    desk.entry(ids[0], State.FAILED_AGAIN, replay_id="another")
    ran = ended(process)
    assert (ran.code, ran.json["outcomes"]["failed_again"], ran.json["outcomes"]["still_out"]) == (0, 0, 1)


def test_a_letter_that_failed_again_can_be_replayed_again_and_is_counted(desk: Desk) -> None:
    made = desk.letter()
    desk.put(made)
    desk.dlq("replay", "--yes")
    desk.answer(desk.retried(), State.FAILED_AGAIN)
    desk.dlq("replay", "--yes")
    assert [text_headers(message)["dlq-replay-count"] for message in desk.retried()] == ["1", "2"]


def test_a_rate_is_kept(desk: Desk) -> None:
    desk.put(*[desk.letter(n) for n in range(20)])
    ran = desk.dlq("replay", "--yes", "--rate", "10", "--json", "--no-wait")
    assert ran.json["sent"] == 20
    assert 1.5 < ran.json["seconds"] < 6


@pytest.mark.slow
def test_a_ramp_stops_when_what_it_sends_fails_again(desk: Desk) -> None:
    desk.put(*[desk.letter(n) for n in range(60)])
    process = desk.start("replay", "--yes", "--ramp", "--json", "--no-wait")
    answered = 0
    while process.poll() is None:
        sent = desk.retried()
        desk.answer(sent[answered:], State.FAILED_AGAIN)
        answered = len(sent)
    ran = ended(process)
    assert ran.code == 1
    assert "100 % of the outcomes failed again, more than twice 10 %" in ran.json["end"]
    assert 5 <= ran.json["sent"] < 40


# killed, stopped, overtaken


def _under_way(desk: Desk, *arguments: str, at_least: int = 20) -> subprocess.Popen[str]:
    """A replay in the middle of its letters."""
    process = desk.start("replay", "--yes", "--no-wait", *arguments)
    wait_until(lambda: len(desk.retried()) >= at_least)
    assert process.poll() is None, process.communicate()
    return process


def _once_each(desk: Desk, ids: list[str]) -> None:
    assert desk.retried_ids() == Counter(ids)
    assert desk.states() == {State.REPLAYING: len(ids)}


def _kill(process: subprocess.Popen[str]) -> Ran:
    process.send_signal(signal.SIGKILL)
    return ended(process)


def test_a_killed_replay_and_the_same_command_again_send_each_letter_once(desk: Desk) -> None:
    ids = desk.put(*[desk.letter(n) for n in range(600)])
    killed = _kill(_under_way(desk, "--rate", "200"))
    assert killed.code == -signal.SIGKILL
    before = len(desk.retried())
    assert 0 < before < 600
    again = desk.dlq("replay", "--yes", "--json", "--no-wait")
    assert again.code == 0
    assert f"job {job_in(killed.err)} by " in again.err
    assert f"was interrupted after {600 - again.json['sent']} of 600" in again.err
    assert again.json["sent"] + again.json["refused"]["being replayed"] == 600
    _once_each(desk, ids)


@pytest.mark.slow
def test_a_job_killed_twice_is_resumed_with_its_own_filter_and_ends_once(desk: Desk) -> None:
    ids = desk.put(*[desk.letter(n) for n in range(300)])
    others = desk.put(*[desk.letter(n, service="warehouse") for n in range(5)])
    job = job_in(_kill(_under_way(desk, "--service", "payment", "--rate", "150")).err)
    later = desk.put(desk.letter(1000))
    _kill(_under_way(desk, "--resume", job, "--rate", "150", at_least=len(desk.retried()) + 20))
    ran = desk.dlq("replay", "--resume", job, "--yes", "--json", "--no-wait", "--rate", "100000")
    assert (ran.code, ran.json["job"], ran.json["planned"], ran.json["sent"]) == (0, job, 300, 300)
    _once_each(desk, ids)
    assert not {*others, *later} & set(desk.retried_ids())
    assert read_jobs(desk.settings)[job].ended is not None


@pytest.mark.slow
def test_a_resumed_job_does_not_repeat_what_failed_again(desk: Desk) -> None:
    ids = desk.put(*[desk.letter(n) for n in range(100)])
    job = job_in(_kill(_under_way(desk, "--rate", "50")).err)
    desk.answer(desk.retried()[:5], State.FAILED_AGAIN)
    ran = desk.dlq("replay", "--resume", job, "--yes", "--json", "--no-wait", "--rate", "100000")
    assert desk.retried_ids() == Counter(ids)
    assert ran.json["outcomes"]["failed_again"] == 5
    assert ran.code == 1


@pytest.mark.parametrize("more", [["--service", "payment"], ["some-id"], ["--limit", "3"]])
def test_a_resumed_job_takes_no_other_filter(desk: Desk, more: list[str]) -> None:
    desk.put(desk.letter())
    job = job_in(desk.dlq("replay", "--yes").err)
    ran = desk.dlq("replay", "--resume", job, "--yes", *more)
    assert (ran.code, ran.err.startswith("dlq replay: --resume goes on with the job's own filter")) == (2, True)


def test_two_replays_at_once_send_no_letter_twice(desk: Desk) -> None:
    ids = desk.put(*[desk.letter(n) for n in range(400)])
    first = _under_way(desk, "--rate", "100")
    second = desk.dlq("replay", "--yes", "--no-wait")
    fenced = ended(first)
    assert second.code == 0, second
    assert fenced.code == 1
    assert f"another replay took over (job {job_in(second.err)})" in fenced.err
    _once_each(desk, ids)


@pytest.mark.slow
def test_a_job_that_is_resumed_twice_at_once_sends_no_letter_twice(desk: Desk) -> None:
    ids = desk.put(*[desk.letter(n) for n in range(300)])
    job = job_in(_kill(_under_way(desk, "--rate", "100")).err)
    first = _under_way(desk, "--resume", job, "--rate", "50", at_least=len(desk.retried()) + 10)
    assert desk.dlq("replay", "--resume", job, "--yes", "--no-wait", "--rate", "100000").code == 0
    fenced = ended(first)
    assert (fenced.code, f"another replay took over (job {job})" in fenced.err) == (1, True)
    _once_each(desk, ids)


@pytest.mark.slow
def test_two_replays_that_start_together_send_no_letter_twice(desk: Desk) -> None:
    ids = desk.put(*[desk.letter(n) for n in range(3000)])
    both = [desk.start("replay", "--yes", "--no-wait") for _ in range(2)]
    codes = sorted(ended(process).code for process in both)
    assert codes[0] == 0, codes
    _once_each(desk, ids)


@pytest.mark.slow
def test_ctrl_c_ends_after_the_present_chunk_and_says_how_to_go_on(desk: Desk) -> None:
    ids = desk.put(*[desk.letter(n) for n in range(300)])
    process = _under_way(desk, "--rate", "100")
    process.send_signal(signal.SIGINT)
    ran = ended(process)
    sent, job = len(desk.retried()), job_in(ran.err)
    assert ran.code == 130
    assert f"cancelled after {sent} of 300; `dlq replay --resume {job}` goes on" in ran.err
    assert desk.audit()[-1]["action"] == "replay_ended"
    assert desk.audit()[-1]["detail"] == {"sent": sent, "of": 300}
    resumed = desk.dlq("replay", "--resume", job, "--yes", "--no-wait", "--rate", "100000")
    assert resumed.code == 0
    assert "interrupted" not in resumed.err
    _once_each(desk, ids)


@pytest.mark.slow
def test_a_cancelled_job_stops_wherever_it_runs(desk: Desk) -> None:
    desk.put(*[desk.letter(n) for n in range(1000)])
    process = _under_way(desk, "--rate", "50")
    job = str(desk.audit()[0]["replay_id"])
    assert desk.dlq("cancel", job, "--by", "bob").code == 0
    ran = ended(process)
    assert ran.code == 1
    assert f"cancelled by bob. cancelled after {len(desk.retried())} of 1000" in ran.err
    assert 20 <= len(desk.retried()) < 1000
    again = desk.dlq("cancel", job)
    assert (again.code, again.err.startswith(f"dlq cancel: job {job} ended already, at ")) == (2, True)


@pytest.mark.slow
def test_a_discard_in_the_middle_does_not_stop_a_replay_and_is_kept(desk: Desk) -> None:
    ids = desk.put(*[desk.letter(n) for n in range(300)])
    process = _under_way(desk, "--rate", "60")
    assert desk.dlq("discard", ids[-1], "--why", "a test order", "--yes").code == 0
    ran = ended(process)
    assert ran.code == 0, ran
    assert desk.retried_ids() == Counter(ids[:-1])
    assert desk.ledger()[ids[-1]].state is State.DISCARDED


# the desk


def test_a_transaction_that_fails_in_the_middle_leaves_nothing(desk: Desk) -> None:
    def records() -> Iterator[Out]:
        yield Out("payment.retry", b"k", b"v")
        raise ZeroDivisionError

    with closing(Writer(desk.settings)) as writer:
        with pytest.raises(ZeroDivisionError):
            writer.commit(records())
        assert desk.silence()
        writer.commit([Out("payment.retry", b"k", b"v")])
        assert len(desk.retried()) == 1


def test_whoever_lost_the_desk_can_write_nothing_more(desk: Desk) -> None:
    with closing(Writer(desk.settings)) as first, closing(Writer(desk.settings)) as second:
        for _ in range(2):
            with pytest.raises(TakenOverError):
                first.commit([Out("payment.retry", b"k", b"first")])
        second.commit([Out("payment.retry", b"k", b"second")])
        assert [message.value() for message in desk.retried()] == [b"second"]


@pytest.mark.slow
def test_ten_thousand_letters_go_quickly(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    value = desk.letter().origin.value
    desk.put(*[desk.letter(n, value=value) for n in range(10_000)])
    ran = desk.dlq("replay", "--yes", "--json", "--no-wait")
    rate = ran.json["sent"] / ran.json["seconds"]
    with capsys.disabled():
        print(f"\nreplayed {ran.json['sent']:,} letters at {rate:,.0f} letters/s")
    assert ran.json["sent"] == 10_000
    assert rate >= 2_000
    assert len(desk.retried_ids()) == len(desk.retried()) == 10_000


def test_the_lag_of_a_service_is_what_its_group_has_not_committed(desk: Desk) -> None:
    assert live_lag(desk.settings, ["payment"]) is None
    for n in range(10):
        desk.say("checkout.accepted", b"k", b"%d" % n, [])
    [place] = {(str(m.topic()), int(m.partition() or 0)) for m in desk.records("checkout.accepted")}
    servers = desk.settings.kafka_bootstrap_servers
    consumer = Consumer({"bootstrap.servers": servers, "group.id": f"{desk.prefix}payment", "log_level": 2})
    consumer.commit(offsets=[TopicPartition(*place, 4)], asynchronous=False)
    consumer.close()
    assert live_lag(desk.settings, ["payment"]) == 6
    assert live_lag(desk.settings, ["payment", "warehouse"]) == 6
