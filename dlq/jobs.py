"""The replays that there were, from the audit, and how far each came, from the ledger."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dlq.deeds import Action, Author
from dlq.desk import say
from dlq.failing import DlqError
from dlq.ledger import Entry, moment
from dlq.request import Request, request_from
from dlq.settings import DlqSettings
from dlq.trail import Line, read_trail


class UnknownJobError(DlqError):
    """No replay has this id, or what it was asked can't be read any more."""


class EndedJobError(DlqError):
    """The replay ended already; the text says when and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One replay. started: its newest start. ended: the line that ended it after that; None: it runs, or was killed."""

    id: str
    started: Line
    ended: Line | None = None

    @property
    def planned(self) -> int:
        """How many letters it has in all."""
        letters = self.started.fields.get("letters")
        return letters if isinstance(letters, int) else 0

    def request(self) -> Request:
        """What it was asked to do. Raises UnknownJobError."""
        try:
            return request_from(self.started.fields.get("detail", {}).get("request"))
        except ValueError as error:
            raise UnknownJobError(f"what job {self.id} was asked to do can't be read: {error}") from error


def read_jobs(settings: DlqSettings) -> dict[str, Job]:
    """Every replay that there was, by id, the latest start last. Raises KafkaException."""
    return jobs_in(read_trail(settings))


def jobs_in(lines: Iterable[Line]) -> dict[str, Job]:
    """The replays in these lines, which come in the order of their times."""
    jobs: dict[str, Job] = {}
    for line in lines:
        action, job = line.text("action"), line.text("replay_id")
        if action == Action.REPLAY_STARTED:
            jobs.pop(job, None)
            jobs[job] = Job(id=job, started=line)
        elif action in (Action.REPLAY_ENDED, Action.REPLAY_CANCELLED) and job in jobs:
            jobs[job] = replace(jobs[job], ended=line)
    return jobs


def job_of(jobs: dict[str, Job], job_id: str) -> Job:
    """One of them. Raises UnknownJobError."""
    if job_id not in jobs:
        raise UnknownJobError(f"there is no replay {job_id}; `dlq audit` tells which there were")
    return jobs[job_id]


def cancel(settings: DlqSettings, job: Job, author: Author) -> None:
    """Say that a replay is cancelled; where it runs it hears that before its next chunk.

    Raises EndedJobError, NotWrittenError.
    """
    if job.ended is not None:
        how = job.ended.text("why") or job.ended.text("action").replace("_", " ")
        raise EndedJobError(f"job {job.id} ended already, at {moment(job.ended.at)} by {job.ended.text('by')}: {how}")
    say(settings, author.deed(Action.REPLAY_CANCELLED, letters=job.planned, replay_id=job.id).record(job.id))


def interrupted(jobs: dict[str, Job], ledger: Iterable[Entry]) -> list[str]:
    """A sentence about every replay that was started and neither ended nor cancelled: it runs, or was killed."""
    sent = Counter(entry.replay_id for entry in ledger)
    return [
        f"job {job.id} by {job.started.text('by')} was interrupted after {sent[job.id]} of {job.planned}, "
        f"or still runs; `dlq replay --resume {job.id}` goes on"
        for job in jobs.values()
        if job.ended is None
    ]
