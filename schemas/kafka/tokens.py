"""OAUTHBEARER for aiokafka, which asks for tokens of its user; the client library gets its own.

The client credentials grant, RFC 6749, section 4.4.
"""

import time
from typing import Final

import httpx2
from aiokafka.abc import AbstractTokenProvider

from schemas.brokers import CLIENT_SECRET, Kafka, reaching

OAUTH: Final = "OAUTHBEARER"
_TIMEOUT_S: Final = 10.0
_SHARE: Final = 0.8
"""A token is replaced when this share of its life is over: it must not run out on its way."""


class TokenError(ConnectionError):
    """The token endpoint gives none; the text says why. Like a broker that is away, it may be back later."""


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]  # the library has no types
    """Gets tokens as the properties of a client library say (sasl.oauthbearer.*), and keeps each while it is good."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._token, self._good_until = "", 0.0

    async def token(self) -> str:
        """A token that is good for a while. Raises TokenError."""
        if time.monotonic() >= self._good_until:
            self._token, life_s = await self._new()
            self._good_until = time.monotonic() + life_s * _SHARE
        return self._token

    async def _new(self) -> tuple[str, float]:
        """(token, seconds that it is good for)."""
        given = reaching(self._kafka)
        login = (given["sasl.oauthbearer.client.id"], given[CLIENT_SECRET])
        form = {"grant_type": "client_credentials", "scope": given.get("sasl.oauthbearer.scope", "")}
        try:
            async with httpx2.AsyncClient(timeout=_TIMEOUT_S) as client:
                url = given["sasl.oauthbearer.token.endpoint.url"]
                answer = await client.post(url, data={k: v for k, v in form.items() if v}, auth=login)
                found = answer.raise_for_status().json()
                return str(found["access_token"]), float(found["expires_in"])
        # the library's own classes, and an answer that is no token's
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise TokenError(f"no token from the OAuth endpoint: {type(error).__name__}") from error
