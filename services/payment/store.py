"""Loads the payments and payment methods of a batch, and saves what its decisions changed."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from outbox.bulk import array
from outbox.prepared import Prepared
from schemas.events import CheckoutAccepted, Event
from schemas.limits import is_identifier
from services.payment.state import Payment, PaymentMethod, Wallet
from services.payment.tables import PAYMENTS
from services.shell.states import States

_LOAD_METHODS: Final = Prepared(
    "payment_methods_load",
    "SELECT payment_method_id, customer_id, token FROM payment_methods WHERE payment_method_id = ANY(:ids)",
    {"ids": "text[]"},
)


class Wallets:
    """The payments and payment methods of a batch."""

    def __init__(self, payments: States[Payment], methods: dict[str, PaymentMethod]) -> None:
        self._payments = payments
        self._methods = methods

    def view(self, event: Event) -> Wallet:
        """The event's payment, and the payment method that it names."""
        named = event.payment_method_id if isinstance(event, CheckoutAccepted) else ""
        return Wallet(payment=self._payments.get(event.checkout_id), method=self._methods.get(named))

    def current(self, checkout_id: str) -> Payment | None:
        """The payment of a checkout."""
        return self._payments.get(checkout_id)

    def keep(self, state: Payment) -> None:
        """The new payment of a checkout."""
        self._payments.put(state)

    def save(self, db: Connection) -> None:
        """Write what changed: one statement."""
        self._payments.save(db)


def load(db: Connection, events: Sequence[Event]) -> Wallets:
    """The payments that `events` are about, and the payment methods that they name: two statements at most."""
    payments = PAYMENTS.load(db, (event.checkout_id for event in events))
    # what is no identifier is in no row, and may be what Postgres takes for no text
    ids = {event.payment_method_id for event in events if isinstance(event, CheckoutAccepted)}
    named = sorted(filter(is_identifier, ids))
    rows = _LOAD_METHODS.rows(db, {"ids": array("text", named)}) if named else []
    methods = [PaymentMethod(payment_method_id=name, customer_id=owner, token=token) for name, owner, token in rows]
    return Wallets(payments, {method.payment_method_id: method for method in methods})
