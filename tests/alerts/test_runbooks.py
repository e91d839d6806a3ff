"""What a runbook tells somebody to type can be typed: the commands exist, with these options."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import TyperException

from compose.cli import app as checkout_app
from dlq.cli import app as dlq_app
from tests.alerts.files import NAMES, ROOT, RUNBOOKS, command_lines

COMMANDS: dict[str, Any] = {"dlq": typer.main.get_command(dlq_app), "checkout": typer.main.get_command(checkout_app)}
LINES = [(path.name, line) for path in sorted(RUNBOOKS.glob("*.md")) for line in command_lines(path.read_text())]


def parse(line: str) -> None:
    """Read a command line as the command does, without running it. Raises TyperException."""
    name, *arguments = shlex.split(line)
    command = COMMANDS[name]
    context = command.make_context(name, arguments)
    while hasattr(command, "resolve_command") and context._protected_args + context.args:
        word, command, rest = command.resolve_command(context, context._protected_args + context.args)
        context = command.make_context(word, rest, parent=context)


def test_there_are_commands_to_type() -> None:
    assert len(LINES) > 40
    assert {name for name, _ in LINES} > {"DeadLetterArrived.md", "CompensationGivenUp.md", "BooksDirty.md"}


@pytest.mark.parametrize(("runbook", "line"), LINES)
def test_a_command_can_be_typed(runbook: str, line: str) -> None:
    parse(line)


@pytest.mark.parametrize(
    "line", ["dlq replays 1", "dlq replay --fast", "checkout show", "dlq discard 1 --why", "checkout x"]
)
def test_a_command_that_does_not_exist_is_found_out(line: str) -> None:
    with pytest.raises(TyperException):
        parse(line)


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_is_short_and_says_what_it_means_whom_it_hurts_what_to_look_at_what_to_do_and_when_it_is_over(
    name: str,
) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    parts = ["**Means.**", "**Hurts.**", "**Look.**", "**Do.**", "**Over** when"]
    places = [text.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_a_runbook_names_only_settings_codes_and_alerts_that_there_are(path: Path) -> None:
    words = set(re.findall(r"`([A-Z][A-Z_]{5,})(?:=\w+)?`", path.read_text(encoding="utf-8")))
    known = set(re.findall(r"`([A-Z][A-Z_]+)`", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert words <= known
    assert set(re.findall(r"\(?see ([A-Z]\w+)", path.read_text(encoding="utf-8"))) <= set(NAMES)
