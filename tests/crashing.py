"""`python -m tests.crashing SERVICE POINT N`: a service that kills itself when it passes POINT for the n-th time.

The points are those where the shell and the relay call their probe.
"""

import os
import signal
import sys

from services.checkout.service import CheckoutSettings
from services.checkout.service import make as make_checkout
from services.payment.service import PaymentSettings, make_provider
from services.payment.service import make as make_payment
from services.shell.process import run
from services.shell.settings import read_settings
from services.warehouse.service import WarehouseSettings
from services.warehouse.service import make as make_warehouse


class Bomb:
    """Goes off at the n-th passing of one point."""

    def __init__(self, point: str, times: int) -> None:
        self._point, self._left = point, times

    def __call__(self, point: str) -> None:
        """The shell passes a point."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main(service: str, point: str, times: str) -> None:
    """Run `service` until it goes off."""
    bomb = Bomb(point, int(times))
    if service == "checkout":
        checkout = read_settings(CheckoutSettings)
        run(make_checkout(checkout), checkout, probe=bomb)
    elif service == "warehouse":
        warehouse = read_settings(WarehouseSettings)
        run(make_warehouse(warehouse), warehouse, probe=bomb)
    else:
        payment = read_settings(PaymentSettings)
        provider = make_provider(payment)
        run(make_payment(provider, payment), payment, probe=bomb)


if __name__ == "__main__":
    main(*sys.argv[1:])
