"""Writes compose/.env with random passwords, unless it is there. Needs nothing but Python's standard library."""

import os
import secrets
from pathlib import Path
from typing import Final

PATH: Final = Path(__file__).with_name(".env")
PASSWORDS: Final = (
    "POSTGRES_PASSWORD",
    "CHECKOUT_DB_PASSWORD",
    "PAYMENT_DB_PASSWORD",
    "WAREHOUSE_DB_PASSWORD",
    "CHECKOUT_OWNER_DB_PASSWORD",
    "PAYMENT_OWNER_DB_PASSWORD",
    "WAREHOUSE_OWNER_DB_PASSWORD",
    "REGISTRY_DB_PASSWORD",
)
_BYTES: Final = 24


def make_env(path: Path = PATH) -> bool:
    """Whether the file was written. One that is there stays as it is: the databases know its passwords.

    The file appears whole or not at all, and is its owner's only from the first byte on.
    """
    if path.exists():
        return False
    # hexadecimal: no character of it means anything in a URL or in this file
    lines = [f"{name}={secrets.token_hex(_BYTES)}" for name in PASSWORDS]
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(
            "\n".join(["# written by compose/make_env.py; compose/.env.example says what may be here", *lines, ""])
        )
    new.replace(path)
    return True


if __name__ == "__main__":
    if make_env():
        print(f"wrote {PATH} with new passwords")
