"""`dlq metrics`: dead letters as Prometheus sees them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

from dlq.ledger import State
from dlq.metrics import Letters, Look
from dlq.settings import DlqSettings
from schemas.choreography import SERVICES
from tests.dlq.making import NOW, enter, environment, letter, put
from tests.dlq.running import dlq, refusal
from tests.dlq.test_watch import dead
from tests.scraping import scrape, value
from tests.system import free_port, wait_for

KEPT = {"payment.dlq": timedelta(days=90)}


def shown(*letters: Any, known: tuple[str, ...] = (), at: datetime = NOW) -> Callable[..., float]:
    """What is told of these letters: name and labels -> value."""
    collector = Letters(lambda: at)
    collector.show(Look(at=NOW, letters=letters, known=known, kept=KEPT))
    families: list[GaugeMetricFamily] = list(collector.collect())

    def read(name: str, **labels: str) -> float:
        found = [s for f in families for s in f.samples if s.name == name and labels.items() <= s.labels.items()]
        assert found, f"no {name} with {labels}"
        return float(sum(s.value for s in found))

    return read


def test_before_anybody_has_looked_nothing_is_told() -> None:
    registry = CollectorRegistry()
    registry.register(Letters(lambda: NOW))
    assert list(registry.collect()) == []


def test_without_letters_every_service_has_its_zeros() -> None:
    read = shown()
    for service in SERVICES:
        assert read("checkout_dlq_unresolved_letters", service=service, state="open") == 0
        assert read("checkout_dlq_oldest_unresolved_age_seconds", service=service) == 0
        assert read("checkout_dlq_unseen_causes", service=service) == 0
        assert read("checkout_dlq_leaving_letters", service=service) == 0


def test_letters_are_counted_by_state_and_by_cause() -> None:
    read = shown(dead("1"), dead("2"), dead("3", State.REPLAYING))
    assert read("checkout_dlq_unresolved_letters", service="payment", state="open") == 2
    assert read("checkout_dlq_unresolved_letters", service="payment", state="replaying") == 1
    assert read("checkout_dlq_letters_by_cause", service="payment", fingerprint="f-provider") == 3


def test_the_age_goes_on_between_two_looks() -> None:
    read = shown(dead(age=timedelta(hours=1)), dead(age=timedelta(hours=3)), at=NOW + timedelta(hours=1))
    assert read("checkout_dlq_oldest_unresolved_age_seconds", service="payment") == 4 * 3600


def test_a_cause_is_unseen_until_somebody_knows_it() -> None:
    assert shown(dead("1"), dead("2"))("checkout_dlq_unseen_causes", service="payment") == 1
    assert shown(dead("1"), known=("f-provider",))("checkout_dlq_unseen_causes", service="payment") == 0


def test_a_letter_that_retention_deletes_soon_is_leaving() -> None:
    read = shown(dead(age=timedelta(days=87, hours=1)), dead(age=timedelta(days=86)))
    assert read("checkout_dlq_leaving_letters", service="payment") == 1


@contextmanager
def exporting(settings: DlqSettings, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`dlq metrics`, as it is run; it ends with code 0."""
    command = [str(Path(sys.executable).with_name("dlq")), "metrics", "--port", str(port), "--every", "0.2s"]
    with (folder / "metrics.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={"PATH": os.environ["PATH"], **environment(settings)}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(20) == 0, (folder / "metrics.log").read_text()


def test_it_looks_again_and_again(settings: DlqSettings, tmp_path: Path) -> None:
    port = free_port()
    one = letter("one", failed=datetime.now(UTC))
    put(settings, one)
    with exporting(settings, port, tmp_path):
        wait_for(lambda: "metrics on http" in (tmp_path / "metrics.log").read_text(), "it to listen")
        wait_for(lambda: value(scrape(port), "checkout_dlq_unresolved_letters") == 1, "the letter to be seen")
        assert value(scrape(port), "checkout_dlq_unseen_causes") == 1
        put(settings, letter("two", failed=datetime.now(UTC)))
        wait_for(lambda: value(scrape(port), "checkout_dlq_unresolved_letters") == 2, "the next one to be seen")
        enter(settings, one, State.RESOLVED)
        wait_for(lambda: value(scrape(port), "checkout_dlq_unresolved_letters") == 1, "the resolved one to be gone")


def test_a_port_that_is_taken_is_one_line(settings: DlqSettings, servers: Any) -> None:
    taken = servers.kafka.rpartition(":")[2]
    ran = dlq(settings, "metrics", "--port", taken)
    assert "in use" in refusal(ran)


@pytest.mark.parametrize("span", ["soon", "5"])
def test_a_span_that_is_none_is_one_line(settings: DlqSettings, span: str) -> None:
    assert "is no duration" in refusal(dlq(settings, "metrics", "--port", "0", "--every", span))
