"""JSON over HTTP, on this machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen


def get(url: str) -> Any:
    """What a page says, as a value; None where nobody answers."""
    try:
        with urlopen(url, timeout=5) as page:
            return json.load(page)
    except (URLError, OSError):
        return None


def post(url: str, body: Any) -> None:
    """Send a value."""
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST")
    with urlopen(request, timeout=5) as page:
        assert page.status < 300


@contextmanager
def hearing() -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    """A webhook: its port, and (path, body) of what has come."""
    heard: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            heard.append((self.path, json.loads(self.rfile.read(length))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The test looks at what was heard."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
