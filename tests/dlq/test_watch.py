"""`dlq watch`: what cron hears of."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from dlq import dialects
from dlq.ledger import Entry, State
from dlq.letter import Fault, headers_of
from dlq.letters import DeadLetter
from dlq.settings import DlqSettings
from dlq.watch import Limits, findings
from schemas.envelope import Header
from tests.dlq.making import NOW, enter, letter, put
from tests.dlq.running import dlq, refusal

GENEROUS = Limits(max_open=100, max_age=timedelta(days=1000), warning=timedelta(0))


def dead(letter_id: str = "one", state: State | None = None, age: timedelta = timedelta(0)) -> DeadLetter:
    """A letter that failed first so long ago."""
    headers: list[Header] = [(n, t.encode()) for n, t in headers_of(letter(letter_id, failed=NOW - age)).items()]
    entry = None if state is None else Entry(service="payment", letter=letter_id, state=state, at="", by="")
    place = ("payment.dlq", 0, 0)
    _, info = dialects.read(headers, place)
    return DeadLetter(
        place=place, at=NOW - age, key=None, value=None, headers=headers, dialect="ours", info=info, entry=entry
    )


def found(letters: list[DeadLetter], limits: Limits = GENEROUS, known: tuple[str, ...] = ("f-provider",)) -> list[str]:
    kept = {"payment.dlq": timedelta(days=90)}
    return [finding.what for finding in findings(letters, known, kept, limits, NOW)]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found([dead()]) == []
    assert found([]) == []


def test_more_letters_than_allowed_are_found_and_settled_ones_do_not_count() -> None:
    two = Limits(max_open=2, max_age=timedelta(days=1000), warning=timedelta(0))
    settled = [dead(str(state), state) for state in (State.RESOLVED, State.DISCARDED, State.SUPERSEDED, State.TOO_LATE)]
    assert found([dead("1"), dead("2"), *settled], two) == []
    assert found([dead("1"), dead("2"), dead("3", State.REPLAYING)], two) == ["depth"]


def test_an_old_letter_is_found() -> None:
    day = Limits(max_open=100, max_age=timedelta(days=1), warning=timedelta(0))
    assert found([dead(age=timedelta(days=1))], day) == []
    assert found([dead(age=timedelta(days=1, seconds=1))], day) == ["age"]
    assert found([dead(state=State.RESOLVED, age=timedelta(days=2))], day) == []


def test_a_cause_never_seen_before_is_found_once() -> None:
    assert found([dead("1"), dead("2")], known=()) == ["new_fingerprint"]


def test_a_letter_that_is_about_to_be_deleted_is_found() -> None:
    soon = Limits(max_open=100, max_age=timedelta(days=1000), warning=timedelta(days=3))
    assert found([dead(age=timedelta(days=87))], soon) == []
    assert found([dead(age=timedelta(days=87, hours=1))], soon) == ["retention"]
    assert found([dead(age=timedelta(days=87, hours=1), state=State.DISCARDED)], soon) == []


def test_a_letter_that_failed_again_is_found() -> None:
    assert found([dead(state=State.FAILED_AGAIN)]) == ["failed_again"]


# on real topics


def report(settings: DlqSettings, *arguments: str) -> tuple[int, Any]:
    ran = dlq(settings, "watch", "--json", *arguments)
    return ran.returncode, json.loads(ran.stdout)


def test_watch_says_that_all_is_well(settings: DlqSettings) -> None:
    assert report(settings) == (0, {"ok": True, "unresolved": 0, "oldest_age_s": None, "findings": []})
    assert dlq(settings, "watch").stdout == "nothing to look at: 0 letters unresolved\n"


def test_watch_says_what_to_look_at_and_exits_with_1(settings: DlqSettings) -> None:
    put(settings, letter("old", failed=NOW - timedelta(hours=30)), letter("again"))
    enter(settings, letter("again"), State.FAILED_AGAIN)
    code, said = report(settings)
    assert (code, said["ok"], said["unresolved"]) == (1, False, 2)
    assert [finding["what"] for finding in said["findings"]] == ["depth", "age", "failed_again"]
    lines = dlq(settings, "watch").stdout.splitlines()
    assert [text.split(":")[0] for text in lines] == ["depth", "age", "failed_again"]
    assert report(settings, "--max-open", "2", "--max-age", "2d")[1]["findings"] == said["findings"][2:]


def test_a_new_cause_is_reported_once_with_a_file_and_until_somebody_acts_without(
    settings: DlqSettings, tmp_path: Path
) -> None:
    put(settings, letter("a"), letter("b", fault=Fault("ValueError", "bad", "", "f-bad")))
    known = tmp_path / "known"
    known.write_text("# ours\nf-bad  # a known bug\n")
    quiet = ("--max-open", "9")
    code, said = report(settings, *quiet, "--known", str(known))
    assert (code, [finding["fingerprint"] for finding in said["findings"]]) == (1, ["f-provider"])
    assert report(settings, *quiet, "--known", str(known))[0] == 0
    assert known.read_text().startswith("# ours\nf-bad  # a known bug\nf-provider  # first reported ")
    assert len(report(settings, *quiet)[1]["findings"]) == 2
    enter(settings, letter("a"), State.REPLAYING)
    assert [finding["fingerprint"] for finding in report(settings, *quiet)[1]["findings"]] == ["f-bad"]


def test_retention_is_the_topics_own(settings: DlqSettings) -> None:
    put(settings, letter("a"))
    quiet = ("--max-open", "9", "--retention-warning", "3d")
    enter(settings, letter("known"), State.RESOLVED)
    assert report(settings, *quiet)[0] == 0
    hour_ms = ConfigEntry("retention.ms", str(3_600_000), incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, f"{settings.topic_prefix}payment.dlq", incremental_configs=[hour_ms])
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for future in admin.incremental_alter_configs([topic]).values():
        future.result(30)
    code, said = report(settings, *quiet)
    assert (code, [finding["what"] for finding in said["findings"]]) == (1, ["retention"])


@pytest.mark.parametrize("change", [{"kafka_bootstrap_servers": "127.0.0.1:9"}, {"topic_prefix": "nobody."}])
@pytest.mark.slow
def test_watch_that_can_not_look_exits_with_2(settings: DlqSettings, change: dict[str, str]) -> None:
    assert refusal(dlq(settings.model_copy(update=change), "watch"), code=2)
