"""`python -m services.payment`: one process of the payment service."""

from services.payment.service import NAME, PaymentSettings, make, make_provider
from services.shell.metrics import Metrics
from services.shell.process import run
from services.shell.settings import read_settings


def main() -> None:
    """Read the environment and run until SIGTERM or SIGINT."""
    settings, metrics = read_settings(PaymentSettings), Metrics(NAME)
    provider = make_provider(settings, metrics.unmapped)
    run(make(provider, settings), settings, metrics=metrics)


if __name__ == "__main__":
    main()
