"""A receiver of OTLP traces: what a collector hears, kept in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Seen:
    """A span as it came. Ids in hex; parent "" at the root; times in ns."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    error: str
    links: tuple[str, ...]
    attributes: dict[str, Any] = field(hash=False)


class Receiver:
    """Where it listens, and what it heard."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Not of interest."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, request: Any) -> None:
        """Keep the spans of an export."""
        for resource in request.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            found = [_seen(names["service.name"], span) for scope in resource.scope_spans for span in scope.spans]
            with self._lock:
                self.spans += found

    def of(self, checkout_id: str) -> list[Seen]:
        """The spans of a checkout's own messages and calls, in whatever trace."""
        with self._lock:
            spans = list(self.spans)
        return [s for s in spans if s.attributes.get("messaging.message.conversation_id") == checkout_id]

    def trace(self, trace: str) -> list[Seen]:
        """All spans of a trace."""
        with self._lock:
            return [span for span in self.spans if span.trace == trace]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


def _seen(service: str, span: Any) -> Seen:
    values = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
    return Seen(
        service=service,
        name=span.name,
        kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        error=span.status.message,
        links=tuple(f"{link.trace_id.hex()}-{link.span_id.hex()}" for link in span.links),
        attributes=values,
    )
