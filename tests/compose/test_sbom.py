"""What `make sbom` adds to the documents of Python packages."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from compose import sbom
from compose.stack.checksums import known

DOCUMENT: Final[dict[str, Any]] = {
    "bomFormat": "CycloneDX",
    "metadata": {"timestamp": "2026-11-29T00:00:00Z"},
    "components": [{"type": "library", "name": "rich"}],
}


def test_every_jar_is_a_component_with_its_hash() -> None:
    added = {each["purl"]: each["hashes"] for each in sbom.completed(DOCUMENT, known())["components"][1:]}
    assert len(added) == len(known())
    assert sorted(one["content"] for (one,) in added.values()) == sorted(known().values())


def test_a_jar_has_the_package_url_of_its_coordinates() -> None:
    kafka = sbom.jar("org.apache.kafka:kafka_2.13:4.4.0:jar", "00")
    assert kafka["purl"] == "pkg:maven/org.apache.kafka/kafka_2.13@4.4.0?type=jar"
    archive = sbom.jar("io.apicurio:apicurio-registry-app:3.3.3:all:tar.gz", "00")
    assert archive["purl"] == "pkg:maven/io.apicurio/apicurio-registry-app@3.3.3?classifier=all&type=tar.gz"


@pytest.mark.parametrize(("arguments", "jars"), [([], 0), (["--jars"], len(known()))])
def test_the_file_is_completed_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], jars: int
) -> None:
    file = tmp_path / "bom.json"
    file.write_text(json.dumps(DOCUMENT))
    monkeypatch.setattr("sys.argv", ["sbom", *arguments, str(file)])
    sbom.main()
    written = json.loads(file.read_text())
    assert len(written["components"]) == 1 + jars
    assert written["metadata"]["timestamp"] == DOCUMENT["metadata"]["timestamp"]
    assert written["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
