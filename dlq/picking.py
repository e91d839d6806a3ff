"""Reads what a command asks for, and tells of it on the terminal."""

from collections.abc import Sequence
from datetime import datetime

from dlq.console import progress, warn
from dlq.filters import Filter, search_for
from dlq.letters import DeadLetter
from dlq.reading import read_letters
from dlq.saga import Said, timeline
from dlq.settings import DlqSettings, read_settings
from dlq.trail import Line, read_trail
from schemas.choreography import SERVICES


def read(
    settings: DlqSettings, topics: Sequence[str] | None, services: Sequence[str] = (), match: Sequence[str] = ()
) -> list[DeadLetter]:
    """Every letter of these services, or on these topics, slim. match: texts that a filter will ask for.

    Raises KafkaException, NoTopicError.
    """
    with progress("reading dead letters") as told:
        return read_letters(
            settings,
            services or SERVICES,
            topics=topics or (),
            search=search_for(match),
            progress=told,
            warn=warn,
        )


def meant(settings: DlqSettings, wanted: Filter, topics: Sequence[str] | None) -> list[DeadLetter]:
    """Those that a filter asks for. Raises KafkaException, NoTopicError."""
    return [x for x in read(settings, topics, sorted(wanted.services), wanted.match) if wanted.matches(x)]


def waiting(wanted: Filter, topics: Sequence[str] | None, everything: bool) -> list[DeadLetter]:
    """Those that are meant; unless everything or a state is asked for, only those that nobody has settled."""
    found = meant(read_settings(), wanted, topics)
    if everything or wanted.states:
        return found
    left = [letter for letter in found if letter.unresolved]
    if len(found) > len(left):
        warn(f"{len(found) - len(left):,} letters are settled and not shown (--all shows them)")
    return left


def its_events(settings: DlqSettings, letter: DeadLetter) -> list[Said]:
    """What was said of a letter's checkout. Raises KafkaException."""
    with progress("reading its checkout's events") as told:
        return timeline(settings, letter, progress=told)


def trail(settings: DlqSettings, since: datetime | None) -> list[Line]:
    """The audit. Raises KafkaException."""
    with progress("reading the audit") as told:
        return read_trail(settings, since, progress=told, warn=warn)
