"""Servers once per run; a system of its own per module that asks for one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import TestServers
from tests.servers import servers as start_servers
from tests.system import System

# how quick a machine is at the moment is no property of the code
settings.register_profile("any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for this run's data and logs."""
    return tmp_path_factory.mktemp("checkout")


@pytest.fixture(scope="session")
def servers(scratch: Path) -> Iterator[TestServers]:
    """Kafka, registry and Postgres, one start per run."""
    with start_servers(os.environ, scratch / "stack") as found:
        yield found


@pytest.fixture(scope="module")
def system(servers: TestServers, scratch: Path) -> Iterator[System]:
    """The whole system, for one module's tests."""
    with System(servers, scratch) as running:
        yield running
