"""The overview: what is counted follows the table, what is late is told apart from what is missing."""

from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Event
from services.observer.index import Index, quantile, rounded
from services.observer.instants import SECOND
from services.observer.metrics import Metrics
from services.observer.overview import for_readers, merged, worker_view
from services.observer.placing import home_of, partitioner
from services.observer.settings import ObserverSettings
from services.observer.summary import Summary, summary
from services.observer.watermark import Watermark
from tests.unit import making as m
from tests.unit.telling import BEGAN_US, CAPTURED, COMPENSATED, LIMITS, REFUSED, told

NOW: Final = BEGAN_US + 30 * SECOND
STORIES: Final = {"captured": CAPTURED, "compensated": COMPENSATED, "refused": REFUSED, "stuck": CAPTURED[:4]}


def of(*events: Event) -> Summary:
    return summary(told(*events), 0, LIMITS)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(sorted(STORIES)), st.integers(1, 10)), max_size=30))
def test_counts_are_those_of_the_last_word_on_each_checkout(steps: list[tuple[str, str, int]]) -> None:
    grown, last = Index(), dict[str, Summary]()
    for checkout_id, story, count in steps:
        last[checkout_id] = of(*STORIES[story][:count])
        grown.put(checkout_id, last[checkout_id])
    fresh = Index()
    for checkout_id, known in last.items():
        fresh.put(checkout_id, known)
    assert +grown.states == +fresh.states == Counter(known.state for known in last.values())
    assert grown.rates(NOW) == fresh.rates(NOW)
    assert grown.stuck(NOW * 2) == fresh.stuck(NOW * 2)
    for checkout_id in last:
        grown.drop(checkout_id)
    assert not +grown.states
    assert not grown.stuck(NOW * 2)


def test_rates_are_of_the_last_minute_by_outcome_and_code() -> None:
    index = Index()
    index.put("a", of(*CAPTURED))
    index.put("b", of(*COMPENSATED))
    index.put("c", of(*REFUSED))
    assert index.rates(NOW) == {("completed", ""): 1, ("failed", "CANCELLED"): 2}
    assert index.rates(NOW + 60 * SECOND) == {}


def test_steps_are_those_of_the_last_minutes() -> None:
    index = Index()
    index.put("a", of(*CAPTURED[:4]))
    index.put("a", of(*CAPTURED))
    assert index.durations(NOW)["capture"] == {1.0: 1}
    assert index.durations(NOW)["reserve"] == {1.0: 1}
    assert not index.durations(NOW + 600 * SECOND)["capture"]


def test_a_checkout_is_stuck_only_when_all_that_was_said_is_known() -> None:
    index = Index()
    index.put("a", of(*CAPTURED[:4]))
    assert index.stuck(None) == []
    assert index.stuck(NOW) == []
    assert [checkout_id for checkout_id, _ in index.stuck(BEGAN_US + 900 * SECOND)] == ["a"]


def test_what_is_missing_is_a_breach_only_when_all_that_was_said_is_known() -> None:
    index = Index()
    index.put("a", of(*CAPTURED[:5], *CAPTURED[6:]))
    index.put("b", of(*CAPTURED, m.FAILED))
    assert {breach.checkout_id for breach in index.breaches(None, 0)} == {"b"}
    assert {breach.checkout_id for breach in index.breaches(NOW, 0)} == {"a", "b"}


def test_of_a_checkout_that_began_before_all_that_is_kept_nothing_is_said() -> None:
    index = Index()
    index.put("a", of(m.CAPTURED))
    assert index.breaches(NOW, BEGAN_US)
    assert not index.breaches(NOW, BEGAN_US + 1)


def test_what_has_settled_long_ago_leaves_and_what_is_open_stays() -> None:
    index = Index()
    index.put("open", of(*CAPTURED[:4]))
    index.put("done", of(*CAPTURED[:4]))
    index.put("done", of(*CAPTURED))
    assert list(index.leaving(BEGAN_US, 100)) == []
    assert list(index.leaving(NOW, 100)) == ["done"]
    assert list(index.leaving(NOW, 100)) == []


def test_more_than_are_kept_push_the_oldest_settled_ones_out() -> None:
    index = Index()
    for number in range(5):
        index.put(f"c-{number}", of(*(CAPTURED if number else CAPTURED[:2])))
    assert list(index.leaving(0, 3)) == ["c-1", "c-2"]


def test_the_mark_moves_when_everything_before_it_is_folded() -> None:
    mark = Watermark()
    assert mark.wants_ends
    mark.note(100, {"p0": 5, "p1": 0})
    assert mark.open({}) == ["p0"]
    assert mark.settle({"p0": 4}, {"p0": 4}, set()) is None
    assert not mark.wants_ends
    assert mark.settle({"p0": 5}, {}, set()) == mark.reached_us == 100


