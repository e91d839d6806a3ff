"""`python -m services.observer`: one worker of the observer."""

from services.observer.process import run
from services.observer.settings import ObserverSettings
from services.shell.settings import read_settings


def main() -> None:
    """Read the environment and run until SIGTERM or SIGINT."""
    run(read_settings(ObserverSettings))


if __name__ == "__main__":
    main()
