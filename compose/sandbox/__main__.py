"""`python -m compose.sandbox`: the sandbox payment provider as a process of its own."""

import argparse
import logging
import math
import sys
from pathlib import Path
from typing import Final

import uvloop

from compose.sandbox.server import Settings, serve
from compose.sandbox.tables import LedgerError

DAY_S: Final = 86_400.0
LAST_PORT: Final = 65_535


def main() -> int:
    """Serve until stopped. 0 after a stop, 1 when it can't start, 2 for a wrong flag."""
    return run(_settings(sys.argv[1:]))


def run(settings: Settings) -> int:
    """Serve in the foreground until stopped. 0 after a stop, 1 with a line on stderr when it can't start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # it would log malformed requests with a traceback and a piece of what was sent, which may be a card number
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    try:
        uvloop.run(serve(settings))
    except (LedgerError, OSError) as error:
        print(f"sandbox provider: {error}", file=sys.stderr)
        return 1
    return 0


def _settings(arguments: list[str]) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m compose.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=_port, default=8090, help="0 takes a free one (default %(default)s)")
    parser.add_argument("--ledger", type=Path, required=True, help="SQLite file, made if it isn't there")
    parser.add_argument(
        "--authorization-ttl-s", type=_seconds, default=7 * DAY_S, help="capture_before (default 7 days)"
    )
    parser.add_argument(
        "--key-ttl-s", type=_seconds, default=DAY_S, help="idempotency keys are kept so long (default 24 h)"
    )
    parser.add_argument(
        "--shutdown-timeout-s", type=_seconds, default=10.0, help="for what is in flight at a stop (default 10)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of random faults (default %(default)s)")
    return Settings(**vars(parser.parse_args(arguments)))


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to {LAST_PORT}")
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and 0 < seconds <= 3650 * DAY_S):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and below ten years")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
