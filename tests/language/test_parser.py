"""AsyncAPI's own parser, with its parser of Avro schemas, has no objection to `schemas/asyncapi.yaml`."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from compose.language import files
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


@dataclass(frozen=True)
class Parser:
    """The parser's packages, installed."""

    packages: Path

    def parse(self, file: Path) -> dict[str, Any]:
        """What it says of a file: `diagnostics`, and `channels` with the fields of their messages."""
        done = subprocess.run(
            ["node", str(Path(__file__).with_name("parser.cjs")), str(file)],
            env=os.environ | {"NODE_PATH": str(self.packages / "node_modules")},
            capture_output=True,
            text=True,
            check=False,
            timeout=_PARSE_S,
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def errors(self, file: Path) -> list[str]:
        """Its objections."""
        return [
            f"{said['code']}: {said['message']} at {'.'.join(map(str, said['path']))}"
            for said in self.parse(file)["diagnostics"]
            if said["severity"] == ERROR
        ]


@pytest.fixture(scope="module")
def parser() -> Parser:
    """The parser, installed once for this user."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not here")
    name = f"asyncapi-parser-{'-'.join(PACKAGES.values())}"
    try:
        return Parser(cached(cache_dir(os.environ), name, install, print))
    except StackError as error:
        if any(reason in str(error) for reason in _NO_REGISTRY):
            pytest.skip(f"npm can't reach its registry: {error}")
        raise


def install(folder: Path, _show: FileProgress) -> None:
    """Put the packages into a folder; nothing of theirs is run."""
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
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


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the document beside copies of the schemas, to be broken."""
    for source in (files.ROOT / "schemas").glob("*.avsc"):
        shutil.copy(source, tmp_path)
    return Path(shutil.copy(files.ROOT / "schemas" / "asyncapi.yaml", tmp_path))


def test_the_parser_has_no_objection_and_understands_every_field(parser: Parser) -> None:
    said = parser.parse(files.ROOT / "schemas" / "asyncapi.yaml")
    assert [x for x in said["diagnostics"] if x["severity"] == ERROR] == []
    assert set(said["channels"]) == {*topics(), *TOPICS}
    for event in topics():
        assert said["channels"][event] == {event: [field["name"] for field in json.loads(avsc(event))["fields"]]}


def test_the_parser_refuses_an_operation_on_a_channel_that_is_not_there(parser: Parser, copy: Path) -> None:
    document = yaml.safe_load(copy.read_text(encoding="utf-8"))
    document["operations"]["checkoutReceivesCheckoutRequested"]["channel"]["$ref"] = "#/channels/checkout.asked"
    copy.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert [error for error in parser.errors(copy) if "checkout.asked" in error]


def test_the_parser_refuses_a_schema_that_is_not_avro(parser: Parser, copy: Path) -> None:
    schema = json.loads(avsc("checkout.completed"))
    schema["fields"][0]["type"] = "uuid"
    copy.with_name("checkout.completed.avsc").write_text(json.dumps(schema), encoding="utf-8")
    assert parser.errors(copy)


def test_the_parser_refuses_a_binding_that_kafka_does_not_have(parser: Parser, copy: Path) -> None:
    document = yaml.safe_load(copy.read_text(encoding="utf-8"))
    document["channels"]["checkout.requested"]["bindings"]["kafka"]["partitions"] = 0
    copy.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert parser.errors(copy)
