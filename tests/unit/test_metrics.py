"""Labels have a bound, whatever is thrown at them."""

from typing import Final

from services.shell.metrics import Few, Metrics

PROVIDERS_WORDS: Final = "checkout_unmapped_provider_codes_total"


def test_few_different_values_are_kept_and_further_ones_share_a_name() -> None:
    few = Few(2)
    assert [few.of((name,)) for name in "abca"] == [("a",), ("b",), ("other",), ("a",)]
    assert few.of(("b",)) == ("b",)


def test_what_has_several_labels_is_other_in_all_of_them() -> None:
    few = Few(1)
    assert few.of(("error", "fingerprint")) == ("error", "fingerprint")
    assert few.of(("error", "another")) == ("other", "other")


def test_a_provider_that_says_something_new_every_time_makes_no_new_series_for_ever() -> None:
    metrics = Metrics("payment")
    for number in range(1_000):
        metrics.unmapped(f"code_{number}")
    [family] = [f for f in metrics.registry.collect() if f.name + "_total" == PROVIDERS_WORDS]
    counts = {s.labels["code"]: s.value for s in family.samples if s.name == PROVIDERS_WORDS}
    assert len(counts) == 101
    assert counts["other"] == 900
