"""A producer that takes what polite clients refuse: header names that are no UTF-8, any timestamp. By ctypes."""

import ctypes
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import confluent_kafka

RawHeader = tuple[bytes, bytes | None]

_END, _TOPIC, _VALUE, _KEY, _FLAGS, _TIMESTAMP, _HEADERS = 0, 1, 4, 5, 7, 8, 10
"""The tags of rd_kafka_producev. Source: rdkafka.h, rd_kafka_vtype_t."""
_COPY: Final = 2
_QUEUE_FULL: Final = -184
_PRODUCER: Final = 0


def _library() -> ctypes.CDLL:
    folder = Path(str(confluent_kafka.__file__)).parents[1] / "confluent_kafka.libs"
    (path,) = folder.glob("librdkafka-*.so*")
    library = ctypes.CDLL(str(path))
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    for name, gives, takes in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_set", ctypes.c_int, [pointer, text, text, text, size]),
        ("rd_kafka_new", pointer, [ctypes.c_int, pointer, text, size]),
        ("rd_kafka_flush", ctypes.c_int, [pointer, ctypes.c_int]),
        ("rd_kafka_poll", ctypes.c_int, [pointer, ctypes.c_int]),
        ("rd_kafka_outq_len", ctypes.c_int, [pointer]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_headers_new", pointer, [size]),
        ("rd_kafka_header_add", ctypes.c_int, [pointer, text, ctypes.c_ssize_t, text, ctypes.c_ssize_t]),
        ("rd_kafka_err2str", text, [ctypes.c_int]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = gives, takes
    library.rd_kafka_producev.restype = ctypes.c_int
    return library


class RawProducer:
    """Use `close` at the end. Raises RuntimeError for what the client itself refuses."""

    def __init__(self, servers: str) -> None:
        self._library = _library()
        conf, why = self._library.rd_kafka_conf_new(), ctypes.create_string_buffer(256)
        wanted = {
            "bootstrap.servers": servers, "partitioner": "murmur2_random", "acks": "all", "linger.ms": "5",
            "message.max.bytes": "8000000", "log_level": "0",
        }  # fmt: skip
        for name, value in wanted.items():
            if self._library.rd_kafka_conf_set(conf, name.encode(), value.encode(), why, len(why)):
                raise RuntimeError(why.value.decode())
        self._client = self._library.rd_kafka_new(_PRODUCER, conf, why, len(why))

    def produce(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[RawHeader], timestamp_ms: int = 0
    ) -> None:
        """Hand a message over; it is sent within some milliseconds."""
        given = [
            (_TOPIC, ctypes.c_char_p(topic.encode())), (_FLAGS, _COPY),
            (_VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value or b""))),
            (_KEY, ctypes.c_char_p(key), ctypes.c_size_t(len(key or b""))),
            *([(_TIMESTAMP, ctypes.c_int64(timestamp_ms))] if timestamp_ms else []),
        ]  # fmt: skip
        arguments: list[Any] = list(itertools.chain.from_iterable(given))
        while True:
            more = [_HEADERS, self._headers(headers)] if headers else []
            error = self._library.rd_kafka_producev(ctypes.c_void_p(self._client), *arguments, *more, _END)
            if error != _QUEUE_FULL:
                break
            self._library.rd_kafka_poll(self._client, 50)
        if error:
            raise RuntimeError(self._library.rd_kafka_err2str(error).decode())

    def _headers(self, headers: Sequence[RawHeader]) -> ctypes.c_void_p:
        made = self._library.rd_kafka_headers_new(len(headers))
        for name, value in headers:
            self._library.rd_kafka_header_add(made, name, len(name), value, len(value or b""))
        return ctypes.c_void_p(made)

    def flush(self, limit_s: float = 60.0) -> int:
        """Wait until everything is sent; how much is not."""
        self._library.rd_kafka_flush(self._client, int(limit_s * 1000))
        return int(self._library.rd_kafka_outq_len(self._client))

    def close(self) -> None:
        """Give the connections back."""
        self.flush()
        self._library.rd_kafka_destroy(self._client)
