"""Edits, for people and as JSON."""

from collections.abc import Iterator
from typing import Any

from dlq.edit import Edit
from schemas.terminal import flat


def edit_lines(edit: Edit) -> Iterator[str]:
    """What an edit changes."""
    draft = edit.draft
    old = f"schema id {draft.written.id}" if draft.written else f"a value that can't be read ({draft.why})"
    yield f"{draft.event_type} {draft.letter.id}: {old} -> schema id {draft.newest.id}"
    for change in edit.changes:
        yield f"  {flat(change.path)}: {flat(change.old)} -> {flat(change.new)}"


def edit_json(edit: Edit) -> dict[str, Any]:
    """An edit that was saved, for `--json`."""
    return {
        "letter": edit.draft.letter.id,
        "edited_to": edit.new_id,
        "changes": [{"path": change.path, "old": change.old, "new": change.new} for change in edit.changes],
        "schema_id": edit.draft.newest.id,
    }
