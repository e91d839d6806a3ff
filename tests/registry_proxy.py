"""A registry with faults: everything is passed on to the real one, but for the schema ids that a test names."""

import base64
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What is answered instead."""

    status: int
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class RegistryProxy:
    """faults: schema id -> answer; id 0 stands for everything that is asked. asked: ids, in their order.

    login: `user:password` that it asks for; "": for none.
    """

    url: str
    faults: dict[int, Answer] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    login: str = ""

    def instead(self, headers: Message) -> Answer | None:
        """What anything is answered that is asked now; None: what it asks for."""
        wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}"
        if self.login and headers.get("Authorization") != wanted:
            return REFUSED
        return self.faults.get(0)


REFUSED = Answer(401, json.dumps({"error_code": 40101, "message": "Unauthorized"}).encode())
UNKNOWN = Answer(404, json.dumps({"error_code": 40403, "message": "Schema not found"}).encode())


@contextmanager
def registry_proxy(real: str) -> Iterator[RegistryProxy]:
    """One, until the block ends. real: the URL of the registry's Confluent API."""
    parts = urlsplit(real)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            named = int(self.path.rsplit("/", 1)[1].partition("?")[0]) if "/schemas/ids/" in self.path else -1
            proxy.asked.append(named)
            self._answer(proxy.instead(self.headers) or proxy.faults.get(named) or self._passed_on())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(proxy.instead(self.headers) or self._passed_on(body))

        do_PUT = do_POST  # noqa: N815 - the server's names

        def _passed_on(self, body: bytes | None = None) -> Answer:
            kept = {name: value for name, value in self.headers.items() if name in ("Content-Type", "Accept")}
            asked = urllib.request.Request(f"http://{parts.netloc}{self.path}", body, kept, method=self.command)
            try:
                with urllib.request.urlopen(asked, timeout=20) as answer:
                    return Answer(answer.status, answer.read(), {"Content-Type": answer.headers["Content-Type"]})
            except urllib.error.HTTPError as error:
                return Answer(error.code, error.read(), {"Content-Type": error.headers["Content-Type"] or "text/plain"})

        def _answer(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Tests read what was asked, not a log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy = RegistryProxy(f"http://127.0.0.1:{server.server_port}{parts.path}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
