"""What a process notes of the message it has in hand, and what is read of it when the process is gone."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.kafka.record import Place
from services.shell.fatal_messages import InHand, _place, left_behind

GROUP = "checkout"
PLACES: list[Place] = [("a", 0, 0), ("b.retry", 5, 2**62), ("a", 1, 7), ("x" * 249, 3, 1)]


def die(in_hand: InHand) -> None:
    """As the system does it when a process ends: the file stays, its lock goes."""
    in_hand._map.close()
    os.close(in_hand._file)


@pytest.mark.parametrize("last", range(len(PLACES)))
def test_what_was_in_hand_is_found_once(tmp_path: Path, last: int) -> None:
    in_hand = InHand.create(tmp_path, GROUP)
    for place in PLACES[: last + 1]:
        in_hand.mark(place)
    assert list(left_behind(tmp_path, GROUP)) == []
    die(in_hand)
    assert list(left_behind(tmp_path, GROUP)) == [PLACES[last]]
    assert list(left_behind(tmp_path, GROUP)) == []


def test_who_had_nothing_in_hand_left_nothing(tmp_path: Path) -> None:
    in_hand = InHand.create(tmp_path, GROUP)
    in_hand.mark(PLACES[0])
    in_hand.mark(None)
    die(in_hand)
    assert list(left_behind(tmp_path, GROUP)) == []


def test_more_topics_than_there_is_room_for_harm_nobody(tmp_path: Path) -> None:
    in_hand = InHand.create(tmp_path, GROUP)
    for number in range(1000):
        in_hand.mark((f"{number}-" + "x" * 240, 1, 1))
    in_hand.mark(("0-" + "x" * 240, 2, 2))
    die(in_hand)
    assert list(left_behind(tmp_path, GROUP)) == [("0-" + "x" * 240, 2, 2)]


@given(st.binary(max_size=200))
def test_whatever_lies_in_the_folder_ends_nobody(noted: bytes) -> None:
    place = _place(noted)
    assert place is None or min(place[1:]) >= 0
