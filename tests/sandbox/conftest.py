"""One provider for the tests that can share it, and a maker of others for those that end theirs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .driving import Provider

StartProvider = Callable[..., Provider]


@pytest.fixture(scope="package")
def shared_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("shared")).start()
    yield provider
    assert provider.stop() == 0
    assert "Traceback" not in provider.log


@pytest.fixture
def provider(shared_provider: Provider) -> Iterator[Provider]:
    """The shared provider, free of fault rules before and after."""
    yield shared_provider
    shared_provider.set_faults()


@pytest.fixture
def start_provider(tmp_path: Path) -> Iterator[StartProvider]:
    """Starts a provider of the test's own with the given options; whatever still runs at the end is killed."""
    started: list[Provider] = []

    def start(*options: str) -> Provider:
        started.append(Provider(tmp_path, options).start())
        return started[-1]

    yield start
    for provider in started:
        if provider.process.poll() is None:
            provider.kill()
