"""The running provider: what the handlers share, and how a request with a key is executed once."""

import asyncio
from dataclasses import dataclass, field

from aiohttp import web

from compose.sandbox.faults import Rule
from compose.sandbox.group_commit import GroupCommit
from compose.sandbox.idempotency import InFlight, Reply, StoredKey, conflict, replay
from compose.sandbox.ledger import Work
from compose.sandbox.model import Authorize, Command, operation_of
from compose.sandbox.payment_methods import behaviour
from compose.sandbox.reader import Reader


@dataclass(slots=True)
class Provider:
    """One per process. `rules` and `in_flight` live in memory and end with it."""

    commits: GroupCommit
    reader: Reader
    seed: int
    rules: list[Rule] = field(default_factory=list)
    in_flight: dict[str, InFlight] = field(default_factory=dict)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def execute(self, work: Work) -> Reply:
        """Execute a request, or say what its key says. Raises LedgerUnavailableError."""
        if running := self.in_flight.get(work.key):
            return conflict(running, work.fingerprint)
        self.in_flight[work.key] = _in_flight(work)
        try:
            return await self._execute(work)
        finally:
            del self.in_flight[work.key]

    def known_key(self, key: str) -> StoredKey | InFlight | None:
        """What the provider knows of a key."""
        return self.reader.key(key) or self.in_flight.get(key)

    def checkout_of(self, command: Command) -> str | None:
        """The checkout that a command is about. Reads the ledger only when a rule wants to know."""
        if isinstance(command, Authorize):
            return command.checkout_id
        if not any(rule.checkout_id for rule in self.rules):
            return None
        payment = self.reader.payment(command.payment_id)
        return payment.checkout_id if payment else None

    async def _execute(self, work: Work) -> Reply:
        if delay_s := _delay_s(work.command):
            if stored := self.reader.key(work.key):
                return replay(stored, work.fingerprint)  # the bank was slow once; what is stored is not
            await asyncio.sleep(delay_s)
        return await self.commits.execute(work)


PROVIDER = web.AppKey("PROVIDER", Provider)


def _delay_s(command: Command) -> float:
    return behaviour(command.payment_method).delay_ms / 1000 if isinstance(command, Authorize) else 0.0


def _in_flight(work: Work) -> InFlight:
    payment_id = None if isinstance(work.command, Authorize) else work.command.payment_id
    return InFlight(work.fingerprint, operation_of(work.command), payment_id)
