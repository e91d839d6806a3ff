"""Runs the audit and tells what it found."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from compose.audit.facts import Breach, Facts, is_under_way
from compose.audit.reading import Journal, ledger_entries, read_facts, read_topics
from compose.audit.rules import INVARIANTS, breaches
from compose.settings import Servers
from schemas.terminal import shown

_LOOKS: Final = 5
_BETWEEN_S: Final = 0.5
_SHOWN: Final = 50
_LINE_CHARS: Final = 2000


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an audit. under_way: checkouts that still move and were not judged. waiting: messages to be
    tried again. foreign_letters: on the dead-letter topics, written by no service; they break nothing.
    """

    breaches: Sequence[Breach]
    checkouts: int
    under_way: int
    waiting: int
    seconds: float
    foreign_letters: int = 0

    @property
    def clean(self) -> bool:
        """Whether every invariant holds."""
        return not self.breaches

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        found = [{"invariant": b.invariant, "offender": b.offender, "what": b.what} for b in self.breaches]
        return {"clean": self.clean, "breaches": found}


def audit(servers: Servers, journal: Journal | None = None) -> Report:
    """Look; what seems wrong is looked at again, because a running system moves between two reads.

    Only a breach that stays through five looks is one. journal: the provider's entries; None: asked for over HTTP.
    """
    began = time.monotonic()
    read_journal = journal or partial(ledger_entries, servers.payment_provider_url)
    facts, found = _look(servers, read_journal)
    for _ in range(_LOOKS - 1):
        if not found:
            break
        time.sleep(_BETWEEN_S)
        facts, again = _look(servers, read_journal)
        still = {(breach.invariant, breach.offender) for breach in found}
        found = [breach for breach in again if (breach.invariant, breach.offender) in still]
    moving = sum(is_under_way(row) for row in facts.checkouts.values())
    waiting = sum(facts.waiting.values())
    return Report(found, len(facts.checkouts), moving, waiting, time.monotonic() - began, facts.foreign_letters)


def _look(servers: Servers, journal: Journal) -> tuple[Facts, list[Breach]]:
    earlier = Facts()
    read_topics(servers, earlier)
    facts = read_facts(servers, journal)
    facts.heard, facts.letters = earlier.heard, earlier.letters
    later = Facts()
    read_topics(servers, later)
    facts.published, facts.set_aside = later.published, later.set_aside
    # given up first, read later: what was given up before the topics were read has its letter there
    facts.given_up = {service: ids - later.letters[service] for service, ids in facts.given_up.items()}
    return facts, breaches(facts)


def print_report(report: Report, console: Console) -> None:
    """The invariants with a tick or the offenders."""
    title = (
        f"audit: {report.checkouts:,} checkouts, {report.under_way:,} under way, {report.waiting:,} messages waiting"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("invariant")
    table.add_column("holds")
    for number, invariant in enumerate(INVARIANTS, start=1):
        broken = sum(breach.invariant == number for breach in report.breaches)
        rule = (invariant.__doc__ or "").splitlines()[0]
        table.add_row(rule, Text(f"{broken:,} breaches", "red") if broken else Text("yes", "green"))
    console.print(table)
    for breach in report.breaches[:_SHOWN]:
        line = shown(f"{breach.offender}: {breach.what}", limit=_LINE_CHARS)
        console.print(Text.assemble((f"{breach.invariant} ", "red"), line))
    if len(report.breaches) > _SHOWN:
        console.print(f"... and {len(report.breaches) - _SHOWN:,} more; all with --json")
