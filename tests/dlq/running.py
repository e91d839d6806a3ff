"""Runs the `dlq` command as its users do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dlq.settings import DlqSettings
from tests.dlq.making import environment

Ran = subprocess.CompletedProcess[str]
_LIMIT_S = 60


def dlq(settings: DlqSettings, *arguments: str, stdin: str = "", **environ: str) -> Ran:
    """One command, in a process of its own, with nothing but Kafka and the registry to talk to."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("dlq")), *arguments],
        input=stdin,
        env={"PATH": os.environ["PATH"], **environment(settings), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )


def answer(settings: DlqSettings, *arguments: str, stdin: str = "") -> Any:
    """What a command answers with `--json`; it has to succeed."""
    ran = dlq(settings, *arguments, "--json", stdin=stdin)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def refusal(ran: Ran, code: int = 2) -> str:
    """The one line of a command that failed; nothing else is said."""
    assert ran.returncode == code, ran
    assert ran.stdout == ""
    lines = ran.stderr.splitlines()
    assert len(lines) == 1, lines
    return lines[0]
