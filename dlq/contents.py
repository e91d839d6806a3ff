"""What letters hold, read again from where they lie: whole letters, a few megabytes of them at a time."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final

from dlq.failing import DlqError
from dlq.letters import DeadLetter, letter_in
from dlq.settings import DlqSettings
from dlq.topics import Picker
from schemas.kafka.record import record_of

SOME_BYTES: Final = 8 * 1024 * 1024
SOME: Final = 1000


class GoneError(DlqError):
    """A letter lies no longer where it lay a moment ago; the text names it."""


def whole(settings: DlqSettings, letter: DeadLetter) -> DeadLetter:
    """A letter with all that it holds. Raises GoneError, KafkaException."""
    with closing(Picker(settings.kafka)) as picker:
        return next(_held(picker, [letter]))


def whole_letters(settings: DlqSettings, letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
    """These letters in this order, with all that they hold; never more than some of them in memory.

    Raises GoneError, KafkaException.
    """
    with closing(Picker(settings.kafka)) as picker:
        for some in parts(letters):
            yield from _held(picker, some)


def parts(letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Letters in runs of at most SOME, and of at most SOME_BYTES where that is more than one letter."""
    run: list[DeadLetter] = []
    size = 0
    for letter in letters:
        if run and (len(run) >= SOME or size + letter.size_bytes > SOME_BYTES):
            yield run
            run, size = [], 0
        run.append(letter)
        size += letter.size_bytes
    if run:
        yield run


def _held(picker: Picker, letters: Sequence[DeadLetter]) -> Iterator[DeadLetter]:
    places = {letter.place for letter in letters if letter.slim}
    found = {(x.topic, x.partition, x.offset): x for x in map(record_of, picker.pick(places))}
    for letter in letters:
        if not letter.slim:
            yield letter
            continue
        record = found.pop(letter.place, None)
        if record is None:
            topic, partition, offset = letter.place
            raise GoneError(f"letter {letter.id} lies no longer at {topic}/{partition}/{offset}: its topic let it go")
        yield replace(letter_in(record, letter.topic_prefix), entry=letter.entry, found=letter.found)


class Ahead:
    """Whole letters of a list that is worked off from its beginning, read a few megabytes ahead."""

    def __init__(self, settings: DlqSettings) -> None:
        self._settings = settings
        self._held: dict[tuple[str, int, int], DeadLetter] = {}

    def first(self, left: Sequence[DeadLetter], count: int) -> list[DeadLetter]:
        """The first `count` of `left`, of its first part at most. Raises GoneError, KafkaException."""
        wanted = left[:count]
        if any(letter.place not in self._held for letter in wanted):
            self._held = {x.place: x for x in whole_letters(self._settings, next(parts(left)))}
        return [replace(self._held[letter.place], entry=letter.entry) for letter in wanted]
