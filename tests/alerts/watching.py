"""A real Prometheus with the rules of the house, whose clock runs faster by one factor: that of the scrape interval."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import yaml

from compose.fleet import die_with_parent
from tests.alerts.files import PROMETHEUS, RULES, read_yaml
from tests.alerts.http import get
from tests.system import System, free_port, wait_for

INTERVAL_S: Final = 15
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]\b")
_LOOKBACK_S: Final = 300
_FIRING_S: Final = 150.0


def scaled(rules: dict[str, Any], interval_s: int) -> dict[str, Any]:
    """The rules with every `for`, range and offset shorter by the factor by which one scrapes more often."""

    def shorter(duration: str) -> str:
        seconds, rest = divmod(int(duration[:-1]) * _UNITS[duration[-1]] * interval_s, INTERVAL_S)
        assert rest == 0, f"{duration} is no whole number of scrapes"
        return f"{seconds}s"

    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = _DURATION.sub(lambda found: shorter(found[0]), rule["expr"])
            if "for" in rule:
                rule["for"] = shorter(rule["for"])
    return rules


class Watch:
    """Prometheus on the targets of prometheus.yml, each at the port that `ports` says; others are left out."""

    def __init__(self, folder: Path, ports: Mapping[str, str], interval_s: int = 1) -> None:
        if shutil.which("prometheus") is None:
            pytest.skip("no prometheus here: Debian's package prometheus has it")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._interval_s, self._port = folder, interval_s, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        rules = scaled(read_yaml(RULES), interval_s)
        (folder / "rules.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
        (folder / "prometheus.yml").write_text(yaml.safe_dump(self._config(ports)), encoding="utf-8")

    def _config(self, ports: Mapping[str, str]) -> dict[str, Any]:
        config: dict[str, Any] = read_yaml(PROMETHEUS / "prometheus.yml")
        interval = f"{self._interval_s}s"
        config["global"] |= {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
        del config["alerting"]
        for job in config["scrape_configs"]:
            targets = [entry for entry in job["static_configs"] if entry["labels"]["service"] in ports]
            for entry in targets:
                entry["targets"] = [f"127.0.0.1:{ports[entry['labels']['service']]}"]
            job["static_configs"] = targets
        return config

    @contextmanager
    def running(self) -> Iterator["Watch"]:
        """Until the end of the block."""
        flags = {
            "config.file": self._folder / "prometheus.yml",
            "storage.tsdb.path": self._folder / "data",
            "web.listen-address": f"127.0.0.1:{self._port}",
            "enable-feature": "exemplar-storage",
            # how old a sample may be that counts as the present one
            "query.lookback-delta": f"{_LOOKBACK_S * self._interval_s // INTERVAL_S}s",
        }
        command = ["prometheus", *(f"--{name}={value}" for name, value in flags.items())]
        with (self._folder / "prometheus.log").open("ab") as log, started(command, log) as process:
            wait_for(lambda: self.ask("vector(1)") or process.poll(), "Prometheus to answer")
            assert process.poll() is None, (self._folder / "prometheus.log").read_text()
            yield self

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The results of an instant query; none where it doesn't answer yet. An error of the query fails the test."""
        answer = get(f"{self.url}/api/v1/query?query={quote(query)}")
        assert answer is None or answer["status"] == "success", answer
        return list(answer["data"]["result"]) if answer else []

    def exemplars(self, query: str) -> list[dict[str, Any]]:
        """Exemplars of the last minutes."""
        now = time.time()
        answer = get(f"{self.url}/api/v1/query_exemplars?query={quote(query)}&start={now - 600}&end={now}")
        return [each for series in answer["data"] for each in series["exemplars"]] if answer else []

    def firing(self, name: str, **labels: str) -> list[dict[str, Any]]:
        """The alerts of this name and these labels that fire now."""
        answer = get(f"{self.url}/api/v1/alerts")
        wanted = {"alertname": name, **labels}.items()
        found = answer["data"]["alerts"] if answer else []
        return [alert for alert in found if alert["state"] == "firing" and wanted <= alert["labels"].items()]

    def await_firing(self, name: str, *, meanwhile: Callable[[], Any] = int, **labels: str) -> dict[str, Any]:
        """Wait until an alert fires; its summary has no hole. meanwhile: what goes on until then."""

        def fires() -> list[dict[str, Any]]:
            meanwhile()
            return self.firing(name, **labels)

        (alert, *_) = wait_for(fires, f"{name} {labels} to fire", _FIRING_S, pause_s=0.25)
        summary = alert["annotations"]["summary"]
        assert "<no value>" not in summary
        assert "error" not in summary
        assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        for value in labels.values():
            assert value in summary or value in ("page", "ticket")
        found: dict[str, Any] = alert
        return found

    def await_clear(self, name: str, *, meanwhile: Callable[[], Any] = int, **labels: str) -> None:
        """Wait until no such alert fires."""

        def clear() -> bool:
            meanwhile()
            return not self.firing(name, **labels)

        wait_for(clear, f"{name} {labels} to clear", _FIRING_S, pause_s=0.25)


@contextmanager
def started(command: list[str], log: Any, env: Mapping[str, str] | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is gone at the end of the block."""
    process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)  # noqa: PLW1509
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def exporter(system: System, port: str) -> Iterator[None]:
    """`dlq metrics` on the letters of a system."""
    command = [str(Path(sys.executable).with_name("dlq")), "metrics", "--port", port, "--every", "1s"]
    with (system.folder / "exporter.log").open("ab") as log, started(command, log, system.env):
        yield


def service_ports(system: System) -> dict[str, str]:
    """Where the services' metrics are."""
    return {service: system.env[f"{service.upper()}_METRICS_PORT"] for service in ("checkout", "payment", "warehouse")}
