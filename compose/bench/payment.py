"""`python -m compose.bench.payment`: the payment service as it is, with the provider inside its process."""

from compose.bench.provider import InProcessProvider, ProviderSettings
from services.payment.service import NAME, PaymentSettings, make
from services.shell.metrics import Metrics
from services.shell.process import run
from services.shell.settings import read_settings


def main() -> None:
    """Read the environment and run until SIGTERM or SIGINT."""
    settings = read_settings(PaymentSettings)
    run(make(InProcessProvider(read_settings(ProviderSettings)), settings), settings, metrics=Metrics(NAME))


if __name__ == "__main__":
    main()
