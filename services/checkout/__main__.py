"""`python -m services.checkout`: one process of the checkout service."""

from services.checkout.service import CheckoutSettings, make
from services.shell.process import run
from services.shell.settings import read_settings


def main() -> None:
    """Read the environment and run until SIGTERM or SIGINT."""
    settings = read_settings(CheckoutSettings)
    run(make(settings), settings)


if __name__ == "__main__":
    main()
