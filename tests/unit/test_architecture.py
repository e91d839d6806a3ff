"""Reads the code and says where the house grows out of its rules."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from sys import stdlib_module_names
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TOPS: Final = ("schemas", "outbox", "dlq", "services", "compose")
LINES: Final = 250
LINES_AT_MOST: Final = 320
FUNCTION_LINES: Final = 50
FOLDERS: Final = 2

LONG: Final = {
    "schemas/choreography.py": "the map, which is read as one table",
    "schemas/events.py": "every event on one page",
    "services/checkout/decisions.py": "one state machine, read as a whole",
    "services/shell/process.py": "the parts of a process, and the order in which they start and stop",
}
"""Modules that may be longer than LINES, and why."""

SERVICES: Final = ("checkout", "payment", "warehouse")
BESIDE_DECISIONS: Final = {
    "checkout": ("services.checkout.money", "services.checkout.rules", "services.checkout.state"),
    "payment": ("services.payment.provider.protocol", "services.payment.state", "services.payment.steps"),
    "warehouse": (),
}
PURE_SCHEMAS: Final = ("schemas.cards", "schemas.decision", "schemas.events", "schemas.failures", "schemas.limits")


def sources(*tops: str) -> list[str]:
    """The Python files under `tops`, as paths from the root."""
    found = (path.relative_to(ROOT) for top in tops for path in (ROOT / top).rglob("*.py"))
    return sorted(str(path) for path in found if "__pycache__" not in path.parts)


@cache
def tree(source: str) -> ast.Module:
    return ast.parse((ROOT / source).read_text(encoding="utf-8"))


def imported(source: str) -> set[str]:
    """Full names of the modules and names that a file imports, wherever it does."""
    package = source.removesuffix(".py").split("/")[:-1]
    names: set[str] = set()
    for node in ast.walk(tree(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def strangers(source: str, *allowed: str) -> list[str]:
    """What a file imports of this project beyond `allowed`."""
    return sorted(name for name in imported(source) if within(name, *TOPS, "tests") and not within(name, *allowed))


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def calls(source: str) -> Iterator[str]:
    """Everything that a file names with a dot, such as `time.sleep`, and what it imports."""
    yield from imported(source)
    yield from (ast.unparse(node) for node in ast.walk(tree(source)) if isinstance(node, ast.Attribute))


OURS: Final = sources(*TOPS)
DECISIONS: Final = [f"services/{name}/decisions.py" for name in SERVICES]
PURE: Final = [*DECISIONS, *(f"{name.replace('.', '/')}.py" for beside in BESIDE_DECISIONS.values() for name in beside)]
COMMANDS: Final = ("dlq/cli.py", "dlq/acting_cli.py")
"""Where a person's command starts: they read the environment and print."""
every_file = pytest.mark.parametrize("source", OURS)


def test_the_code_is_there() -> None:
    assert set(PURE) <= set(OURS)
    assert set(COMMANDS) <= set(OURS)
    assert set(LONG) <= set(OURS)


@every_file
def test_a_module_is_short_or_known_to_be_long(source: str) -> None:
    lines = len((ROOT / source).read_text(encoding="utf-8").splitlines())
    assert lines <= (LINES_AT_MOST if source in LONG else LINES), f"{source} has {lines} lines: time to part it"
    assert source not in LONG or lines > LINES, f"{source} is short again: take it off the list"


@every_file
def test_a_function_fits_on_a_screen(source: str) -> None:
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions(source)}
    assert not {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES}


@every_file
def test_no_error_is_swallowed(source: str) -> None:
    handlers = [node for node in ast.walk(tree(source)) if isinstance(node, ast.ExceptHandler)]
    silent = [node.lineno for node in handlers if all(isinstance(line, ast.Pass) or _dots(line) for line in node.body)]
    bare = [node.lineno for node in handlers if node.type is None]
    assert not silent + bare


def _dots(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


@pytest.mark.parametrize("source", sources("schemas", "outbox", "dlq", "services"))
def test_nobody_sleeps(source: str) -> None:
    """Whoever waits waits for something that can end the wait; only `compose` has to poll, for foreign processes."""
    assert not [name for name in calls(source) if name == "time.sleep"]


@every_file
def test_the_environment_is_read_where_a_process_starts(source: str) -> None:
    starts = source.startswith("compose/") or source.endswith("/__main__.py") or source in COMMANDS
    assert starts or not [name for name in calls(source) if within(name, "os.environ", "os.environb", "os.getenv")]


@every_file
def test_there_are_two_levels_of_folders(source: str) -> None:
    folders = Path(source).parts[1:-1]
    assert len(folders) <= FOLDERS or "migrations" in folders


# the walls


@pytest.mark.parametrize("name", SERVICES)
def test_a_decision_knows_the_language_and_nothing_of_the_machinery(name: str) -> None:
    allowed = (*PURE_SCHEMAS, *BESIDE_DECISIONS[name])
    for source in (f"services/{name}/decisions.py", *(path.replace(".", "/") + ".py" for path in allowed)):
        foreign = [module for module in imported(source) if module.split(".")[0] not in (*stdlib_module_names, *TOPS)]
        assert not foreign + strangers(source, *allowed), source


CLOCKS: Final = ("time", "random", "secrets", "uuid.uuid1", "uuid.uuid4", "os", "socket", "threading", "asyncio")


@pytest.mark.parametrize("source", PURE)
def test_a_decision_reads_no_clock_and_throws_no_dice(source: str) -> None:
    assert not [name for name in imported(source) if within(name, *CLOCKS)]
    assert not [name for name in calls(source) if name.endswith((".now", ".utcnow", ".today"))]


OBSERVER_CORE: Final = (
    *("timeline", "states", "steps", "rules", "summary", "index", "watermark", "overview", "detail"),
    *("texts", "instants", "pending"),
)


@pytest.mark.parametrize("name", OBSERVER_CORE)
def test_the_core_of_the_observer_is_pure(name: str) -> None:
    source, core = f"services/observer/{name}.py", [f"services.observer.{each}" for each in OBSERVER_CORE]
    schemas = ("schemas.cards", "schemas.choreography", "schemas.envelope", "schemas.events")
    assert not strangers(source, *schemas, *core)
    assert not [module for module in imported(source) if module.split(".")[0] not in (*stdlib_module_names, *TOPS)]
    assert not [module for module in imported(source) if within(module, *CLOCKS)]


@pytest.mark.parametrize("name", [*SERVICES, "observer"])
def test_services_do_not_know_each_other(name: str) -> None:
    others = [f"services.{other}" for other in (*SERVICES, "observer") if other != name]
    for source in sources(f"services/{name}"):
        assert not [module for module in imported(source) if within(module, *others)], source


@pytest.mark.parametrize(
    ("top", "allowed"),
    [
        ("schemas", ("schemas",)),
        ("outbox", ("outbox",)),
        ("dlq", ("dlq", "outbox", "schemas")),
        ("services/shell", ("services.shell", "dlq", "outbox", "schemas")),
        ("services", ("services", "dlq", "outbox", "schemas")),
        ("compose", TOPS),
    ],
)
def test_a_folder_knows_only_what_lies_below_it(top: str, allowed: tuple[str, ...]) -> None:
    grown = {source: strangers(source, *allowed) for source in sources(top)}
    assert not {source: names for source, names in grown.items() if names}


@pytest.mark.parametrize("source", sources("schemas", "outbox", "dlq"))
def test_a_library_starts_no_process_and_prints_nothing(source: str) -> None:
    if source not in COMMANDS:
        assert not [node for node in ast.walk(tree(source)) if isinstance(node, ast.Name) and node.id == "print"]
