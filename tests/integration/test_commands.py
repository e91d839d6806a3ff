"""The `checkout` command as people call it: what it prints, where, and with which exit code."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import psutil
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from compose.publisher import to_json
from schemas.choreography import topics
from schemas.codec import avsc
from schemas.events import CheckoutCancelRequested
from schemas.registry import COMPATIBILITY
from tests.servers import TestServers
from tests.system import Letter, System, free_port
from tests.unit.test_terminal import hostile

CHECKOUT: Final = Path(sys.executable).with_name("checkout")
ROOT: Final = Path(__file__).parents[2]
LIMIT_S: Final = 60.0
CONFIGURATION: Final = 78
USAGE: Final = 2
COULD_NOT: Final = 2
INCOMPATIBLE: Final = 2


def checkout(env: dict[str, str], *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Run the command with these arguments and this standard input."""
    # as on a machine whose terminal is wide: what is looked for stands in one line
    return subprocess.run(
        [CHECKOUT, *arguments],
        env={**env, "COLUMNS": "250"},
        input=given,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def one_line(result: "subprocess.CompletedProcess[str]") -> str:
    """The one line that is all that was said, on stderr."""
    [line] = result.stderr.splitlines()
    assert result.stdout == ""
    return line


def good(**fields: Any) -> dict[str, Any]:
    """A sound request as JSON."""
    lines = [{"sku": "sku-1", "quantity": 2, "unit_price_minor": 1250}]
    values = {
        "checkout_id": f"c-{uuid4().hex[:12]}",
        "customer_id": "customer-1",
        "payment_method_id": "customer-1:ok",
        "currency": "EUR",
        "total_minor": 2500,
        "lines": lines,
    }
    return values | fields


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in good().items() if key != name}


# --- publish --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["a file", "standard input"])
def test_publish_takes_json_lines_from(system: System, tmp_path: Path, source: str) -> None:
    requests = [good(), good(expires_at="2100-01-01T00:00:00Z")]
    text = "\n\n".join(json.dumps(request) for request in requests) + "\n"
    file = tmp_path / "requests.jsonl"
    file.write_text(text, encoding="utf-8")
    result = checkout(system.env, "publish", *(["-"] if source == "standard input" else [str(file)]), given=text)
    assert (result.returncode, result.stdout, result.stderr) == (0, "2 published\n", "")
    for request in requests:
        system.await_status("checkout", request["checkout_id"], "captured")


def test_publish_takes_what_the_system_itself_writes(system: System) -> None:
    request = system.request()
    assert checkout(system.env, "publish", "-", given=to_json(request)).returncode == 0
    system.await_status("checkout", request.checkout_id, "captured")


BAD: Final[dict[str, tuple[str, str]]] = {
    "no JSON": ("{", "line"),
    "no object": ("[]", "line"),
    "a field is missing": (json.dumps(without("currency")), "currency"),
    "a field of the wrong type": (json.dumps(good(total_minor="a lot")), "total_minor"),
    "a field that nobody knows": (json.dumps(good(tip=1)), "tip"),
    "a field of a line": (json.dumps(good(lines=[{"sku": "s", "quantity": "2", "unit_price_minor": 1}])), "quantity"),
    "a time without a zone": (json.dumps(good(expires_at="2100-01-01T00:00:00")), "expires_at"),
    "an id that is no key": (json.dumps(good(checkout_id="two words")), "checkout_id"),
    "a total that is too large": (json.dumps(good(total_minor=2**63)), "total_minor"),
}


@pytest.mark.parametrize(("line", "field"), BAD.values(), ids=BAD.keys())
def test_publish_names_file_line_and_field_of_a_bad_line_and_publishes_nothing(
    system: System, tmp_path: Path, line: str, field: str
) -> None:
    file, honest = tmp_path / "requests.jsonl", good()
    file.write_text(f"{json.dumps(honest)}\n\n{line}\n", encoding="utf-8")
    result = checkout(system.env, "publish", str(file))
    assert result.returncode == 1
    assert one_line(result).startswith(f"checkout publish: {file}:3: ")
    assert field in one_line(result)
    assert not [m for m in system.messages("checkout.requested") if m.key() == honest["checkout_id"].encode()]


def test_publish_takes_files_as_windows_writes_them(system: System, tmp_path: Path) -> None:
    first, second = good(), good(customer_id="a\u2028b\x85c")
    file = tmp_path / "requests.jsonl"
    text = "".join(json.dumps(request, ensure_ascii=False) + "\r\n" for request in (first, second))
    file.write_bytes(text.encode("utf-8-sig"))
    result = checkout(system.env, "publish", str(file))
    assert (result.returncode, result.stdout, result.stderr) == (0, "2 published\n", "")
    system.await_status("checkout", first["checkout_id"], "captured")
    system.await_status("checkout", second["checkout_id"], "failed")


