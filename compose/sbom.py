"""Completes CycloneDX documents: `python -m compose.sbom [--jars] FILE`, as `make sbom` does.

What reads the locks of Python packages knows neither what they are locked for nor the jars of the development servers.
The form is CycloneDX 1.6's, a jar's name that of the package URL type `maven`.
"""

import argparse
import json
from collections.abc import Mapping
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from compose.stack.checksums import known

Component = dict[str, Any]
_PROJECT: Final = "checkout-choreography"


def completed(document: Mapping[str, Any], jars: Mapping[str, str]) -> dict[str, Any]:
    """The document with this project as its subject and the jars among its components. jars: coordinates -> SHA-256."""
    subject = {**document.get("metadata", {}), "component": project()}
    components = [*document.get("components", []), *(jar(*each) for each in sorted(jars.items()))]
    return {**document, "metadata": subject, "components": components}


def project() -> Component:
    """This project in the version that is installed."""
    known_as = metadata(_PROJECT)
    return {
        "type": "application",
        "bom-ref": _PROJECT,
        "name": _PROJECT,
        "version": known_as["Version"],
        "description": known_as["Summary"],
        "licenses": [{"license": {"id": known_as["License-Expression"]}}],
    }


def jar(coordinates: str, checksum: str) -> Component:
    """A file of a Maven repository. coordinates: `group:artifact:version[:classifier]:packaging`."""
    group, artifact, version, *classifier, packaging = coordinates.split(":")
    qualifiers = {**({"classifier": classifier[0]} if classifier else {}), "type": packaging}
    purl = f"pkg:maven/{quote(group)}/{quote(artifact)}@{quote(version)}?{urlencode(qualifiers)}"
    return {
        "type": "library",
        "bom-ref": purl,
        "group": group,
        "name": artifact,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": checksum}],
        "purl": purl,
    }


def main() -> None:
    """Complete the file that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m compose.sbom")
    parser.add_argument("--jars", action="store_true", help="with Kafka's, Apicurio's and Debezium's")
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    document = json.loads(arguments.file.read_text(encoding="utf-8"))
    whole = completed(document, known() if arguments.jars else {})
    arguments.file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    print(f"{arguments.file}: {len(whole['components'])} components")


if __name__ == "__main__":
    main()
