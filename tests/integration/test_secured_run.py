"""`checkout run --secure`: servers that ask everybody for a login, and every ending of a checkout on them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compose.stack.state import StateFile
from schemas.choreography import SERVICES

pytestmark = pytest.mark.timeout(180)


def test_the_sample_ends_as_expected_where_everybody_logs_in(scratch: Path) -> None:
    folder = scratch / "secured-run"
    command = [str(Path(sys.executable).with_name("checkout")), "run", "--secure", "--exit-when-done", "--json"]
    done = subprocess.run(
        [*command, "--data", str(folder), "--checkouts", "20"],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["checkouts"], found["ended"]) == (20, 20)
    assert found["audit"] == {"clean": True, "breaches": []}
    told = done.stdout + done.stderr + "".join(log.read_text() for log in (folder / "logs").iterdir())
    secrets = StateFile(folder).load().passwords
    assert {f"kafka/{service}" for service in SERVICES} <= secrets.keys()
    assert [name for name, secret in secrets.items() if secret in told] == []
