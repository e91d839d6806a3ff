"""Tests of the servers without Docker."""
