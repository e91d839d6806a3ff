"""The providers: a sandbox of its own for this folder, and stripe-mock where it can be had."""

from collections.abc import Iterator

import pytest

from tests.providers.stripe_mock import NoStripeMockError, stripe_mock
from tests.providers.using import SANDBOX, STRIPE, Adapter
from tests.sandbox.conftest import StartProvider, provider, shared_provider, start_provider

__all__ = ["StartProvider", "provider", "shared_provider", "start_provider"]


@pytest.fixture(scope="package")
def stripe_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where stripe-mock listens; skips, and says why, where there is none."""
    try:
        with stripe_mock(tmp_path_factory.mktemp("stripe")) as url:
            yield url
    except NoStripeMockError as error:
        pytest.skip(str(error))


@pytest.fixture(params=[SANDBOX, STRIPE], ids=["sandbox", "stripe"])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    """Each adapter in turn."""
    found: Adapter = request.param
    return found


@pytest.fixture
def url(adapter: Adapter, request: pytest.FixtureRequest) -> str:
    """The URL of the adapter's own provider."""
    if adapter is STRIPE:
        return str(request.getfixturevalue("stripe_url"))
    return f"http://127.0.0.1:{request.getfixturevalue('provider').port}"
