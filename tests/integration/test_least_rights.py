"""The whole system on a broker with ACLs, every process and person with a login and the rights of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from compose.acls import PRINCIPALS, apply, differences, rights
from compose.fleet import Fleet
from compose.publisher import NotDeliveredError, Shop, to_json
from compose.setting_up import CUSTOMERS
from compose.settings import Servers
from dlq.metrics import look
from dlq.settings import DlqSettings
from schemas.choreography import SERVICES
from tests.brokers import Guarded, guarded
from tests.observing import worker
from tests.servers import TestServers
from tests.system import System, wait_for

pytestmark = pytest.mark.slow

USERS: Final = {name: f"svc-{name}" for name in PRINCIPALS}
REFUSALS: Final = ("authorization failed", "AUTHORIZATION_FAILED", "AuthorizationFailed")


@pytest.fixture(scope="module")
def broker(scratch: Path) -> Iterator[Guarded]:
    with guarded(scratch / "least-rights", USERS.values()) as found:
        yield found


@pytest.fixture(scope="module")
def system(broker: Guarded, servers: TestServers, scratch: Path) -> Iterator[System]:
    """Made and looked at by the brokers' super user; its services have logins of their own."""
    elsewhere = TestServers(broker.plain, servers.registry, servers.postgres_admin, None)
    with System(elsewhere, scratch, services=()) as found:
        prefix = found.servers.topic_prefix
        apply(AdminClient({"bootstrap.servers": broker.plain}), rights(prefix), USERS)
        fleets = [Fleet(found.env | broker.settings(USERS[name]), found.folder, [name]) for name in SERVICES]
        try:
            for fleet in fleets:
                fleet.start()
            wait_for(lambda: all(fleet.ready() for fleet in fleets), "the services to be ready")
            yield found
        finally:
            for fleet in fleets:
                fleet.stop()


@pytest.fixture(scope="module")
def shop(broker: Guarded, system: System) -> Iterator[Shop]:
    with closing(Shop(as_shop(broker, system))) as found:
        yield found


def as_shop(broker: Guarded, system: System) -> Servers:
    """The servers as a shop sees them."""
    login: dict[str, Any] = {name.lower(): value for name, value in broker.settings(USERS["shop"]).items()}
    login["kafka_sasl_password"] = SecretStr(login["kafka_sasl_password"])
    return system.servers.model_copy(update=login)


class Person:
    """Somebody with a login, who runs commands."""

    def __init__(self, principal: str, broker: Guarded, system: System) -> None:
        self._env = system.env | broker.settings(USERS[principal])

    def run(self, command: str, *arguments: str, expect: int = 0, given: str = "") -> str:
        """What a command prints."""
        program = str(Path(sys.executable).with_name(command))
        done = subprocess.run(
            [program, *arguments], env=self._env, capture_output=True, text=True, check=False, timeout=90, input=given
        )
        assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def json(self, *arguments: str, expect: int = 0) -> Any:
        """What `dlq ... --json` prints."""
        return json.loads(self.run("dlq", *arguments, "--json", expect=expect))


def test_checkouts_reach_every_end(broker: Guarded, system: System, shop: Shop) -> None:
    ends = {
        "captured": system.request(),
        "failed": system.request(method="declines-lost_card"),
        "refused capture": system.request(method="refuses-capture"),
        "rejected": system.request(sku="sku-rare"),
    }
    for request in ends.values():
        shop.publish(request)
    shop.flush()
    asked = system.request()
    Person("shop", broker, system).run("checkout", "publish", "-", given=to_json(asked) + "\n")
    system.await_status("checkout", ends["captured"].checkout_id, "captured")
    system.await_status("checkout", asked.checkout_id, "captured")
    for name in ("failed", "refused capture", "rejected"):
        system.await_status("checkout", ends[name].checkout_id, "failed", "compensated")
    system.await_rest([request.checkout_id for request in ends.values()])
    auditor = Person("auditor", broker, system)
    assert json.loads(auditor.run("checkout", "audit", "--json"))["breaches"] == []
    shown = json.loads(auditor.run("checkout", "show", asked.checkout_id, "--json"))
    assert len(shown["events"]) == 8


