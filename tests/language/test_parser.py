"""AsyncAPI's own parser, with its parser of Avro schemas, has no objection to `schemas/asyncapi.yaml`."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from compose.language import asyncapi, files
from compose.language.dead_letters import TOPICS
from compose.stack.downloads import cached
from compose.stack.errors import StackError
from compose.stack.paths import cache_dir
from compose.stack.progress import FileProgress
from schemas.choreography import topics
from schemas.codec import avsc

PACKAGES: Final = {"@asyncapi/parser": "3.6.3", "@asyncapi/avro-schema-parser": "3.0.24"}
ERROR: Final = 0
_INSTALL_S: Final = 180
_PARSE_S: Final = 60
_NO_REGISTRY: Final = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ETIMEDOUT")


Document = dict[str, Any]
Break = Callable[[Document, Path], None]
"""Breaks a document or the schemas in its folder."""


@pytest.fixture(scope="module")
def packages() -> Path:
    """The parser's packages, installed once for this user."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not here")
    name = f"asyncapi-parser-{'-'.join(PACKAGES.values())}"
    try:
        return cached(cache_dir(os.environ), name, install, print)
    except StackError as error:
        if any(reason in str(error) for reason in _NO_REGISTRY):
            pytest.skip(f"npm can't reach its registry: {str(error).splitlines()[0]}")
        raise


def install(folder: Path, _show: FileProgress) -> None:
    """Put the packages into a folder; nothing of theirs is run."""
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", "--prefix", str(folder)]
    done = subprocess.run(
        ["npm", "install", *options, *wanted],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=_INSTALL_S,
    )
    if done.returncode != 0:
        raise RuntimeError(f"npm install: {done.stderr.strip()[-500:]}")


def no_such_channel(document: Document, _folder: Path) -> None:
    """An operation on a channel that is not there."""
    document["operations"]["checkoutReceivesCheckoutRequested"]["channel"]["$ref"] = "#/channels/checkout.asked"


def not_avro(_document: Document, folder: Path) -> None:
    """A schema with a list of nothing."""
    schema = json.loads(avsc("checkout.completed"))
    schema["fields"][0]["type"] = {"type": "array"}
    (folder / "checkout.completed.avsc").write_text(json.dumps(schema), encoding="utf-8")


def no_such_schema(_document: Document, folder: Path) -> None:
    """A payload whose schema is not there."""
    (folder / "payment.captured.avsc").unlink()


def no_partitions(document: Document, _folder: Path) -> None:
    """A topic as Kafka has none."""
    document["channels"]["checkout.requested"]["bindings"]["kafka"]["partitions"] = 0


BROKEN: Final[tuple[Break, ...]] = (no_such_channel, not_avro, no_such_schema, no_partitions)


@pytest.fixture(scope="module")
def said(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the parser says of the document, under "", and of broken copies, by the name of what broke them."""
    copies = {each.__name__: broken(tmp_path_factory.mktemp(each.__name__), each) for each in BROKEN}
    looked_at = {"": files.ROOT / "schemas" / "asyncapi.yaml", **copies}
    done = subprocess.run(
        ["node", str(Path(__file__).with_name("parser.cjs")), *map(str, looked_at.values())],
        env=os.environ | {"NODE_PATH": str(packages / "node_modules")},
        capture_output=True,
        text=True,
        check=False,
        timeout=_PARSE_S,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(looked_at, json.loads(done.stdout), strict=True))


def broken(folder: Path, change: Break) -> Path:
    """A copy of the document beside copies of the schemas, with something wrong."""
    for source in (files.ROOT / "schemas").glob("*.avsc"):
        shutil.copy(source, folder)
    document = asyncapi.document()
    change(document, folder)
    copy = folder / "asyncapi.yaml"
    copy.write_text(yaml.safe_dump(document), encoding="utf-8")
    return copy


def errors(told: dict[str, Any]) -> list[str]:
    """The parser's objections."""
    return [f"{x['message']} at {'.'.join(map(str, x['path']))}" for x in told["diagnostics"] if x["severity"] == ERROR]


def test_the_parser_has_no_objection(said: dict[str, Any]) -> None:
    assert errors(said[""]) == []


def test_the_parser_understands_every_topic_and_every_field(said: dict[str, Any]) -> None:
    assert set(said[""]["channels"]) == {*topics(), *TOPICS}
    for event in topics():
        assert said[""]["channels"][event] == {event: [field["name"] for field in json.loads(avsc(event))["fields"]]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_such_channel, "channels/checkout.asked"),
        (not_avro, "components.messages.checkout.completed.payload"),
        (no_such_schema, "payment.captured.avsc"),
        (no_partitions, "channels.checkout.requested.bindings.kafka.partitions"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_parser_refuses_what_is_broken(said: dict[str, Any], change: Break, words: str) -> None:
    assert [error for error in errors(said[change.__name__]) if words in error], errors(said[change.__name__])
