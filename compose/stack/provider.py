"""The sandbox payment provider of this project, as a server of the stack."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from compose.stack.ports import HOST
from compose.stack.processes import Launch
from compose.stack.servers import Site, answers

# the folder that has the package `compose`, so that `-m` finds it wherever the command was called
_ROOT = Path(__file__).parents[2]


class Provider:
    """The payment provider."""

    name = "provider"
    ports: tuple[str, ...] = ("provider",)
    needs: tuple[str, ...] = ()
    stop_signal: int = signal.SIGTERM

    def install(self, site: Site) -> None:
        """Nothing: it's a module of this project."""

    def prepare(self, site: Site) -> None:
        """Make the folder of its ledger."""
        (site.data / "provider").mkdir(exist_ok=True)

    def launch(self, site: Site) -> Launch:
        """Run the module with this Python; the user's environment may have settings for it."""
        ledger = site.data / "provider" / "ledger"
        port = str(site.state.ports["provider"])
        options = ("--host", HOST, "--port", port, "--ledger", str(ledger))
        return Launch((sys.executable, "-m", "compose.sandbox", *options), site.environ, cwd=_ROOT)

    def is_ready(self, site: Site) -> bool:
        """Ready when it says so."""
        return answers(site.state.ports["provider"], "/healthz")

    def settle(self, site: Site) -> None:
        """Nothing."""
