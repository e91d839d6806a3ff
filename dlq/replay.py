"""Sends dead letters back to their service, each exactly once per job, and hears what becomes of them.

One transaction holds a chunk's records on `<service>.retry` and its entries in the ledger: a job that is killed leaves
nothing half done, and the ledger tells the next one where to go on. Read `Replay.run` for a job's life.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from confluent_kafka import KafkaException

from dlq.contents import Ahead, parts
from dlq.deeds import Action, Author
from dlq.desk import Desk, Out, TakenOverError, UnclearError, ledger_record
from dlq.failing import DlqError
from dlq.ledger import State
from dlq.letters import DeadLetter
from dlq.outcomes import Watch
from dlq.pace import Pace
from dlq.plan import Plan, make_plan
from dlq.ramp import Seen, Stop
from dlq.reading import read_ledger
from dlq.request import Request
from dlq.retry import replaying, retry_record
from dlq.settings import DlqSettings

CHUNK: Final = 1000
_LOOK_S: Final = 0.25
_UNCLEAR_AT_MOST: Final = 3
_SETTLE_S: Final = 2.0
"""So long a job whose desk was taken waits to hear by whom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a job is. planned: letters in all, with those that an earlier run sent. note: what the ramp says."""

    job: str
    planned: int
    sent: int
    outcomes: Counter[State]
    note: str = ""

    @property
    def out(self) -> int:
        """How many are sent and have no outcome yet."""
        return self.sent - self.outcomes.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a job. end: "" when everything was sent, else why not. seconds: of the sending only."""

    status: Status
    plan: Plan
    end: str
    seconds: float


Tell = Callable[[Status], None]


class InterruptedReplayError(DlqError):
    """The broker went away in the middle; the text says how far the job came."""


