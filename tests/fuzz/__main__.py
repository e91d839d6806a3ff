"""`python -m tests.fuzz [--messages 100000] [--rate 100] [--seed 1]`: exit 0 when every promise was kept.

It also wants the p99 of honest checkouts beside the flood to be at most three times that without.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.fuzz.run import fuzz
from tests.servers import servers

_SLOWER: Final = 3.0


def main() -> int:
    """Run once, print the result as JSON, and say what did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=100.0, help="hostile messages a second, at most")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed gives the same messages")
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="checkout-fuzz-") as folder, servers(os.environ, Path(folder)) as found:
        result = fuzz(
            found, Path(folder) / "logs", messages=wanted.messages, rate=wanted.rate, seed=wanted.seed,
            tell=lambda line: print(line, flush=True),
        )  # fmt: skip
    print(json.dumps(result.as_json(), indent=2), flush=True)
    slower = result.p99_beside_s / result.p99_alone_s if result.p99_alone_s else 0.0
    holds = result.holds and slower <= _SLOWER
    print(
        f"{result.messages:,} hostile messages, {len(result.deaths)} deaths, {len(result.unsettled)} unsettled, "
        f"{result.honest:,} honest checkouts, {len(result.honest_without_end)} without an end, "
        f"p99 beside {slower:.2f} x of alone, {len(result.breaches)} breaches: {'OK' if holds else 'FAIL'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
