"""The ids of a run's checkouts."""

from compose.run import run_name
from schemas.cards import has_card_number


def test_no_id_of_a_run_looks_like_a_card_number() -> None:
    names = {run_name() for _ in range(200)}
    assert len(names) == 200
    assert not [name for name in names if not name.isalpha()]
    assert not [number for number in range(2000) if has_card_number(f"run-{min(names)}-{number:06d}")]
