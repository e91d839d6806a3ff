"""Spans of time for people."""

from typing import Final

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def age(span_s: float) -> str:
    """A span, in seconds, in its two largest units, such as `3d 4h`; a negative one is `0s`."""
    left, parts = max(0, int(span_s)), []
    for length, unit in _UNITS:
        count, left = divmod(left, length)
        parts.append((count, unit))
    first = next((at for at, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count or first == len(parts) - 1)
