"""`python -m services.warehouse`: one process of the warehouse service."""

from services.shell.process import run
from services.shell.settings import read_settings
from services.warehouse.service import WarehouseSettings, make


def main() -> None:
    """Read the environment and run until SIGTERM or SIGINT."""
    settings = read_settings(WarehouseSettings)
    run(make(settings), settings)


if __name__ == "__main__":
    main()