class Replay:
    """One run of one job.

    letters: those that are meant, slim; they are looked up in the ledger again before anything is sent.
    by, why: of whoever asked. stop: set by whoever wants it to end after the present chunk.
    tell: called with each new status.
    """

    def __init__(
        self,
        settings: DlqSettings,
        job: str,
        request: Request,
        letters: list[DeadLetter],
        *,
        by: str,
        why: str = "",
        stop: threading.Event,
        tell: Tell,
    ) -> None:
        self._settings = settings
        self._job, self._request = job, request
        self._by, self._why = by, why
        self._left, self._ahead = letters, Ahead(settings)
        self._stop, self._tell = stop, tell
        self._sent, self._planned, self._started = 0, 0, False
        self._note = ""
        self._unclear = 0

    def run(self, wait_s: float = 0.0) -> Result:
        """Send what the plan holds, then wait up to `wait_s` for the outcomes.

        Raises TakenOverError where another command won't let go of the desk, InterruptedReplayError, KafkaException.
        """
        with Watch(self._settings, self._job) as self._watch:
            self._take_desk()
            plan, self._pace, began = self._plan, Pace(self._settings, self._request, self._plan.send), time.monotonic()
            try:
                end = self._send_all()
            except KafkaException as error:
                raise InterruptedReplayError(f"Kafka: {error.args[0].str()}. {self._how_far('interrupted')}") from error
            finally:
                self._desk.close()
            seconds = time.monotonic() - began
            self._wait(wait_s if not end else 0.0)
            return Result(status=self.status(), plan=plan, end=end, seconds=seconds)

    def status(self) -> Status:
        """How far it is now."""
        return Status(
            job=self._job,
            planned=self._planned,
            sent=self._sent,
            outcomes=self._watch.counts(),
            note=self._note,
        )

    def _take_desk(self) -> None:
        """Take the desk and see what the ledger says now: nobody can change it from here on without our knowing."""
        self._desk = Desk(self._settings)
        ledger = read_ledger(self._settings)
        self._watch.know(ledger)
        self._sent = sum(entry.replay_id == self._job for entry in ledger.values())
        limit = None if self._request.limit is None else max(0, self._request.limit - self._sent)
        fresh = [replace(letter, entry=ledger.get(letter.ledger_key)) for letter in self._left]
        self._plan = make_plan(fresh, max_replays=self._request.max_replays, limit=limit, resumed=self._job)
        self._left = list(self._plan.send)
        self._planned = self._sent + len(self._left)

    def _send_all(self) -> str:
        """Chunk by chunk; "" at the end, or why it ended before."""
        while self._left:
            end = self._reason_to_end()
            if end:
                return self._ended(end)
            allowed = self._pace.allow(self._chunk(), self._seen())
            if isinstance(allowed, Stop):
                return self._ended(f"stopped: {allowed.why}. {self._how_far('stopped')}")
            self._note = self._pace.note
            if allowed and not self._send(self._ahead.first(self._left, allowed)):
                return f"another replay took over (job {self._watch.taken_over}). {self._how_far('stopped')}"
            self._look(0.0 if allowed else min(_LOOK_S, self._pace.wait_s()))
        return ""

    def _chunk(self) -> int:
        """How many of the next letters are one transaction: so many, and not too many bytes."""
        return min(CHUNK, len(next(parts(self._left))))

    def _send(self, chunk: list[DeadLetter]) -> bool:
        """Send a chunk; False when another replay took over, and then nothing of it was sent."""
        last = len(chunk) == len(self._left)
        try:
            self._desk.commit(self._records(chunk, last=last))
        except TakenOverError:
            return self._regain()
        except UnclearError:
            self._unclear += 1
            if self._unclear > _UNCLEAR_AT_MOST:
                raise
            return self._regain()
        self._started = True
        self._sent += len(chunk)
        del self._left[: len(chunk)]
        return True

    def _records(self, chunk: list[DeadLetter], *, last: bool) -> Iterator[Out]:
        author = self._author()
        if not self._started:
            detail = {"request": self._request.as_json(), "sent_before": self._sent, "run": self._watch.run}
            line = author.deed(Action.REPLAY_STARTED, letters=self._planned, replay_id=self._job, detail=detail)
            yield line.record(self._job)
        for letter in chunk:
            yield ledger_record(replaying(letter, self._job, author))
            yield retry_record(letter, self._job)
        if last:
            yield self._end_line(author, "", self._sent + len(chunk))

    def _regain(self) -> bool:
        """A discard or an edit is done in a moment, and then the job goes on; another replay ends it."""
        self._look_for(_SETTLE_S, until=lambda: bool(self._watch.taken_over))
        if self._watch.taken_over:
            return False
        self._desk.close()
        self._take_desk()
        self._started = self._started or self._sent > 0
        return True

    def _reason_to_end(self) -> str:
        if self._stop.is_set():
            return self._how_far("cancelled")
        if self._watch.cancelled is not None:
            return f"cancelled by {self._watch.cancelled.by}. {self._how_far('cancelled')}"
        return ""

    def _how_far(self, how: str) -> str:
        goes_on = f"; `dlq replay --resume {self._job}` goes on" if self._started or self._sent else ""
        return f"{how} after {self._sent} of {self._planned}{goes_on}"

    def _ended(self, why: str) -> str:
        """Write down that it ended, and how; a job that sent nothing leaves no trace."""
        if self._started:
            try:
                self._desk.commit([self._end_line(self._author(), why, self._sent)])
            except TakenOverError:
                # whoever took over knows from the ledger how far it came
                return f"{why} (another command took over meanwhile)"
        return why

    def _end_line(self, author: Author, why: str, sent: int) -> Out:
        detail = {"sent": sent, "of": self._planned}
        line = author.deed(Action.REPLAY_ENDED, why=why, letters=sent, replay_id=self._job, detail=detail)
        return line.record(self._job)

    def _author(self) -> Author:
        return Author(by=self._by, at=datetime.now(UTC), why=self._why)

    def _seen(self) -> Seen:
        counts = self._watch.counts()
        return Seen(
            at_s=time.monotonic(),
            sent=self._sent,
            answered=counts.total(),
            failed_again=counts[State.FAILED_AGAIN],
        )

    def _look(self, timeout_s: float) -> None:
        self._watch.look(timeout_s)
        self._tell(self.status())

    def _look_for(self, limit_s: float, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + limit_s
        while not until() and time.monotonic() < deadline:
            self._look(_LOOK_S)

    def _wait(self, limit_s: float) -> None:
        self._look_for(limit_s, until=lambda: self._stop.is_set() or not self.status().out)