@pytest.mark.parametrize(("encoding", "named"), [("utf-16", "UTF-16"), ("utf-32-le", "UTF-32"), ("latin-1", "Latin-1")])
def test_publish_names_an_encoding_that_it_does_not_read(
    system: System, tmp_path: Path, encoding: str, named: str
) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_bytes((json.dumps(good(customer_id="é"), ensure_ascii=False) + "\n").encode(encoding))
    result = checkout(system.env, "publish", str(file))
    assert result.returncode == 1
    assert named in one_line(result)
    assert "save it as UTF-8" in one_line(result)


HOSTILE: Final = "\x1b]0;owned\x07\x1b[2J\u202e\u200b[/] [bold red]PAID[/bold red] :smile:"


def test_show_prints_what_a_shop_wrote_and_no_terminal_obeys_it(system: System) -> None:
    request = system.request(method="slow")
    system.publish(request)
    system.shop.publish(CheckoutCancelRequested(checkout_id=request.checkout_id, reason=HOSTILE))
    system.shop.flush()
    system.await_rest([request.checkout_id])
    # a cell of a table is folded
    for form, expected in (([], "[/]"), (["--json"], "[/] [bold red]PAID[/bold red] :smile:")):
        result = checkout(system.env, "show", request.checkout_id, *form)
        assert (result.returncode, result.stderr) == (0, "")
        assert not hostile(result.stdout.replace("\n", ""))
        assert expected in result.stdout


def test_show_of_what_can_be_no_id_is_one_line(system: System) -> None:
    result = checkout(system.env, "show", f"x{HOSTILE}")
    assert result.returncode == 1
    assert one_line(result).startswith(r"checkout show: no checkout is called x\x1b]0;owned\x07")


def test_publish_from_standard_input_names_its_line(system: System) -> None:
    result = checkout(system.env, "publish", "-", given="not JSON\n")
    assert result.returncode == 1
    assert one_line(result).startswith("checkout publish: stdin:1: ")


def test_publish_of_a_file_that_is_not_there_names_it(system: System) -> None:
    result = checkout(system.env, "publish", "no-such-file.jsonl")
    assert result.returncode == 1
    assert "no-such-file.jsonl" in one_line(result)


# --- show -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ended(system: System) -> str:
    """A checkout whose customer reads why it failed, and whose payment has a token."""
    request = system.request(method="refuses-capture")
    system.publish(request)
    system.await_status("checkout", request.checkout_id, "compensated")
    system.await_rest([request.checkout_id])
    return request.checkout_id


def test_show_tells_people_state_trail_and_events(system: System, ended: str) -> None:
    result = checkout(system.env, "show", ended)
    assert (result.returncode, result.stderr) == (0, "")
    for expected in ("checkout: compensated", "payment: voided", "warehouse: released", "capture_failed", "CAPTURE_R"):
        assert expected in result.stdout
    assert "tok_" not in result.stdout


def test_show_tells_programs_the_same_as_json(system: System, ended: str) -> None:
    result = checkout(system.env, "show", ended, "--json")
    found = json.loads(result.stdout)
    assert set(found) == {"checkout_id", "states", "customer_reads", "failure", "waiting", "trace", "trail", "events"}
    assert found["checkout_id"] == ended
    assert found["customer_reads"].endswith(".")
    assert (found["failure"]["code"], found["failure"]["error_class"]) == ("CAPTURE_REFUSED", "nobody_can_fix")
    assert {name: state["status"] for name, state in found["states"].items()} == {
        "checkout": "compensated",
        "payment": "voided",
        "warehouse": "released",
    }
    own_trail = [step["to_state"] for step in found["trail"] if step["service"] == "checkout"]
    assert own_trail == system.trail("checkout", ended)
    assert len(found["events"]) == len(system.events(ended))
    assert "tok_" not in result.stdout


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_show_of_an_id_that_nobody_knows_is_one_line(system: System, form: list[str]) -> None:
    result = checkout(system.env, "show", "nobody-knows-me", *form)
    assert result.returncode == 1
    assert one_line(result) == "checkout show: no service knows a checkout nobody-knows-me"


# --- audit: after what others have done, before somebody breaks it by hand ------------------------------------------


def audited(system: System) -> tuple[int, dict[str, Any]]:
    result = checkout(system.env, "audit", "--json")
    assert result.stderr == ""
    return result.returncode, json.loads(result.stdout)


