"""The one error that this package raises for what its user can put right."""

from __future__ import annotations

EXTERNAL_SERVERS = (
    "KAFKA_BOOTSTRAP_SERVERS",
    "SCHEMA_REGISTRY_URL",
    "CHECKOUT_DATABASE_URL",
    "PAYMENT_DATABASE_URL",
    "WAREHOUSE_DATABASE_URL",
)


class StackError(Exception):
    """A server could not be had; the message says which, why, and what to do about it."""


def or_use_your_own() -> str:
    """The way out when a server can't be had on this machine: name one that runs elsewhere."""
    return f"To use servers that you have, set {', '.join(EXTERNAL_SERVERS)}."
