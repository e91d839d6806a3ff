"""A Maven repository of two jars, as files in a folder."""

import io
import tarfile
from functools import cache
from pathlib import Path
from typing import Final

THING: Final = "org.example:thing:1:jar"
NEEDED: Final = "org.example:needed:2:jar"
JAR: Final = b"PK: any bytes; nothing is run"

_POM: Final = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId><artifactId>{name}</artifactId><version>{version}</version>
  <dependencies>{needs}</dependencies>
</project>"""
_NEEDS: Final = (
    "<dependency><groupId>org.example</groupId><artifactId>needed</artifactId><version>2</version></dependency>"
)


class Repository:
    """`thing` 1, which needs `needed` 2, and what is added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.add("thing", "1", "jar", JAR)
        self.add("thing", "1", "pom", _POM.format(name="thing", version="1", needs=_NEEDS).encode())
        self.add("needed", "2", "jar", JAR)
        self.add("needed", "2", "pom", _POM.format(name="needed", version="2", needs="").encode())

    def add(self, name: str, version: str, ending: str, content: bytes) -> None:
        """Put a file where Maven looks for it. ending: the packaging, with the classifier before it."""
        folder = self.folder / "org" / "example" / name / version
        folder.mkdir(parents=True, exist_ok=True)
        separator = "-" if ending.startswith("all") else "."
        (folder / f"{name}-{version}{separator}{ending}").write_bytes(content)

    @staticmethod
    @cache
    def packed() -> bytes:
        """An archive with one file."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            archive.addfile(tarfile.TarInfo("readme"), io.BytesIO())
        return content.getvalue()
