"""A provider process and an HTTP client for it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_DEADLINE_S = 20.0
ANSWER_DEADLINE_S = 15.0


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = 10.0) -> None:
    """Wait for a condition. Fails with `what` was awaited when the deadline passes."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.01)


def fresh(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{uuid.uuid4()}"


@dataclass(frozen=True)
class Answered:
    """What came back; `body` is the parsed JSON, `raw` its bytes."""

    status: int
    raw: bytes
    headers: dict[str, str]

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])


@dataclass
class Provider:
    """One server process on a ledger file. `log` is what it wrote to stderr."""

    directory: Path
    options: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger.db"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def start(self) -> "Provider":
        """Start on a free port, and wait until it says which."""
        with (self.directory / "log").open("ab") as log:
            already = log.tell()
            command = [sys.executable, "-m", "compose.sandbox", "--port", "0", "--ledger", str(self.ledger)]
            self.process = subprocess.Popen([*command, *self.options], stderr=log)
        wait_until(lambda: self._read_port(already), "the provider's start line", START_DEADLINE_S)
        return self

    def _read_port(self, already: int) -> bool:
        assert self.process.poll() is None, self.log
        found = re.search(r"started url=http://127\.0\.0\.1:(\d+)", self.log[already:])
        self.port = int(found.group(1)) if found else 0
        return found is not None

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(20)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        deadline_s: float = ANSWER_DEADLINE_S,
    ) -> Answered:
        """One request on a connection of its own. Raises what http.client raises when no answer comes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=deadline_s)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answered(response.status, response.read(), dict(response.headers))
        finally:
            connection.close()

    def get(self, path: str, fault: str | None = None) -> Answered:
        return self.send("GET", path, headers={"Sandbox-Fault": fault} if fault else {})

    def post(
        self,
        path: str,
        body: Any,
        key: str,
        fault: str | None = None,
        deadline_s: float = ANSWER_DEADLINE_S,
    ) -> Answered:
        headers = {"Idempotency-Key": key} | ({"Sandbox-Fault": fault} if fault else {})
        return self.send("POST", path, json.dumps(body).encode(), headers, deadline_s)

    def authorize(
        self,
        checkout_id: str,
        token: str = "tok_ok",
        amount_minor: int = 1000,
        key: str | None = None,
        fault: str | None = None,
        deadline_s: float = ANSWER_DEADLINE_S,
    ) -> Answered:
        body = {
            "checkout_id": checkout_id,
            "amount_minor": amount_minor,
            "currency": "EUR",
            "payment_method": token,
            "customer": "cus_1",
        }
        return self.post("/v1/authorizations", body, key or f"checkout:{checkout_id}:auth", fault, deadline_s)

    def act(
        self,
        operation: str,
        payment_id: str,
        amount_minor: int | None = None,
        key: str | None = None,
        fault: str | None = None,
    ) -> Answered:
        """Capture, void or refund; a fresh key unless told."""
        body = {} if amount_minor is None else {"amount_minor": amount_minor}
        path = f"/v1/authorizations/{payment_id}/{operation}"
        return self.post(path, body, key or fresh(f"{operation}-key"), fault)

    def authorized(self, token: str = "tok_ok", amount_minor: int = 1000) -> str:
        """The id of a new authorized payment."""
        answered = self.authorize(fresh("checkout"), token, amount_minor)
        assert answered.status == 200, answered
        return str(answered.body["payment_id"])

    def payment(self, payment_id: str) -> dict[str, Any]:
        answered = self.get(f"/v1/authorizations/{payment_id}")
        assert answered.status == 200, answered
        return dict(answered.body)

    def journal(self) -> list[dict[str, Any]]:
        """The whole journal, page by page."""
        entries: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = self.get(f"/v1/ledger?after={after}&limit=1000").body
            entries += page["entries"]
            after = page["next"]
        return entries

    def kinds(self, payment_id: str) -> list[str]:
        """What the journal says happened to one payment."""
        return [entry["kind"] for entry in self.journal() if entry["payment_id"] == payment_id]

    def effects_of(self, checkout_id: str) -> list[str]:
        """What the journal says happened for one checkout."""
        return [entry["kind"] for entry in self.journal() if entry["checkout_id"] == checkout_id]

    def set_faults(self, *rules: dict[str, Any]) -> None:
        answered = self.send("PUT", "/v1/faults", json.dumps(rules).encode())
        assert answered.status == 200, answered