def test_audit_of_a_sound_system_is_clean(system: System, ended: str) -> None:
    system.await_rest([ended])
    code, found = audited(system)
    assert set(found) == {"clean", "breaches", "checkouts", "under_way", "waiting"}
    assert (code, found["clean"], found["breaches"], found["under_way"]) == (0, True, [], 0)
    assert found["checkouts"] > 0


def test_audit_names_for_people_and_programs_what_somebody_broke_by_hand(servers: TestServers, scratch: Path) -> None:
    with System(servers, scratch) as broken:
        trace, status, amount, inbox = requests = [broken.request() for _ in range(4)]
        broken.publish(*requests)
        broken.await_rest(request.checkout_id for request in requests)
        broken.fleet.stop()
        broken.execute("warehouse", "UPDATE stock SET on_hand = on_hand - 1, reserved = 1 WHERE sku = 'sku-7'")
        broken.execute(
            "payment",
            "DELETE FROM audit_trail WHERE checkout_id = :id AND to_state = 'captured'",
            id=trace.checkout_id,
        )
        broken.execute(
            "checkout",
            "UPDATE checkouts SET status = 'compensated' WHERE checkout_id = :id",
            id=status.checkout_id,
        )
        broken.execute(
            "checkout", "UPDATE checkouts SET total_minor = 1 WHERE checkout_id = :id", id=amount.checkout_id
        )
        event_id = UUID(id_of(broken, "checkout.accepted", inbox.checkout_id))
        forgotten = broken.identity(event_id, "checkout.accepted", inbox.checkout_id)
        broken.execute("warehouse", "DELETE FROM inbox WHERE event_id = CAST(:id AS uuid)", id=forgotten)
        with ThreadPoolExecutor(1) as beside:
            for_people = beside.submit(checkout, broken.env, "audit")
            code, found = audited(broken)
            told = for_people.result()
        named = {(breach["invariant"], breach["offender"]) for breach in found["breaches"]}
        [unhandled] = [breach for breach in found["breaches"] if breach["invariant"] == 6]
    assert (code, found["clean"]) == (1, False)
    assert named - {(6, unhandled["offender"])} == {
        (2, amount.checkout_id),
        (3, status.checkout_id),
        (4, status.checkout_id),
        (4, "sku-7"),
        (5, trace.checkout_id),
    }
    assert unhandled["offender"].startswith("warehouse checkout.accepted/")
    assert forgotten in unhandled["what"]
    assert told.returncode == 1
    for _, offender in named:
        assert offender in told.stdout


def id_of(system: System, event: str, checkout_id: str) -> str:
    """The id of the one event of this kind of a checkout."""
    [letter] = [Letter.of(m) for m in system.messages(event) if m.key() == checkout_id.encode()]
    return letter.headers["ce_id"].decode()


# --- schemas --------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(servers: TestServers) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": servers.registry, "timeout": 5, "max.retries": 3}) as client:
        yield client


@pytest.fixture
def elsewhere(system: System) -> dict[str, str]:
    """The same servers, where no topic and no subject is ours yet."""
    return system.env | {"TOPIC_PREFIX": f"t{uuid4().hex[:10]}."}


def test_schemas_that_are_registered_are_compatible_and_may_be_registered_again(system: System) -> None:
    checked, registered = checkout(system.env, "schemas", "check"), checkout(system.env, "schemas", "register")
    assert (checked.returncode, checked.stdout) == (0, f"{len(topics())} schemas are compatible\n")
    assert (registered.returncode, registered.stdout) == (0, "18 schemas registered, 0 topics created\n")


def other_than(event: str) -> str:
    """A first version of an event's schema that ours can't follow: one field more, without a default."""
    schema = json.loads(avsc(event))
    schema["fields"].append({"name": "shop", "type": "string"})
    return json.dumps(schema)


@pytest.mark.parametrize("command", ["check", "register"])
def test_schemas_refuses_what_cannot_follow_the_registered_version(
    elsewhere: dict[str, str], registry: SchemaRegistryClient, command: str
) -> None:
    subject = f"{elsewhere['TOPIC_PREFIX']}checkout.requested-value"
    registry.register_schema(subject, Schema(other_than("checkout.requested"), "AVRO"))
    registry.set_compatibility(subject, COMPATIBILITY)
    result = checkout(elsewhere, "schemas", command)
    assert result.returncode == INCOMPATIBLE
    assert "checkout.requested" in one_line(result)
    assert registry.get_versions(subject) == [1]


def test_schemas_check_refuses_a_change_in_the_tree_and_names_the_file(system: System, tmp_path: Path) -> None:
    for package in ("schemas", "compose", "services", "outbox", "dlq"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "schemas" / "payment.captured.avsc").write_text(other_than("payment.captured"), encoding="utf-8")
    result = checkout(system.env | {"PYTHONPATH": str(tmp_path)}, "schemas", "check")
    assert result.returncode == INCOMPATIBLE
    assert one_line(result).startswith("schemas/payment.captured.avsc can't replace what is registered")


