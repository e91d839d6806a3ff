"""`python -m tests.dying`: the checkout service, whose decoder ends the process when it meets a certain message.

Stands for what no `except` can catch: a crash in a library, the out-of-memory killer, a hang that a probe ends.
"""

import os
import signal

from schemas.codec import Codec
from schemas.envelope import Envelope
from services.checkout.service import CheckoutSettings, make
from services.shell.process import run
from services.shell.settings import read_settings

DEADLY = b"this ends whoever reads it"


class DyingCodec(Codec):
    """Ends the process instead of raising."""

    def decode(self, event_type: str, value: bytes | None) -> Envelope:
        """As the real one, for every other message."""
        if value == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(event_type, value)


def main() -> None:
    """Run until SIGTERM, SIGINT or the message."""
    settings = read_settings(CheckoutSettings)
    run(make(settings), settings, make_codec=DyingCodec)


if __name__ == "__main__":
    main()
