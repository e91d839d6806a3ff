"""Loads the reservations and stock of a batch, and saves what its decisions changed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection

from outbox.bulk import array
from outbox.prepared import Prepared
from schemas.events import CheckoutAccepted, Event
from schemas.limits import MAX_LINES, is_identifier
from services.shell.service import DueTimer
from services.shell.states import States
from services.warehouse.decisions import Reservation, ReservationExpired, Shelf, Stock, stock_moves
from services.warehouse.tables import RESERVATIONS

EXPIRY = DueTimer(
    ReservationExpired,
    "reservations",
)

# locked in the order of the skus, so that two batches that share products can't deadlock. A product in demand leaves
# a row version behind with every batch, and while somebody's snapshot is open none of them can be removed: so each
# product is looked for from the newest version on, and written where it was found
_LOAD_STOCK: Final = Prepared(
    "stock_load",
    "SELECT found.* FROM unnest(:skus) AS wanted (sku), LATERAL ("
    "SELECT sku, on_hand, reserved, committed, on_hold, ctid FROM stock"
    " WHERE stock.sku >= wanted.sku AND stock.sku <= wanted.sku ORDER BY stock.sku DESC LIMIT 1 FOR UPDATE) AS found",
    {"skus": "text[]"},
)
_MOVED: Final = {"on_hand": "bigint", "reserved": "bigint", "committed": "bigint"}
_SAVE_STOCK: Final = Prepared(
    "stock_save",
    f"WITH saved AS (UPDATE stock SET {', '.join(f'{name} = new.{name}' for name in _MOVED)}, updated_at = now()"  # noqa: S608
    f" FROM unnest(:place, :sku, {', '.join(f':{name}' for name in _MOVED)}) AS new (place, sku, {', '.join(_MOVED)})"
    " WHERE stock.ctid = new.place AND stock.sku = new.sku RETURNING 1)"
    " SELECT insist(count(*) = cardinality(:sku), 'stock is not where it was locked') FROM saved",
    {"place": "tid[]", "sku": "text[]", **{name: f"{kind}[]" for name, kind in _MOVED.items()}},
)


class Shelves:
    """The reservations and stock of a batch. places: sku -> where its row lies, as long as it is locked."""

    def __init__(self, reservations: States[Reservation], stock: dict[str, Stock], places: Mapping[str, str]) -> None:
        self._reservations = reservations
        self._stock = stock
        self._places = places
        self._moved: set[str] = set()

    def view(self, event: Event) -> Shelf:
        """The event's reservation, and all stock of the batch."""
        return Shelf(reservation=self._reservations.get(event.checkout_id), stock=self._stock)

    def current(self, checkout_id: str) -> Reservation | None:
        """The reservation of a checkout."""
        return self._reservations.get(checkout_id)

    def keep(self, state: Reservation) -> None:
        """The new reservation of a checkout; its units move with it."""
        for sku, source, target, units in stock_moves(self._reservations.get(state.checkout_id), state):
            stock = self._stock[sku]
            moved = {source: getattr(stock, source) - units, target: getattr(stock, target) + units}
            self._stock[sku] = replace(stock, **moved)
            self._moved.add(sku)
        self._reservations.put(state)

    def save(self, db: Connection) -> None:
        """Write what changed: two statements at most."""
        moved = [self._stock[sku] for sku in sorted(self._moved)]
        if moved:
            columns = {name: array(kind, [getattr(stock, name) for stock in moved]) for name, kind in _MOVED.items()}
            skus = [stock.sku for stock in moved]
            places = array("tid", [self._places[sku] for sku in skus])
            _SAVE_STOCK.send(db, {"place": places, "sku": array("text", skus), **columns})
        self._reservations.save(db)


def load(db: Connection, events: Sequence[Event]) -> Shelves:
    """The reservations that `events` are about, and the stock of every product in them: two statements."""
    reservations = RESERVATIONS.load(db, (event.checkout_id for event in events))
    rows = _stock(db, _skus(reservations, events))
    stock = {sku: Stock(sku=sku, on_hand=a, reserved=b, committed=c, on_hold=hold) for sku, a, b, c, hold, _ in rows}
    return Shelves(reservations, stock, {row[0]: row[-1] for row in rows})


def _skus(reservations: States[Reservation], events: Sequence[Event]) -> set[str]:
    """What may have to be reserved or moved; a forged basket of a million lines is refused, and loads nothing."""
    baskets = [event.lines for event in events if isinstance(event, CheckoutAccepted)]
    wanted = {line.sku for lines in baskets if len(lines) <= MAX_LINES for line in lines if is_identifier(line.sku)}
    return wanted.union(*(reservation.units for reservation in reservations.known()))


def _stock(db: Connection, skus: Iterable[str]) -> list[tuple[Any, ...]]:
    wanted = sorted(skus)
    return _LOAD_STOCK.rows(db, {"skus": array("text", wanted)}) if wanted else []
