"""The commands that act on dead letters. What they find on the way to an editor is read from the environment here."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

import typer

from dlq import options, picking, replaying_cli
from dlq.acting_options import By, Ids, Why, Yes, author, named
from dlq.actions import Done, discard, restore
from dlq.asking import confirm, in_editor, json_in
from dlq.console import print_json, say
from dlq.contents import whole
from dlq.deeds import Author
from dlq.describing import find
from dlq.failing import one_line
from dlq.filters import Filter
from dlq.letters import DeadLetter
from dlq.locks import EditError, assign
from dlq.options import Json, Topic, filter_from
from dlq.settings import DlqSettings, read_settings
from dlq.telling import refusal_lines, refusals_json

Sets = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Such as lines[0].quantity=2.")]
JsonFile = Annotated[Path | None, typer.Option("--file", metavar="JSON", help="The whole value, edited elsewhere.")]

Act = Callable[[DlqSettings, Sequence[DeadLetter], Author], Done]


def add_commands(app: typer.Typer) -> None:
    """Add the commands that change a letter's state to `app`."""
    replaying_cli.add_commands(app)
    app.command("discard")(discard_command)
    app.command("restore")(restore_command)
    app.command("edit")(edit_command)


def discard_command(  # noqa: PLR0913 - the filters
    ids: Ids = None,
    *,
    why: Why = "",
    service: options.Service = None,
    disposition: options.Disposition = None,
    fingerprint: options.Fingerprint = None,
    checkout: options.Checkout = None,
    state: options.StateName = None,
    since: options.Since = None,
    until: options.Until = None,
    match: options.Match = None,
    topic: Topic = None,
    yes: Yes = False,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Take letters out of sight, with a reason. They stay where they are, and `dlq restore` opens them again."""
    if not why.strip():
        raise typer.BadParameter("say why, in a sentence: whoever looks at it in a year will ask", param_hint="--why")
    with one_line("discard"):
        wanted = filter_from(service, disposition, fingerprint, checkout, state, since, until, match)
        code = _change("discarded", discard, (wanted, topic, ids), (by, why), yes=yes, as_json=as_json)
    raise typer.Exit(code)


def restore_command(  # noqa: PLR0913 - the filters
    ids: Ids = None,
    *,
    why: Why = "",
    service: options.Service = None,
    disposition: options.Disposition = None,
    fingerprint: options.Fingerprint = None,
    checkout: options.Checkout = None,
    since: options.Since = None,
    until: options.Until = None,
    match: options.Match = None,
    topic: Topic = None,
    yes: Yes = False,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Open discarded letters again."""
    with one_line("restore"):
        states = None if ids else ["discarded"]
        wanted = filter_from(service, disposition, fingerprint, checkout, states, since, until, match)
        code = _change("restored", restore, (wanted, topic, ids), (by, why), yes=yes, as_json=as_json)
    raise typer.Exit(code)


def _change(
    verb: str,
    act: Act,
    meant: tuple[Filter, list[str] | None, list[str] | None],
    said: tuple[str, str],
    *,
    yes: bool,
    as_json: bool,
) -> int:
    """0 when it was done to all that were named or could be; 1 when a named one was refused. said: --by and --why."""
    wanted, topics, ids = meant
    settings = read_settings()
    by = author(*said, settings)
    letters = picking.read(settings, topics, sorted(wanted.services), wanted.match)
    wanted = named(letters, ids or (), wanted)
    chosen = [letter for letter in letters if wanted.matches(letter)]
    if chosen:
        confirm(f"{len(chosen):,} letters are to be {verb}.", yes=yes)
    done = act(settings, chosen, by)
    if as_json:
        print_json({verb: [letter.id for letter in done.letters], "refused": refusals_json(done.refused)})
    else:
        say(f"{len(done.letters):,} {verb}")
        for line in refusal_lines(done.refused):
            say(line, err=True)
    return 1 if ids and done.refused else 0


def edit_command(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it; or SERVICE/ID.")],
    *,
    sets: Sets = None,
    file: JsonFile = None,
    why: Why = "",
    topic: Topic = None,
    yes: Yes = False,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Edit a letter's value as JSON, in $EDITOR, by --set or from --file; the edited letter takes its place."""
    # these bring SQLAlchemy and fastavro, for which no other command should wait
    from dlq.edit import draft_of, edited, save  # noqa: PLC0415
    from dlq.telling_edits import edit_json, edit_lines  # noqa: PLC0415
    from dlq.wire import Wire  # noqa: PLC0415

    with one_line("edit"):
        settings = read_settings()
        letter = whole(settings, find(picking.read(settings, topic), letter_id))
        with closing(Wire(settings)) as wire:
            draft = draft_of(wire, letter)
        with _data(draft.data, draft.why, sets, file) as data:
            edit = edited(draft, data)
        if edit is None:
            say("{}" if as_json else "nothing changed")
            return
        for line in edit_lines(edit):
            say(line, err=as_json)
        confirm("The edited letter takes the old one's place.", yes=yes)
        save(settings, edit, author(by, why, settings))
        if as_json:
            print_json(edit_json(edit))
        else:
            say(f"{edit.new_id} supersedes {letter.id}; `dlq replay {edit.new_id}` sends it")


@contextmanager
def _data(
    data: Any,
    why_not: str,
    sets: Sequence[str] | None,
    file: Path | None,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Any]:
    """The value as it should be. Raises EditError, OSError."""
    if file is not None:
        data = json_in(file)
    elif data is None:
        raise EditError(f"the value can't be read ({why_not}): give the whole value as JSON with --file")
    changed = deepcopy(data)
    for assignment in sets or ():
        assign(changed, assignment)
    if file is not None or sets:
        yield changed
    elif not sys.stdin.isatty():
        raise EditError("there is no terminal for an editor: say what to change with --set or --file")
    else:
        with in_editor(data, environ.get("VISUAL") or environ.get("EDITOR") or "vi") as written:
            yield written
