"""`checkout sandbox`: the sandbox payment provider in the foreground, until it is stopped."""

from pathlib import Path
from typing import Annotated, Final

import typer

from compose.failing import one_line

LEDGER: Final = "ledger.sqlite"
_LAST_PORT: Final = 65_535
_DAY_S: Final = 86_400.0
_TEN_YEARS_S: Final = 3650 * _DAY_S
_WRONG: Final = 2

Port = Annotated[int, typer.Option("--port", metavar="N", help="Where it listens; 0 takes a free one.")]
Ledger = Annotated[Path, typer.Option("--ledger", metavar="FOLDER", help="Its ledger; made if it isn't there.")]
Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address that it listens on.")]
Authorizations = Annotated[
    float, typer.Option("--authorization-ttl-s", metavar="SECONDS", help="How long an authorization can be captured.")
]
Keys = Annotated[
    float, typer.Option("--key-ttl-s", metavar="SECONDS", help="How long idempotency keys are remembered.")
]
Stop = Annotated[
    float, typer.Option("--shutdown-timeout-s", metavar="SECONDS", help="For what is in flight at a stop.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of random faults.")]


def sandbox(
    *,
    ledger: Ledger,
    port: Port = 8090,
    host: Host = "127.0.0.1",
    authorization_ttl_s: Authorizations = 7 * _DAY_S,
    key_ttl_s: Keys = _DAY_S,
    shutdown_timeout_s: Stop = 10.0,
    seed: Seed = 0,
) -> None:
    """Run the sandbox payment provider until SIGTERM or SIGINT."""
    # imported here: no other command needs an HTTP server
    from compose.sandbox.__main__ import run  # noqa: PLC0415
    from compose.sandbox.server import Settings  # noqa: PLC0415

    if not 0 <= port <= _LAST_PORT:
        _wrong(f"--port: {port} is not a port from 0 to {_LAST_PORT}")
    for seconds in (authorization_ttl_s, key_ttl_s, shutdown_timeout_s):
        if not 0 < seconds <= _TEN_YEARS_S:
            _wrong(f"{seconds} is not a number of seconds above 0 and below ten years")
    with one_line("sandbox"):
        file = ledger_file(ledger)
    raise typer.Exit(run(Settings(host, port, file, authorization_ttl_s, key_ttl_s, shutdown_timeout_s, seed)))


def ledger_file(path: Path) -> Path:
    """The file in a folder, which is made; an existing file is a ledger itself. Raises OSError."""
    if path.is_file():
        return path
    path.mkdir(parents=True, exist_ok=True)
    return path / LEDGER


def _wrong(reason: str) -> None:
    typer.echo(f"checkout sandbox: {reason}", err=True)
    raise typer.Exit(_WRONG)
