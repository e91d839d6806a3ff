"""Tokens for aiokafka: asked for once, again before they run out, and never told."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from dlq.kafka import KafkaSettings
from schemas.brokers import Properties
from schemas.kafka.tokens import ClientCredentials, TokenError
from tests.oauth import CLIENT, SCOPE, SECRET, Endpoint, endpoint


@pytest.fixture(params=[3600, 0], ids=["lasting", "short"])
def tokens(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    with endpoint(request.param) as found:
        yield found


def kafka(url: str, secret: str = SECRET) -> Properties:
    """The properties of a client that logs in by token."""
    values: dict[str, Any] = {
        "kafka_bootstrap_servers": "127.0.0.1:1",
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "OAUTHBEARER",
        "kafka_sasl_username": CLIENT,
        "kafka_sasl_password": secret,
        "kafka_oauth_token_url": url,
        "kafka_oauth_scope": SCOPE,
    }
    return KafkaSettings(**values).kafka


async def twice(provider: ClientCredentials) -> None:
    await provider.token()
    await provider.token()


def test_a_token_is_kept_while_it_is_good_and_no_longer(tokens: Endpoint) -> None:
    asyncio.run(twice(ClientCredentials(kafka(tokens.url))))
    form = {"grant_type": ["client_credentials"], "scope": [SCOPE]}
    assert tokens.asked == [form] * (1 if tokens.lives_s else 2)


@pytest.mark.parametrize("wrong", ["secret", "address"])
def test_no_token_is_one_error_that_does_not_tell_the_secret(tokens: Endpoint, wrong: str) -> None:
    given = kafka(tokens.url, "guessed") if wrong == "secret" else kafka("http://127.0.0.1:1/token")
    with pytest.raises(TokenError, match="no token from the OAuth endpoint") as error:
        asyncio.run(ClientCredentials(given).token())
    assert "guessed" not in str(error.value)
    assert not tokens.asked


def test_properties_with_a_client_secret_do_not_show_it() -> None:
    found = kafka("https://login.example/token", "guessed")
    assert found["sasl.oauthbearer.client.secret"] == "guessed"
    assert "guessed" not in repr(found)
    assert "sasl.password" not in found