# --- what can be wrong with the call or the surroundings ------------------------------------------------------------

COMMANDS: Final = {
    "publish": ("publish", "-"),
    "audit": ("audit",),
    "schemas check": ("schemas", "check"),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_missing_setting_is_one_line_that_names_it(system: System, arguments: tuple[str, ...]) -> None:
    env = {name: value for name, value in system.env.items() if name != "SCHEMA_REGISTRY_URL"}
    result = checkout(env, *arguments)
    assert result.returncode == CONFIGURATION
    assert one_line(result).startswith("settings: SCHEMA_REGISTRY_URL: ")


def nobody() -> str:
    """Where no server listens."""
    return f"127.0.0.1:{free_port()}"


UNREACHABLE: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "the provider": ("PAYMENT_PROVIDER_URL", "http://{}", ("audit",)),
    "the registry": ("SCHEMA_REGISTRY_URL", "http://{}/apis/ccompat/v7", ("publish", "-")),
    "the registry, checking": ("SCHEMA_REGISTRY_URL", "http://{}/apis/ccompat/v7", ("schemas", "check")),
    "the registry, setting up": ("SCHEMA_REGISTRY_URL", "http://{}/apis/ccompat/v7", ("setup",)),
    "Kafka": ("KAFKA_BOOTSTRAP_SERVERS", "{}", ("publish", "-")),
    "Postgres": ("CHECKOUT_DATABASE_URL", "postgresql+psycopg2://u:secret@{}/x", ("show", "c-1")),
}


@pytest.mark.parametrize(("name", "address", "arguments"), UNREACHABLE.values(), ids=UNREACHABLE.keys())
def test_a_server_that_does_not_answer_is_one_clear_line_soon(
    system: System, name: str, address: str, arguments: tuple[str, ...]
) -> None:
    began = time.monotonic()
    result = checkout(system.env | {name: address.format(nobody())}, *arguments, given=json.dumps(good()))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "secret" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"checkout {arguments[0]}")
    assert time.monotonic() - began < 45


@pytest.mark.parametrize("option", ["--check", "--apply"])
def test_brokers_without_an_authorizer_and_without_an_answer_have_no_acls(system: System, option: str) -> None:
    open_to_all = checkout(system.env, "acls", option)
    assert open_to_all.returncode == COULD_NOT
    assert one_line(open_to_all).startswith("checkout acls: the brokers have no authorizer: whoever reaches them")
    away = checkout(system.env | {"KAFKA_BOOTSTRAP_SERVERS": nobody()}, "acls", option)
    assert away.returncode == COULD_NOT
    assert one_line(away).startswith("checkout acls: Kafka: ")


@pytest.mark.parametrize(
    "arguments",
    [("audit", "--wrong"), ("wrong",), ("show",), ("run", "--checkouts", "0")],
    ids=" ".join,
)
def test_a_wrong_call_is_told_with_its_usage(system: System, arguments: tuple[str, ...]) -> None:
    result = checkout(system.env, *arguments)
    assert result.returncode == USAGE
    assert result.stdout == ""
    assert "Usage: checkout" in result.stderr
    assert "Traceback" not in result.stderr


# --- run ------------------------------------------------------------------------------------------------------------


def left_by(system: System) -> list[str]:
    """Processes that have the settings of this system."""
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TOPIC_PREFIX") == system.env["TOPIC_PREFIX"]:
                left.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return left


def test_run_takes_the_servers_that_are_named_and_ends_with_one_line_of_json(
    servers: TestServers, scratch: Path, tmp_path: Path
) -> None:
    with System(servers, scratch, services=()) as bare:
        result = checkout(
            bare.env, "run", "--checkouts", "13", "--exit-when-done", "--json", "--data", str(tmp_path / "data")
        )
        assert left_by(bare) == []
    assert result.returncode == 0, result.stderr
    [line] = result.stdout.splitlines()
    found = json.loads(line)
    assert set(found) == {"checkouts", "ended", "endings", "audit", "seconds"}
    assert (found["checkouts"], found["ended"], sum(found["endings"].values())) == (13, 13, 13)
    assert found["audit"] == {"clean": True, "breaches": []}
    assert {"completed", "OUT_OF_STOCK", "EXPIRED", "CANCELLED", "CAPTURE_REFUSED"} <= set(found["endings"])
    assert 0 < found["seconds"] < LIMIT_S
    assert "as expected" in result.stderr
    assert "Traceback" not in result.stderr
