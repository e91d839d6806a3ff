"""The service processes of `checkout run`: started together, stopped together, never left behind."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from schemas.choreography import SERVICES

_PR_SET_PDEATHSIG: Final = 1
_STOP_S: Final = 30.0
_PROBE_S: Final = 1.0
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class ServiceEndedError(Exception):
    """A service ended by itself; the text has the end of its log."""


class Fleet:
    """One process of each service.

    environ: what the services read, `<SERVICE>_METRICS_PORT` included. logs: the folder of their logs. modules: service
    -> the module that runs it, where that is not the service's own. own: service -> the whole environment of its
    process, where that is another one.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        logs: Path,
        services: Sequence[str] = SERVICES,
        modules: Mapping[str, str] | None = None,
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._environ = dict(environ)
        self._logs = logs
        self._services = services
        self._modules = dict(modules or {})
        self._own = {service: dict(values) for service, values in (own or {}).items()}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *only: str) -> None:
        """Start every service that isn't running, or these."""
        self._logs.mkdir(parents=True, exist_ok=True)
        for service in only or self._services:
            if service not in self._processes or self._processes[service].poll() is not None:
                self._processes[service] = self._spawn(service)

    def ready(self) -> bool:
        """Whether every service says that it can work. Raises ServiceEndedError."""
        self.check()
        return all(self._answers(service) for service in self._services)

    def check(self) -> None:
        """Raise ServiceEndedError when a service ended by itself."""
        for service, process in self._processes.items():
            if process.poll() is not None:
                tail = self.log(service).read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
                text = "\n  ".join(tail)
                raise ServiceEndedError(
                    f"{service} ended with {process.returncode}; the end of its log ({self.log(service)}):\n  {text}"
                )

    def kill(self, service: str) -> None:
        """SIGKILL a service and wait until it is gone."""
        process = self._processes.pop(service)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """SIGTERM, wait for the graceful stop, then SIGKILL what is left. `start` starts them again."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def pids(self, service: str) -> list[int]:
        """The process of a service, if it runs."""
        process = self._processes.get(service)
        return [process.pid] if process is not None and process.poll() is None else []

    def log(self, service: str) -> Path:
        """Where a service logs."""
        return self._logs / f"{service}.log"

    def _spawn(self, service: str) -> subprocess.Popen[bytes]:
        with self.log(service).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", self._modules.get(service, f"services.{service}")],
                env=self._own.get(service, self._environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the command, which stops the services in order
                start_new_session=True,
                # a command that is killed takes its services with it
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )

    def _answers(self, service: str) -> bool:
        port = self._environ[f"{service.upper()}_METRICS_PORT"]
        try:
            # the host is this machine
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=_PROBE_S) as response:
                return bool(response.status == 200)  # noqa: PLR2004
        except (URLError, OSError):
            return False


def die_with_parent() -> None:
    """For a process that was just forked: end when the one that started it ends, however it ends (Linux only)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
