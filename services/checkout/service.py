"""The checkout service, put together: owns the checkout and its order."""

from datetime import datetime, timedelta
from typing import Final

from pydantic import Field, SecretStr

from services.checkout import store
from services.checkout.decisions import giving_up, handlers
from services.checkout.state import Checkout, Status
from services.shell.service import Service
from services.shell.settings import Settings

NAME: Final = "checkout"
_ENDS: Final = (Status.CAPTURED, Status.FAILED, Status.COMPENSATED)


class CheckoutSettings(Settings):
    """Settings of the checkout service."""

    database_url: SecretStr = Field(validation_alias="CHECKOUT_DATABASE_URL", description="Its database")
    metrics_port: int = Field(0, validation_alias="CHECKOUT_METRICS_PORT", ge=0, le=65535, description="Health port")
    checkout_deadline_s: float = Field(
        900, gt=0, description="Seconds until a checkout that is not authorized fails as EXPIRED"
    )


def make(settings: CheckoutSettings) -> Service:
    """The service as the shell runs it."""
    time_to_pay = timedelta(seconds=settings.checkout_deadline_s)
    return Service(
        NAME,
        handlers(time_to_pay),
        store.load,
        timers=(store.DEADLINE,),
        giving_up=giving_up(),
        let_go=_let_go,
        began=_began,
    )


def _began(known: Checkout) -> datetime | None:
    return known.created_at if known.status in _ENDS else None


def _let_go(known: Checkout) -> bool:
    return known.status is Status.COMPENSATED or (known.status is Status.FAILED and not known.accepted)
