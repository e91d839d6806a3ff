"""The servers of the checkout system on this machine, without Docker: Kafka, schema registry, Postgres, provider."""

from compose.stack.errors import StackError
from compose.stack.session import running_stack
from compose.stack.stack import ServerStatus, Stack

__all__ = ["ServerStatus", "Stack", "StackError", "running_stack"]
