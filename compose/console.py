"""The console of the commands."""

from typing import Final

from rich.console import Console

_LOG_COLUMNS: Final = 140
"""A file or pipe has no width of its own, and a table folded at 80 is no table."""


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough where there is none."""
    # nothing that is printed is read as markup, an emoji's code or a link: it may come from anywhere
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _LOG_COLUMNS
    return made
