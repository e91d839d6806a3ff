"""The choreography as a drawing (SVG): a lane for each who speaks, a row for each event, an arrow to each who hears it.

Coordinates are pixels; colours are the page's CSS variables, so that the drawing follows its light and dark.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from compose.language.saying import SPEAKERS, hearers
from schemas.choreography import Entry, Timer

_WIDTH: Final = 960
_LANES: Final = dict(zip(SPEAKERS, (110, 340, 595, 850), strict=True))
_TOP: Final = 62
_ROW: Final = 38
_HEAD: Final = 7


def drawing(title: str, entries: Sequence[Entry], timers: Sequence[Timer] = ()) -> str:
    """The SVG of these events, and below them of what services do by themselves."""
    bottom = _TOP + _ROW * (len(entries) + len(timers)) - 12
    return "\n".join(
        [
            f'<svg viewBox="0 0 {_WIDTH} {bottom + 14}" role="img" aria-label="{escape(title)}">',
            *_lanes(bottom),
            *(part for row, entry in enumerate(entries) for part in _event(entry, _TOP + _ROW * row + 8)),
            *(_timer(timer, _TOP + _ROW * (len(entries) + row) + 8) for row, timer in enumerate(timers)),
            "</svg>",
        ]
    )


def _lanes(bottom: int) -> Iterator[str]:
    for speaker, x in _LANES.items():
        yield f'<line class="lane" x1="{x}" y1="34" x2="{x}" y2="{bottom}"/>'
        yield f'<rect class="head {speaker}" x="{x - 62}" y="6" width="124" height="28" rx="6"/>'
        yield f'<text class="head-text" x="{x}" y="25">{speaker}</text>'


def _event(entry: Entry, y: int) -> Iterator[str]:
    """From the speaker to each hearer; two hearers on one side share the line, which passes the nearer one."""
    start, ends = _LANES[entry.said_by], [_LANES[hearer] for hearer in hearers(entry)]
    others = [x for x in ends if x != start]
    yield f'<a href="#{entry.event}"><g class="{entry.said_by}">'
    for far in dict.fromkeys((max(others), min(others))):
        yield f'<line class="arrow" x1="{start}" y1="{y}" x2="{far}" y2="{y}"/>'
    yield from (_tip(start, x, y) for x in others)
    yield f'<circle class="dot" cx="{start}" cy="{y}" r="5"/>'
    nearest = min(others, key=lambda x: (abs(x - start), -x))
    bold = " end" if entry.ends else ""
    yield f'<text class="name{bold}" x="{(start + nearest) // 2}" y="{y - 8}">{entry.event}</text></g></a>'


def _tip(start: int, x: int, y: int) -> str:
    back = x - _HEAD * 2 if x > start else x + _HEAD * 2
    return f'<path class="tip" d="M{x} {y} L{back} {y - _HEAD + 1} L{back} {y + _HEAD - 1} Z"/>'


def _timer(timer: Timer, y: int) -> str:
    x, what = _LANES[timer.service], timer.name.removeprefix("timer.").replace("_", " ")
    says = ", ".join(timer.publishes)
    return (
        f'<a href="#{timer.publishes[0]}"><g class="{timer.service}"><title>{escape(timer.when)}</title>'
        f'<circle class="clock" cx="{x}" cy="{y}" r="8"/>'
        f'<path class="hands" d="M{x} {y - 5} L{x} {y} L{x + 4} {y + 2}"/>'
        f'<text class="by-itself" x="{x + 16}" y="{y + 4}">{what}: says {says}</text></g></a>'
    )