def test_a_position_counts_when_it_is_found_unchanged_with_nothing_waiting() -> None:
    """The end of a transaction lies behind the last record and is never handed over."""
    mark = Watermark()
    mark.note(100, {"p0": 6})
    assert mark.settle({"p0": 5}, {"p0": 6}, {"p0"}) is None
    assert mark.settle({"p0": 5}, {"p0": 6}, set()) is None
    assert mark.settle({"p0": 5}, {"p0": 6}, set()) == 100
    mark.note(200, {"p0": 6})
    assert mark.open({"p0": 5}) == [], "what was behind the end then is so for ever"


def test_after_a_rebalance_nothing_is_known() -> None:
    mark = Watermark()
    mark.note(100, {})
    assert mark.settle({}, {}, set()) == 100
    mark.forget()
    assert mark.reached_us is None


def test_two_workers_put_together_are_the_whole() -> None:
    stories = [(f"c-{number}", of(*story)) for number, story in enumerate(STORIES.values())]
    whole, halves = Index(), (Index(), Index())
    for number, (checkout_id, known) in enumerate(stories):
        whole.put(checkout_id, known)
        halves[number % 2].put(checkout_id, known)

    def view(index: Index, *held: int) -> dict[str, object]:
        place = {"url": f"http://{held[0]}", "partitions": list(held), "of": 2}
        return worker_view(index, [], now_us=NOW, heard_us=NOW, prefix="", place=place)

    limits = LIMITS.deadlines_us
    one = for_readers(merged([view(whole, 0, 1)], []), limits)
    two = for_readers(merged([view(halves[0], 0), view(halves[1], 1)], []), limits)
    assert {name: one[name] for name in ("states", "rates", "steps", "stuck_total")} == {
        name: two[name] for name in ("states", "rates", "steps", "stuck_total")
    }
    assert two["shows"] == "all 2 partitions, 2 workers"
    lonely = for_readers(merged([view(halves[0], 0)], ["http://1"]), limits)
    assert lonely["shows"] == "1 of 2 partitions, 1 worker; missing: 1"
    assert lonely["missing"] == ["http://1"]


def test_quantiles_are_of_what_was_counted() -> None:
    counts = Counter({0.1: 98, 2.0: 1, 3.0: 1})
    assert [quantile(counts, share) for share in (0.5, 0.99, 1.0)] == [0.1, 2.0, 3.0]
    assert quantile(Counter(), 0.5) is None
    assert [rounded(seconds) for seconds in (0.01234, 12.6, 987.0)] == [0.012, 13.0, 990.0]


def test_metrics_have_every_label_from_the_start() -> None:
    class Source:
        index, heard_us = Index(), NOW

        def breaches(self) -> list[object]:
            return list(self.index.breaches(NOW, 0))

    source = Source()
    text = Metrics(source).text().decode()  # type: ignore[arg-type]
    assert 'checkout_observer_breaches{rule="captured_once"} 0.0' in text
    assert 'checkout_observer_stuck_checkouts{state="authorized"} 0.0' in text
    assert 'checkout_observer_events_total{event="payment.captured"} 0.0' in text
    source.index.put("a", of(*CAPTURED, m.CAPTURED))
    assert 'checkout_observer_breaches{rule="captured_once"} 1.0' in Metrics(source).text().decode()  # type: ignore[arg-type]


def test_a_checkout_is_at_home_where_the_services_producers_put_its_key() -> None:
    """Source of the figures: Kafka's own test of its murmur2, org.apache.kafka.common.utils.UtilsTest."""
    hashes = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    for key, hashed in hashes.items():
        assert home_of(key, 7) == partitioner(key, [5, 3, 6, 1, 0, 2, 4], []) == (hashed & 0x7FFFFFFF) % 7


def test_deadlines_of_single_steps_are_read_and_checked() -> None:
    servers: dict[str, Any] = {"kafka_bootstrap_servers": "k:1", "schema_registry_url": "http://r"}
    settings = ObserverSettings(**servers, observer_step_deadlines="capture=2.5 undo=7")
    assert (settings.deadlines_us["capture"], settings.deadlines_us["reserve"]) == (2_500_000, 360_000_000)
    with pytest.raises(ValueError, match="no such step: captur; steps are accept"):
        ObserverSettings(**servers, observer_step_deadlines="captur=2")


def test_other_workers_are_told_an_address_that_they_can_reach() -> None:
    servers: dict[str, Any] = {"kafka_bootstrap_servers": "k:1", "schema_registry_url": "http://r"}
    assert ObserverSettings(**servers).url == "http://127.0.0.1:6066"
    assert "0.0.0.0" not in ObserverSettings(**servers, observer_web_host="0.0.0.0").url
    assert ObserverSettings(**servers, observer_url="http://observer-1:6066/").url == "http://observer-1:6066"