def test_a_shop_forges_no_capture(system: System, broker: Guarded) -> None:
    forger = Shop(as_shop(broker, system))
    forger.publish_raw("payment.captured", b"c-1", b"forged")
    with pytest.raises(NotDeliveredError, match="authorization failed"):
        forger.flush()


def test_people_drain_dead_letters(broker: Guarded, system: System, shop: Shop) -> None:
    unreadable, conflicting = ("c-one", "c-two"), system.request()
    for name in unreadable:
        shop.publish_raw("checkout.requested", name.encode(), b"not Avro")
    first = shop.publish(conflicting)
    other = replace(conflicting, lines=(replace(conflicting.lines[0], sku="sku-2"),))
    shop.publish_again(replace(first, event=other))
    shop.flush()
    keys = (*unreadable, conflicting.checkout_id)
    ids = [system.await_letters("checkout", key, 1)[0].headers["dlq-id"].decode() for key in keys]
    drainer = Person("drainer", broker, system)
    assert sum(group["count"] for group in drainer.json("groups")) == 3
    assert len(drainer.json("list")) == 3
    assert drainer.json("show", ids[0])["id"] == ids[0]
    drainer.json("watch", expect=1)
    drainer.json("discard", ids[0], "--why", "a test", "--yes")
    drainer.json("restore", ids[0], "--why", "a test", "--yes")
    replayed = drainer.json("replay", ids[1], "--why", "a test", "--yes", expect=1)
    assert replayed["outcomes"]["failed_again"] == 1
    file = system.folder / "letters.jsonl"
    drainer.json("export", str(file))
    drainer.json("import", str(file))
    drainer.json("edit", ids[2], "--set", "lines[0].sku=sku-3", "--why", "a test", "--yes")
    assert {line["action"] for line in drainer.json("audit")} >= {"discarded", "restored", "replay_started", "edited"}


def test_letters_are_counted_for_prometheus(broker: Guarded, system: System) -> None:
    given: dict[str, Any] = {name.lower(): value for name, value in broker.settings(USERS["exporter"]).items()}
    prefix = system.servers.topic_prefix
    settings = DlqSettings(schema_registry_url=system.servers.schema_registry_url, topic_prefix=prefix, **given)
    found = look(settings, datetime.now(UTC))
    assert len(found.letters) >= 3
    assert set(found.kept) == {f"{prefix}checkout.dlq"}


def test_the_observer_follows_a_checkout(broker: Guarded, system: System, shop: Shop) -> None:
    with worker(system, **broker.settings(USERS["observer"])) as observer:
        request = system.request()
        shop.publish(request)
        shop.flush()
        observer.await_state(request.checkout_id, "captured")


def test_a_customer_is_forgotten(broker: Guarded, system: System) -> None:
    system.await_rest()
    asked = ("forget", CUSTOMERS[0], "--why", "a test", "--yes", "--json")
    done = json.loads(Person("privacy", broker, system).run("checkout", *asked))
    assert done["topics"]


def test_setup_runs_again(broker: Guarded, system: System) -> None:
    assert "topics: 0 created" in Person("setup", broker, system).run("checkout", "setup", "--no-seed")


def test_nothing_was_refused_and_nothing_is_too_much(broker: Guarded, system: System) -> None:
    """Runs last: what the services logged meanwhile."""
    for service in SERVICES:
        log = (system.folder / f"{service}.log").read_text(encoding="utf-8")
        assert not [line for line in log.splitlines() if any(word in line for word in REFUSALS)]
    admin: Any = AdminClient({"bootstrap.servers": broker.plain})
    assert differences(admin, rights(system.servers.topic_prefix), USERS) == []
