"""stripe-mock, Stripe's own stand-in: it checks every request against Stripe's published API and answers with samples.

Its answers show no state (a captured payment may say that it wants a payment method): it proves requests, not effects.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.sandbox.driving import wait_until
from tests.servers import docker_answers

VERSION: Final = "v0.203.0"
KEY: Final = "sk_test_123"
_BUILD_LIMIT_S: Final = 600
_START_LIMIT_S: Final = 30


class NoStripeMockError(Exception):
    """stripe-mock can't be had here; the text says what was tried."""


@contextmanager
def stripe_mock(folder: Path) -> Iterator[str]:
    """The URL of a running stripe-mock. Raises NoStripeMockError."""
    binary = _binary()
    if binary is not None:
        with _process(binary, folder) as url:
            yield url
    elif docker_answers():
        with _container() as url:
            yield url
    else:
        raise NoStripeMockError(
            "stripe-mock is not here: STRIPE_MOCK names no binary, none is on PATH, there is no `go` to build it, and"
            " no Docker engine answers"
        )


def _binary() -> str | None:
    """STRIPE_MOCK's, else PATH's, else one that Go builds once; None where there is no Go either."""
    return os.environ.get("STRIPE_MOCK") or shutil.which("stripe-mock") or _built()


def _built() -> str | None:
    go = shutil.which("go")
    if go is None:
        return None
    cache = Path(os.environ.get("CHECKOUT_CACHE_DIR") or Path.home() / ".cache" / "checkout")
    binary = cache / f"stripe-mock-{VERSION}"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # two test workers may build at the same time; what stands under the name is always whole
        with TemporaryDirectory(dir=cache) as place:
            _install(go, Path(place))
            (Path(place) / "stripe-mock").replace(binary)
    return str(binary)


def _install(go: str, place: Path) -> None:
    source = f"github.com/stripe/stripe-mock@{VERSION}"
    made = subprocess.run(
        [go, "install", source],
        env=os.environ | {"GOBIN": str(place)},
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_LIMIT_S,
    )
    if made.returncode != 0:
        raise NoStripeMockError(f"`go install {source}` failed: {made.stderr.strip()[-300:]}")


@contextmanager
def _process(binary: str, folder: Path) -> Iterator[str]:
    said = folder / "stripe-mock.log"
    # without a place for HTTPS it would take its usual port, and two test workers would want the same
    command = [binary, "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0"]
    with said.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: _listening(process, said) is not None, "stripe-mock to listen", _START_LIMIT_S)
        yield f"http://{_listening(process, said)}"
    finally:
        process.terminate()
        process.wait(10)


def _listening(process: subprocess.Popen[bytes], said: Path) -> str | None:
    text = said.read_text()
    assert process.poll() is None, text
    found = re.search(r"Listening for HTTP at address: (127\.0\.0\.1:\d+)", text)
    return found[1] if found else None


@contextmanager
def _container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    mock = DockerContainer(f"stripe/stripe-mock:{VERSION}").with_exposed_ports(12111)
    mock.waiting_for(LogMessageWaitStrategy("Listening for HTTP"))
    with mock:
        yield f"http://{mock.get_container_host_ip()}:{mock.get_exposed_port(12111)}"
