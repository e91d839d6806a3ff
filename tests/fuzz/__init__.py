"""Hostile messages on every topic of a running system, beside honest checkouts: `python -m tests.fuzz`, `make fuzz`."""
