"""Where something stands in a trace: the W3C trace context of a message or of the span that handles it.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Self

_PARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED: Final = 0x01
_HALF: Final = 2**64


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span's identity. trace_id: 16 bytes, span_id: 8 bytes, as numbers. sampled: whether anybody keeps the trace."""

    trace_id: int
    span_id: int
    sampled: bool

    @classmethod
    def of(cls, headers: Iterable[tuple[str, bytes | None]], name: str = "traceparent") -> Self | None:
        """The context that a message's headers name; None where they name none, or none that is valid."""
        for header, value in headers:
            found = _PARENT.fullmatch((value or b"").decode("utf-8", "replace")) if header == name else None
            if found:
                trace_id, span_id, flags = (int(part, 16) for part in found.groups())
                return cls(trace_id, span_id, bool(flags & _SAMPLED))
        return None

    @classmethod
    def root(cls, share: float = 1.0) -> Self:
        """The beginning of a trace, of which this share is sampled; by the id, so that everybody decides alike."""
        trace_id = int(secrets.token_hex(16), 16) or 1
        return cls(trace_id, _span_id(), trace_id % _HALF < share * _HALF)

    def child(self) -> Self:
        """A new span below this one."""
        return replace(self, span_id=_span_id())

    @property
    def traceparent(self) -> bytes:
        """As a header's value."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}".encode()


def _span_id() -> int:
    return int(secrets.token_hex(8), 16) or 1
