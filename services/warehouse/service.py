"""The warehouse service, put together: owns stock and reservations."""

from datetime import timedelta
from typing import Final

from pydantic import Field, SecretStr

from schemas.events import CheckoutFailed
from services.shell.service import Service
from services.shell.settings import Settings
from services.warehouse import store
from services.warehouse.decisions import Reservation, Status, giving_up, handlers

NAME: Final = "warehouse"


class WarehouseSettings(Settings):
    """Settings of the warehouse service."""

    database_url: SecretStr = Field(validation_alias="WAREHOUSE_DATABASE_URL", description="Its database")
    metrics_port: int = Field(0, validation_alias="WAREHOUSE_METRICS_PORT", ge=0, le=65535, description="Health port")
    reservation_ttl_s: float = Field(
        1800, gt=0, description="Seconds until a reservation that is not confirmed goes back on the shelf"
    )


def make(settings: WarehouseSettings) -> Service:
    """The service as the shell runs it."""
    hold_for = timedelta(seconds=settings.reservation_ttl_s)
    return Service(
        NAME,
        handlers(hold_for),
        store.load,
        timers=(store.EXPIRY,),
        giving_up=giving_up(),
        let_go=_let_go,
        duties={CheckoutFailed.TYPE: "release"},
    )


def _let_go(known: Reservation) -> bool:
    return known.status in (Status.RELEASED, Status.CLOSED)
