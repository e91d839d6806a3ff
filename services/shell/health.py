"""/healthz (the loop turns), /readyz (it can work), /metrics; on loopback unless told otherwise."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

Check = Callable[[], dict[str, str]]
"""Names what is wrong; empty when nothing is."""
Detail = Callable[[], dict[str, object]]
"""What is worth seeing although it is no fault of the process."""


class HealthServer:
    """Serves the three pages from a thread. port: 0 for any free one; `port` then tells which."""

    def __init__(
        self, host: str, port: int, alive: Check, ready: Check, detail: Detail, registry: CollectorRegistry
    ) -> None:
        pages: dict[str, Callable[[str], tuple[int, str, bytes]]] = {
            "/healthz": lambda _accept: _report(alive(), {}),
            "/readyz": lambda _accept: _report(ready(), detail()),
            "/metrics": lambda accept: _metrics(registry, accept),
        }

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = pages.get(self.path)
                accept = self.headers.get("Accept", "")
                status, kind, body = page(accept) if page else (404, "text/plain", b"/healthz /readyz /metrics\n")
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Probes every few seconds would drown the log."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _metrics(registry: CollectorRegistry, accept: str) -> tuple[int, str, bytes]:
    """Exemplars exist in the OpenMetrics format only, which Prometheus asks for."""
    encode, kind = choose_encoder(accept)
    return 200, kind, encode(registry)


def _report(faults: dict[str, str], detail: dict[str, object]) -> tuple[int, str, bytes]:
    body = {"ok": not faults, "faults": faults} | ({"detail": detail} if detail else {})
    return (503 if faults else 200), "application/json", json.dumps(body).encode() + b"\n"
