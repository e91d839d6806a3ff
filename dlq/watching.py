"""`dlq watch`: reads what the findings are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dlq.known import add_known, read_known
from dlq.ledger import Entry
from dlq.letters import DeadLetter, Warn, unheard
from dlq.reading import read_all
from dlq.retention import retentions
from dlq.settings import DlqSettings
from dlq.topics import Progress, untold
from dlq.watch import Finding, Limits, findings, known_by_ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """unresolved: letters; oldest_age_s: since the first failure of the oldest of them, seconds, None without any."""

    unresolved: int
    oldest_age_s: float | None
    findings: list[Finding]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        found = [{name: getattr(x, name) for name in Finding.__dataclass_fields__} for x in self.findings]
        age_s = None if self.oldest_age_s is None else round(self.oldest_age_s)
        return {"ok": not found, "unresolved": self.unresolved, "oldest_age_s": age_s, "findings": found}


def look(
    settings: DlqSettings,
    limits: Limits,
    now: datetime,
    known: Path | None = None,
    *,
    progress: Progress = untold,
    warn: Warn = unheard,
) -> Report:
    """Look once at the letters of all services.

    known: the file of the fingerprints that were reported; new ones are added, so that each is reported once. None:
    those that the ledger knows are known. Raises KafkaException, NoTopicError, OSError.
    """
    letters, ledger = read_all(settings, progress=progress, warn=warn)
    seen = known_causes(letters, ledger) if known is None else read_known(known)
    kept = retentions(settings.kafka, {letter.place[0] for letter in letters})
    found = findings(letters, seen, kept, limits, now)
    if known is not None:
        add_known(known, [x.fingerprint for x in found if x.fingerprint], f"first reported {now:%Y-%m-%d %H:%M} UTC")
    ages = [(now - letter.first_failed_at).total_seconds() for letter in letters if letter.unresolved]
    return Report(unresolved=len(ages), oldest_age_s=max(ages, default=None), findings=found)


def known_causes(letters: Sequence[DeadLetter], ledger: Mapping[str, Entry]) -> set[str]:
    """The fingerprints that an operator has touched. The ledger outlives the letters: it knows also the causes of those
    that are long gone.
    """
    return known_by_ledger(letters, [entry.fingerprint for entry in ledger.values()])
