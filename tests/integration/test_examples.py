"""Shops and listeners that are not ours: each example publishes on real servers and hears the end, or reads a topic."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from schemas.choreography import SERVICES
from schemas.events import CheckoutRequested
from tests.system import System
from tests.unit.test_architecture import TOPS

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
DECLINED: Final = "customer-1:declines-insufficient_funds"
_RUN_S: Final = 90
_BUILD_S: Final = 300
_NO_PROXY: Final = ("dial tcp", "no such host", "connection refused", "i/o timeout")


def run(system: System, command: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
    """Run an example beside a system, from a folder that has nothing of this project."""
    env = {name: value for name, value in system.env.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in command],
        env=env,
        cwd=system.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=_RUN_S,
    )


def completes(system: System, command: Sequence[str | Path], checkout_id: str) -> None:
    """The example asks for a checkout, which is captured, and tells its end."""
    done = run(system, [*command, checkout_id])
    assert done.returncode == 0, (done.stdout, done.stderr)
    asked, end = done.stdout.splitlines()
    [order] = system.rows("checkout", "SELECT order_id FROM checkouts WHERE checkout_id = :id", id=checkout_id)
    assert (asked, end) == (f"{checkout_id}: asked for", f"{checkout_id}: completed, order {order.order_id}")
    assert system.await_status("payment", checkout_id, "captured")
    # placed as the services place it
    assert len({message.partition() for message in system.messages() if message.key() == checkout_id.encode()}) == 1


def fails(system: System, command: Sequence[str | Path], checkout_id: str) -> None:
    """The example asks for a checkout that the bank declines, and tells why it failed."""
    done = run(system, [*command, checkout_id, DECLINED])
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert f"{checkout_id}: failed, INSUFFICIENT_FUNDS: There is not enough money" in done.stdout
    system.await_status("checkout", checkout_id, "compensated")


# Python

SHOP_PY: Final = EXAMPLES / "python" / "shop.py"


def test_the_shop_in_python_knows_nothing_of_this_project() -> None:
    tree = ast.parse(SHOP_PY.read_text(encoding="utf-8"))
    imports = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imports += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert "confluent_kafka" in imports
    assert not [name for name in imports if name.split(".")[0] in TOPS]


def test_the_shop_in_python_hears_its_checkout_complete(system: System) -> None:
    completes(system, [sys.executable, SHOP_PY], "python-1")


def test_the_shop_in_python_hears_why_its_checkout_fails(system: System) -> None:
    fails(system, [sys.executable, SHOP_PY], "python-2")


# Go


@pytest.fixture(scope="module")
def shop_go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop in Go, built with exactly the versions that it names."""
    if not shutil.which("go"):
        pytest.skip("go is not here")
    binary = tmp_path_factory.mktemp("go") / "shop"
    done = subprocess.run(
        ["go", "build", "-mod=readonly", "-o", str(binary), "."],
        cwd=EXAMPLES / "go",
        env=os.environ | {"CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_S,
    )
    if any(reason in done.stderr for reason in _NO_PROXY):
        pytest.skip(f"go can't reach its module proxy: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stderr
    return binary


@pytest.mark.slow  # half a minute to build it the first time
def test_the_shop_in_go_hears_its_checkout_complete(system: System, shop_go: Path) -> None:
    completes(system, [shop_go], "go-1")


@pytest.mark.slow  # half a minute to build it the first time
def test_the_shop_in_go_hears_why_its_checkout_fails(system: System, shop_go: Path) -> None:
    fails(system, [shop_go], "go-2")


# kcat


def read(system: System, *arguments: str) -> dict[str, str]:
    """key -> what the example shows of the newest record of that key."""
    done = run(system, [EXAMPLES / "kcat" / "read.sh", *arguments, "checkout.completed"])
    assert done.returncode == 0, done.stderr
    return {key: shown for _, _, key, shown in (line.split(" ", 3) for line in done.stdout.splitlines())}


@pytest.fixture(scope="module")
def completed(system: System) -> CheckoutRequested:
    """A checkout that has completed."""
    if not shutil.which("kcat"):
        pytest.skip("kcat is not here")
    request = system.request()
    system.publish(request)
    system.await_rest([request.checkout_id])
    return request


def test_kcat_reads_keys_and_headers(system: System, completed: CheckoutRequested) -> None:
    headers = dict(pair.split("=", 1) for pair in read(system, "-k")[completed.checkout_id].split(","))
    assert headers["ce_type"] == "checkout.completed"
    assert headers["ce_subject"] == completed.checkout_id


def test_kcat_decodes_values_by_the_registry(system: System, completed: CheckoutRequested) -> None:
    if "Avro" not in subprocess.run(["kcat", "-V"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("this kcat is built without Avro")
    value = json.loads(read(system)[completed.checkout_id])
    assert value["total_minor"] == completed.total_minor
    assert value["customer_id"] == completed.customer_id


def test_what_the_examples_did_is_clean(system: System) -> None:
    system.await_rest()
    system.assert_clean()
    assert not [letter for service in SERVICES for letter in system.letters(service)]
