"""Topics of their own for each module's tests."""

from collections.abc import Iterator

import pytest

from dlq.settings import DlqSettings
from tests.dlq.making import own_topics
from tests.servers import TestServers


@pytest.fixture
def settings(servers: TestServers) -> Iterator[DlqSettings]:
    """Kafka and the registry, with topics of this test's own."""
    with own_topics(servers) as made:
        yield made
