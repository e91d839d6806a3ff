"""A registry that takes a request and never answers it."""

import socket
import time

import pytest

from schemas import registry_client
from schemas.codec import Codec, RegistryUnavailableError


def test_a_registry_that_never_answers_is_unavailable_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_client, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        codec = Codec(f"http://127.0.0.1:{silent.getsockname()[1]}/apis/ccompat/v7")
        began = time.monotonic()
        with pytest.raises(RegistryUnavailableError):
            codec.warm_up(["checkout.requested"])
        assert time.monotonic() - began < 10
        codec.close()
