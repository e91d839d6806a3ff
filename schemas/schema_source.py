"""Schemas by id from the registry, over HTTP, with limits: what it answers is remembered, bad answers for seconds.

"Away" is a registry that answers nothing. A status for one id, while it answers for others, is that id's matter: the
message waits, others go on. Unknown ids can be many, and asking costs time that others wait for: asking is limited to a
share of the time.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import httpx2

from schemas import strict_json
from schemas.registry_address import Registry, address_of

_TIMEOUT_S: Final = 5.0
_MAX_ANSWER: Final = 1024 * 1024
_BAD_S: Final = 2.0
"""How long a bad answer for an id is remembered."""
_REMEMBERED: Final = 10_000
_SHARE: Final = 0.1
"""The share of the time that is spent on asking for ids that got a bad answer before, or were never asked for."""
_BURST_S: Final = 1.0
_MAX_PAUSE_S: Final = 60.0
_OK: Final = 200
_TOO_MANY: Final = 429
_UNKNOWN_ID: Final = 40403
_V = TypeVar("_V")


class SchemaAnswer(NamedTuple):
    """What the registry has under an id. kind: AVRO, PROTOBUF, JSON. references: to other subjects, in its words."""

    text: str
    kind: str
    references: Any


class RegistryUnavailableError(Exception):
    """The schema registry answers nothing; the message is as good as before."""


class SchemaPendingError(Exception):
    """This id can't be had now, although the registry answers for others. asked: whether it was asked for lately."""

    def __init__(self, text: str, *, asked: bool = True) -> None:
        super().__init__(text)
        self.asked = asked


class Recent(OrderedDict[Any, _V]):
    """Values by key; the least recently written go when there are more than `most`."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, key: Any, value: _V) -> _V:
        """Remember a value."""
        self[key] = value
        self.move_to_end(key)
        while len(self) > self._most:
            self.popitem(last=False)
        return value


class _Bad(NamedTuple):
    """A bad answer. until: monotonic seconds."""

    why: str
    until: float


class SchemaSource:
    """Asks one registry, with the login that its URL has at that moment. clock: monotonic seconds."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        address = address_of(registry)
        self._url = address.url
        self._client = httpx2.Client(verify=address.tls(), timeout=_TIMEOUT_S, follow_redirects=False)
        self._clock = clock
        self._bad: Recent[_Bad] = Recent(_REMEMBERED)
        self._good_id: int | None = None
        self._answered_until = 0.0
        self._spent_s, self._spent_at = 0.0, clock()
        self._not_before = 0.0

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def knows(self, schema_id: int) -> None:
        """An id that the registry has for sure: what it answers for that one tells whether it answers at all."""
        self._good_id = schema_id

    def get(self, schema_id: int) -> SchemaAnswer:
        """The schema of an id. Raises RegistryUnavailableError, SchemaPendingError."""
        self._admit(schema_id)
        began = self._clock()
        try:
            return self._ask(schema_id)
        finally:
            self._spend(self._clock() - began)

    def _admit(self, schema_id: int) -> None:
        """Raises SchemaPendingError where the id is not to be asked for now."""
        now, bad = self._clock(), self._bad.get(schema_id)
        if bad is not None and now < bad.until:
            raise SchemaPendingError(bad.why)
        if now < self._not_before:
            raise SchemaPendingError(f"schema id {schema_id}: the registry wants to be left alone", asked=False)
        self._spend(0.0)
        if self._spent_s > _BURST_S:
            raise SchemaPendingError(f"schema id {schema_id}: too many unknown ids to ask for all at once", asked=False)

    def _spend(self, seconds: float) -> None:
        now = self._clock()
        self._spent_s = max(0.0, self._spent_s - (now - self._spent_at) * _SHARE) + seconds
        self._spent_at = now

    def _ask(self, schema_id: int) -> SchemaAnswer:
        status, body, pause_s = self._request(f"/schemas/ids/{schema_id}")
        if status == _OK:
            try:
                answer = _answer(body)
            except ValueError as error:
                raise self._refused(schema_id, f"the registry's answer can't be read: {error}") from None
            self._good_id = schema_id
            return answer
        if status == _TOO_MANY:
            self._not_before = self._clock() + pause_s
            raise SchemaPendingError(f"schema id {schema_id}: the registry has too many requests", asked=False)
        if not self._answers_others(schema_id):
            raise RegistryUnavailableError(f"the schema registry answers {status} to everything")
        raise self._refused(schema_id, _words(status, body))

    def _refused(self, schema_id: int, why: str) -> SchemaPendingError:
        text = f"schema id {schema_id}: {why}"
        self._bad.keep(schema_id, _Bad(text, self._clock() + _BAD_S))
        return SchemaPendingError(text)

    def _answers_others(self, schema_id: int) -> bool:
        """Whether it has an answer for something else; asked once in a moment, however many ids are refused."""
        if self._clock() < self._answered_until:
            return True
        other = self._good_id
        path = f"/schemas/ids/{other}" if other is not None and other != schema_id else "/config"
        answers = self._request(path)[0] == _OK
        if answers:
            self._answered_until = self._clock() + _BAD_S
        return answers

    def _request(self, path: str) -> tuple[int, bytes, float]:
        """(status, body, seconds of its Retry-After). Raises RegistryUnavailableError when nothing answers."""
        try:
            with self._client.stream("GET", self._url.get_secret_value().rstrip("/") + quote(path)) as response:
                body = b""
                for part in response.iter_bytes():
                    body += part
                    if len(body) > _MAX_ANSWER:
                        return 0, b"more than 1 MiB", 0.0
                return response.status_code, body, _pause_s(response.headers.get("Retry-After", ""))
        # the library's own classes, and whatever a connection that breaks half way raises
        except Exception as error:
            raise RegistryUnavailableError(f"the schema registry does not answer: {type(error).__name__}") from error


def _answer(body: bytes) -> SchemaAnswer:
    fields = strict_json.loads(body, max_bytes=_MAX_ANSWER)
    if not isinstance(fields, dict) or not isinstance(fields.get("schema"), str):
        raise ValueError("no schema in it")  # noqa: TRY004 - what is wrong with an answer, to its readers
    return SchemaAnswer(fields["schema"], str(fields.get("schemaType") or "AVRO"), fields.get("references") or ())


def _words(status: int, body: bytes) -> str:
    """What a refusal says, in the registry's words where they are its own."""
    try:
        fields = strict_json.loads(body, max_bytes=_MAX_ANSWER)
        code, message = fields["error_code"], str(fields["message"])[:100]
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status}, and not in the registry's words" if status else "an answer of more than 1 MiB"
    return "unknown to the registry" if code == _UNKNOWN_ID else f"HTTP {status}: {message}"


def _pause_s(retry_after: str) -> float:
    """Seconds; a date counts as a few. Source: RFC 9110, section 10.2.3."""
    plain = retry_after.isascii() and retry_after.isdigit()
    return min(float(retry_after[:6]), _MAX_PAUSE_S) if plain else _BAD_S
