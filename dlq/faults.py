"""What went wrong, as it is written on a dead letter: class, message, stack without locals, fingerprint."""

import hashlib
import traceback
from typing import Final

from dlq.letter import STACK_BYTES, Fault
from schemas.secret import masked

OURS: Final = ("schemas", "outbox", "dlq", "services")
_DIGITS: Final = 12


def fault_of(error: BaseException, event_type: str, handler: str) -> Fault:
    """The fault in an exception. Its frame is the innermost one of this project, else the handler."""
    lines = traceback.TracebackException.from_exception(error, capture_locals=False).format()
    stack = masked("".join(lines)).encode("utf-8", "replace")[-STACK_BYTES:].decode("utf-8", "ignore")
    name = type(error).__name__
    return Fault(name, masked(str(error)), stack, fingerprint(name, _frame(error) or handler, event_type))


def refusal(error_class: str, message: str, event_type: str, handler: str) -> Fault:
    """The fault of a decision that refuses: no exception, so the handler is the frame."""
    return Fault(error_class, message, handler, fingerprint(error_class, handler, event_type))


def fingerprint(error_class: str, frame: str, event_type: str) -> str:
    """Equal for faults of the same cause: class, function and event type, never the text or the line."""
    return hashlib.sha256(f"{error_class}|{frame}|{event_type}".encode()).hexdigest()[:_DIGITS]


def _frame(error: BaseException) -> str | None:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        module = str(frame.f_globals.get("__name__", ""))
        if module.split(".", maxsplit=1)[0] in OURS and not module.startswith("services.shell"):
            return f"{module}.{frame.f_code.co_name}"
    return None
