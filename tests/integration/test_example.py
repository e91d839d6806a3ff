"""The README's example of a foreign service works as it stands."""

import subprocess
import sys

from tests.servers import TestServers
from tests.system import System


def test_a_shop_with_its_own_database_publishes_through_the_outbox(system: System, servers: TestServers) -> None:
    # the example is for the unprefixed topics of `checkout run`; here it gets this system's
    done = subprocess.run(
        [sys.executable, "-m", "compose.example_shop"],
        env=system.env | {"POSTGRES_ADMIN_URL": servers.postgres_admin},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(": completed\n")
