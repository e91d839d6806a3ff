"""`python -m services.payment`: one process of the payment service."""

from services.payment.service import PaymentSettings, make, make_provider
from services.shell.process import run
from services.shell.settings import read_settings


def main() -> None:
    """Read the environment and run until SIGTERM or SIGINT."""
    settings = read_settings(PaymentSettings)
    provider = make_provider(settings)
    run(make(provider, settings.payment_calls_limit), settings, release=provider.close)


if __name__ == "__main__":
    main()
