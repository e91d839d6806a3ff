"""Dead letters for people and as JSON."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlq.ages import age
from dlq.console import say
from dlq.groups import Group
from dlq.ledger import State
from dlq.letters import DeadLetter
from dlq.trail import Line
from dlq.watch import Finding
from schemas.terminal import flat, json_text, shown

_MESSAGE_CHARS = 120
_STYLES = {
    State.OPEN: "yellow",
    State.REPLAYING: "cyan",
    State.RESOLVED: "green",
    State.FAILED_AGAIN: "red",
    State.TOO_LATE: "magenta",
}


def first_line(text: str) -> str:
    """The beginning of an error's message, for a table."""
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= _MESSAGE_CHARS else line[: _MESSAGE_CHARS - 3] + "..."


def clock(at: datetime) -> str:
    """An instant in a table, UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def letter_json(letter: DeadLetter) -> dict[str, Any]:
    """A letter in a list."""
    topic, partition, offset = letter.place
    return {
        "id": letter.id,
        "service": letter.service,
        "state": letter.state.value,
        "event_type": letter.event_type,
        "checkout_id": letter.checkout_id,
        "disposition": letter.disposition,
        "error_class": letter.error_class,
        "error_message": letter.error_message,
        "fingerprint": letter.fingerprint,
        "attempts": letter.info["dlq-attempts"],
        "first_failed_at": letter.first_failed_at,
        "failed_at": letter.failed_at,
        "replay_count": letter.replay_count,
        "dialect": letter.dialect,
        "value_bytes": letter.value_bytes,
        "value_cut": letter.info["dlq-value-cut"],
        "defect": letter.defect,
        "topic": topic,
        "partition": partition,
        "offset": offset,
    }


def group_json(group: Group) -> dict[str, Any]:
    """A group in a list."""
    return {
        "service": group.service,
        "event_type": group.event_type,
        "error_class": group.error_class,
        "fingerprint": group.fingerprint,
        "count": group.count,
        "first_failed_at": group.first_failed_at,
        "last_failed_at": group.last_failed_at,
        "oldest_age_s": round(group.oldest_age_s),
        "states": {state.value: count for state, count in group.states.items()},
        "replayed": group.replayed,
        "failed_again": group.failed_again,
        "sample_id": group.sample.id,
        "message": group.sample.error_message,
    }


def print_letters(letters: Sequence[DeadLetter], console: Console) -> None:
    """Two lines a letter: what and when, and what its error said."""
    table = _table("id", "service", "event", "checkout", "state", "failed (UTC)", "replays", "error")
    for letter in letters:
        table.add_row(
            *map(_cell, (letter.id, letter.service, letter.event_type, letter.checkout_id)),
            _state(letter.state),
            clock(letter.failed_at),
            str(letter.replay_count or ""),
            _cell(f"{letter.error_class} ({letter.disposition})\n{first_line(letter.error_message)}"),
        )
    console.print(table)


def print_groups(groups: Sequence[Group], console: Console) -> None:
    """Two lines a group: what and how many, and one of its letters."""
    table = _table("count", "service", "event", "error", "fingerprint", "oldest", "last (UTC)", "states", "sample")
    table.columns[0].justify = "right"
    for group in groups:
        states = Text(", ").join(Text.assemble(f"{count} ", _state(state)) for state, count in group.states.items())
        table.add_row(
            f"{group.count:,}",
            *map(_cell, (group.service, group.event_type, group.error_class, group.fingerprint)),
            age(group.oldest_age_s),
            clock(group.last_failed_at),
            states,
            _cell(f"{group.sample.id}\n{first_line(group.sample.error_message)}"),
        )
    console.print(table)


def print_trail(lines: Sequence[Line], console: Console) -> None:
    """One row an act."""
    table = _table("time (UTC)", "by", "action", "letter or job", "letters", "why", "detail")
    for line in lines:
        said = (
            line.text("by"),
            line.text("action"),
            line.key,
            line.text("letters"),
            line.text("why"),
            line.text("detail"),
        )
        table.add_row(clock(line.at), *map(_cell, said))
    console.print(table)


def print_findings(unresolved: int, found: Sequence[Finding]) -> None:
    """One line a finding, as a mail of cron should have it."""
    if not found:
        say(f"nothing to look at: {unresolved:,} letters unresolved")
    for finding in found:
        say(f"{finding.what}: {flat(finding.sentence)} (such as {flat(finding.sample)})")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # an id or fingerprint that is cut can't be copied
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "fingerprint"))
    return table


def _cell(text: str) -> Text:
    return shown(text, lines=True)


def _state(state: State) -> Text:
    return Text(state.value.replace("_", " "), _STYLES.get(state, ""))


def pretty(content: Any) -> str:
    """A decoded record for people."""
    return json_text(content, indent=2)
