"""`python -m compose.readme`: writes the README's tables from the code; a test holds the README against it."""

import re
from functools import partial
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from compose.settings import Servers
from schemas.choreography import MAP, SERVICES, TIMERS
from schemas.failures import Code, entry_of
from schemas.secret import FILE, is_secret
from services.checkout.service import CheckoutSettings
from services.observer.settings import ObserverSettings
from services.payment.provider.declines import CODES
from services.payment.service import PaymentSettings
from services.shell.settings import Settings
from services.warehouse.service import WarehouseSettings

README: Final = Path(__file__).parents[1] / "README.md"


def choreography() -> str:
    """The map as a table."""
    rows = ["| event | said by | heard by: what it does | what it says then |", "|---|---|---|---|"]
    for entry in MAP:
        event = f"**`{entry.event}`**" if entry.ends else f"`{entry.event}`"
        first = (event, entry.said_by)
        for reaction in entry.heard_by:
            says = ", ".join(f"`{event}`" for event in reaction.publishes) or "nothing"
            rows.append(f"| {' | '.join(first)} | {reaction.service}: {reaction.does} | {says} |")
            first = ("", "")
        if not entry.heard_by:
            rows.append(f"| {' | '.join(first)} | the shop: an end | |")
    for timer in TIMERS:
        says = ", ".join(f"`{event}`" for event in timer.publishes)
        rows.append(f"| *{timer.when}* | {timer.service}'s timer | {timer.service}: {timer.does} | {says} |")
    return "\n".join(rows)


def settings() -> str:
    """Every environment variable that a service or command reads."""
    rows = ["| variable | default | what it is | read by |", "|---|---|---|---|"]
    own: tuple[tuple[str, type[BaseSettings]], ...] = (
        ("checkout", CheckoutSettings),
        ("payment", PaymentSettings),
        ("warehouse", WarehouseSettings),
        ("observer", ObserverSettings),
    )
    shared = {name for name in Settings.model_fields if name not in ("database_url", "metrics_port")}
    for name in sorted(shared):
        rows.append(_setting(name, Settings.model_fields[name], "every service"))
    for service, kind in own:
        rows += [_setting(n, f, service) for n, f in kind.model_fields.items() if n not in shared]
    topics = sorted(name for name in Servers.model_fields if name.startswith("topic_") and name != "topic_prefix")
    rows += [_setting(name, Servers.model_fields[name], "`checkout setup`") for name in topics]
    owners = [f"{service}_owner_database_url" for service in SERVICES]
    users = "`checkout setup`, `forget`, `prune`"
    rows += [_setting(name, Servers.model_fields[name], users) for name in owners]
    trail = "audit_trail_keep_days"
    rows.append(_setting(trail, Servers.model_fields[trail], "`checkout prune`, `checkout audit`"))
    rows.append(
        "| `CHECKOUT_STACK_DIR` | `.checkout/stack` | data of the local servers | `checkout stack`, `checkout run` |"
    )
    rows.append("| `CHECKOUT_CACHE_DIR` | `~/.cache/checkout` | their downloads | the same |")
    return "\n".join(rows)


def _setting(name: str, field: FieldInfo, reader: str) -> str:
    variable = str(field.validation_alias or name).upper()
    names = f"`{variable}`, `…{FILE}`" if is_secret(field) else f"`{variable}`"
    default = "required" if field.is_required() else f"`{field.default}`" if str(field.default) else "empty"
    return f"| {names} | {default} | {field.description} | {reader} |"


def codes() -> str:
    """The catalogue of errors: every code of `checkout.failed`."""
    rows = [
        "| code | class | the same again may succeed | what the customer reads | what the engineer reads |",
        "|---|---|---|---|---|",
    ]
    for code in Code:
        entry = entry_of(code)
        again = "yes" if entry.retryable else "no"
        rows.append(f"| `{code}` | {entry.error_class} | {again} | {entry.customer} | {entry.engineer} |")
    return "\n".join(rows)


def provider_codes() -> str:
    """The provider's words, by the code of ours that they become."""
    rows = ["| our code | the provider's words |", "|---|---|"]
    for code in Code:
        words = ", ".join(f"`{word}`" for word in sorted(CODES) if CODES[word] is code)
        if words:
            rows.append(f"| `{code}` | {words} |")
    return "\n".join(rows)


TABLES: Final = {
    "choreography": choreography,
    "settings": settings,
    "codes": codes,
    "provider_codes": provider_codes,
}


def updated(text: str) -> str:
    """The README with its tables as the code has them. Raises ValueError when a table's place is missing."""
    for name, table in TABLES.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not place.search(text):
            raise ValueError(f"README.md has no place for the table of {name}: <!-- {name} --> ... <!-- /{name} -->")
        text = place.sub(partial(_filled, table()), text)
    return text


def _filled(table: str, found: re.Match[str]) -> str:
    return f"{found[1]}{table}\n{found[2]}"


def main() -> None:
    """Write the tables."""
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
