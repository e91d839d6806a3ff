"""A token endpoint for tests: client credentials in, an unsigned token out, as a validator of Kafka's takes it."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

CLIENT = "checkout-client"
SECRET = "correct-horse"
SCOPE = "kafka"


class Endpoint(ThreadingHTTPServer):
    """asked: the forms that came with the right secret. lives_s: how long its tokens do."""

    def __init__(self, lives_s: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, list[str]]] = []
        self.lives_s = lives_s

    @property
    def url(self) -> str:
        """Where tokens are asked for."""
        return f"http://127.0.0.1:{self.server_address[1]}/token"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        login = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if self.headers["Authorization"] != f"Basic {login}":
            self._answer(401, {"error": "invalid_client"})
            return
        self.server.asked.append(form)
        lives_s = self.server.lives_s
        self._answer(200, {"access_token": token(lives_s), "token_type": "Bearer", "expires_in": lives_s})

    def _answer(self, status: int, found: dict[str, Any]) -> None:
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


def token(lives_s: int) -> str:
    """An unsigned JSON web token (RFC 7519, section 6) of the client."""
    now = int(time.time())
    claims = {"sub": CLIENT, "iat": now, "exp": now + lives_s, "scope": SCOPE}
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)
    )
    return f"{head}.{body}."


@contextmanager
def endpoint(lives_s: int = 3600) -> Iterator[Endpoint]:
    """One that answers, for a block."""
    with Endpoint(lives_s) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
