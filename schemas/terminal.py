"""Text from outside made safe for a terminal, a log or a pipe; and JSON that is safe there.

What a terminal would obey instead of showing it becomes a visible escape: `\\x1b`, `\\u202e`. That are control and
format characters, halves of surrogate pairs, private and unassigned characters, line and paragraph separators, and
letters that have no picture of their own (zero width, fillers, variation selectors).

Sources: Unicode 15, chapter 4.5 (General Category) and UAX 44, Default_Ignorable_Code_Point; Trojan Source,
https://trojansource.codes (bidirectional text).
"""

import json
import sys
import traceback
import unicodedata
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from rich.text import Text

from schemas.secret import masked

_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_WITHOUT_A_PICTURE: Final = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xE0100, 0xE01EF),
)
"""First and last of those that have another category than the above and still show nothing."""
_BYTE: Final = 0x100
_BMP: Final = 0x1_0000
_CUT: Final = "..."


class _Table(dict[int, str]):
    """For `str.translate`: what each character is shown as. Filled as characters come, at most once for each."""

    def __init__(self, escape: Callable[[int], str]) -> None:
        super().__init__()
        self._escape = escape

    def __missing__(self, code: int) -> str:
        shown = chr(code) if is_plain(chr(code)) else self._escape(code)
        self[code] = shown
        return shown


def is_plain(character: str) -> bool:
    """Whether a terminal shows this character and does nothing else."""
    if unicodedata.category(character) in _UNSHOWN:
        return False
    return not any(first <= ord(character) <= last for first, last in _WITHOUT_A_PICTURE)


def _python_escape(code: int) -> str:
    return f"\\x{code:02x}" if code < _BYTE else f"\\u{code:04x}" if code < _BMP else f"\\U{code:08x}"


def _json_escape(code: int) -> str:
    if code < _BMP:
        return f"\\u{code:04x}"
    high, low = divmod(code - _BMP, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


_SHOWN: Final = _Table(_python_escape)
_LINES: Final = _Table(_python_escape)
_LINES.update({ord("\n"): "\n", ord("\t"): "\t"})
_JSON: Final = _Table(_json_escape)
# between the values of indented JSON; inside of them `json` has escaped it already
_JSON[ord("\n")] = "\n"


def safe(text: object, *, lines: bool = False, limit: int = 0) -> str:
    """Any text as a terminal may be given it. lines: keep line feeds and tabs. limit: at most so many characters."""
    found = text if isinstance(text, str) else str(text)
    whole = found if not limit or len(found) <= limit else found[: max(0, limit - len(_CUT))] + _CUT
    return whole.translate(_LINES if lines else _SHOWN)


def flat(text: object, *, limit: int = 0) -> str:
    """Like `safe`, with every run of white space as one space: for an error's text, which may have lines."""
    return safe(" ".join(str(text).split()), limit=limit)


def shown(text: object, style: str = "", *, lines: bool = False, limit: int = 0) -> Text:
    """The same for rich: never read as markup, no emoji codes, no links."""
    return Text(safe(text, lines=lines, limit=limit), style)


def json_text(
    value: Any, *, default: Callable[[Any], Any] = str, indent: int | None = None, compact: bool = False
) -> str:
    """JSON in which control and format characters stand as `\\uXXXX`; letters of all languages stay as they are.

    It reads back as the same value. indent: as `json.dumps` has it. compact: no spaces.
    """
    separators = (",", ":") if compact else None
    return json.dumps(value, default=default, indent=indent, ensure_ascii=False, separators=separators).translate(_JSON)


def prepare() -> None:
    """Where a command starts: what its output's encoding can't hold is escaped, and a traceback is safe, too."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    sys.excepthook = tell


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An exception that nobody caught, on stderr: as a terminal may be given it, without the logins of URLs."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write(safe(masked("".join(traceback.format_exception(kind, error, trace))), lines=True))
