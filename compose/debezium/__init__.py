"""Debezium in the relay's place for all but dead letters: its settings, and how it is run without Docker."""

from compose.debezium.connect import Debezium, running_debezium

__all__ = ["Debezium", "running_debezium"]
