"""Debezium in the relay's place: the connector's settings, and how they are run without Docker."""

from compose.debezium.connect import Debezium, running_debezium

__all__ = ["Debezium", "running_debezium"]
