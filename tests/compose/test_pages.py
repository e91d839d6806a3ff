"""The pages that `make up` ends with are those that it starts, and `make` starts what it is told to."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compose import pages as module
from compose.pages import PAGES, Page, lines, settings
from tests.compose.composition import PROFILES, ROOT, SERVICES, ports, resolve

PUBLISHED = {resolve(port, {}).split(":")[1]: service for service, port in ports()}
VARIABLES = {port.split("{")[1].split(":")[0]: resolve(port, {}).split(":")[1] for _, port in ports()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.variable)
def test_a_page_is_where_compose_publishes_it(page: Page) -> None:
    assert VARIABLES[page.variable] == str(page.port)
    service = SERVICES[PUBLISHED[str(page.port)]]
    assert service.get("profiles", [""]) == [page.profile]


def test_without_profiles_only_kafka_ui_is_shown() -> None:
    (line,) = lines((), {})
    assert "Kafka UI" in line
    assert line.endswith(" http://127.0.0.1:8080/")


def test_every_profile_shows_its_pages() -> None:
    assert len(list(lines(PROFILES, {}))) == len(PAGES)


def test_a_port_that_was_moved_is_shown(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("# a comment=1\nPOSTGRES_PASSWORD=x\nKAFKA_UI_PORT=8088\nGRAFANA_PORT=\n")
    given = settings(env, {"JAEGER_PORT": "7777"})
    shown = "\n".join(lines(PROFILES, given))
    assert "http://127.0.0.1:8088/" in shown
    assert "http://127.0.0.1:3000/dashboards" in shown
    assert "http://127.0.0.1:7777/search" in shown
    assert settings(tmp_path / "absent", {}) == {}


def test_the_script_needs_nothing_installed(tmp_path: Path) -> None:
    script = tmp_path / "pages.py"
    script.write_text(Path(module.__file__).read_text())
    # -I -S: no environment, no installed packages
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script), "watch,traces"], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("http://127.0.0.1:") == len(PAGES)


def planned(*arguments: str) -> str:
    """What `make` would run."""
    if shutil.which("make") is None:
        pytest.skip("no make here")
    command = ["make", "--dry-run", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def test_make_up_starts_everything_publishes_the_sample_and_shows_the_pages() -> None:
    said = planned("up")
    assert "COMPOSE_PROFILES=watch,traces TRACES_ENDPOINT=http://jaeger:4318" in said
    assert (
        said.index("up --build --detach --wait") < said.index("checkout sample") < said.index("pages.py watch,traces")
    )


def test_make_up_without_profiles_sends_no_traces() -> None:
    said = planned("up", "PROFILES=")
    assert "COMPOSE_PROFILES= " in said
    assert "TRACES_ENDPOINT" not in said


def test_make_down_stops_what_any_profile_started() -> None:
    said = planned("down")
    assert "COMPOSE_PROFILES=watch,traces" in said
    assert "down --volumes --remove-orphans" in said
