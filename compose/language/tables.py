"""Tables of the page. What comes in is HTML; whoever has text escapes it."""

from collections.abc import Iterable
from html import escape


def table(heads: tuple[str, ...], rows: Iterable[str]) -> str:
    """A table that scrolls by itself where it is too wide."""
    head = "".join(f"<th>{name}</th>" for name in heads)
    return "\n".join(['<div class="wide"><table>', f"<tr>{head}</tr>", *rows, "</table></div>"])


def row(*cells: str, classes: tuple[str, ...] = ()) -> str:
    """A row. classes: of its first cells; "" for none."""
    named = [*classes, *("" for _ in cells)]
    marked = (f' class="{name}"' if name else "" for name in named)
    return "<tr>" + "".join(f"<td{mark}>{cell}</td>" for cell, mark in zip(cells, marked, strict=False)) + "</tr>"


def code(text: str) -> str:
    """Text that is a name."""
    return f"<code>{escape(text)}</code>"
