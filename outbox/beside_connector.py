"""What a process runs where a Debezium connector publishes its outbox: the sweeper, and a relay for dead letters."""

import threading
from collections.abc import Iterable, Mapping

from outbox.add import Record
from outbox.blocked import Blocked
from outbox.relay import Relay
from outbox.sweeper import Sweeper


class BesideConnector:
    """Both, in the place of one `Relay`. relay: one with `letters_only`."""

    def __init__(self, sweeper: Sweeper, relay: Relay) -> None:
        self._sweeper = sweeper
        self._relay = relay
        self._broken: BaseException | None = None
        self.settled = 0
        """As of a relay; of the rows that the connector publishes nothing is known here."""

    @property
    def connected(self) -> bool:
        """Whether both are."""
        return self._sweeper.connected and self._relay.connected

    @property
    def missing(self) -> str:
        """What keeps events or dead letters from being published; "" when nothing does."""
        return self._sweeper.missing or self._relay.missing

    @property
    def blocked(self) -> Mapping[str, Blocked]:
        """The keys of dead letters that can't be published. Of other rows the connector's log tells."""
        return self._relay.blocked

    def offer(self, records: Iterable[Record]) -> None:
        """See `Relay.offer`; what is the connector's is left to it."""
        self._relay.offer(records)

    def stop(self) -> None:
        """Ask `run` to return. From any thread."""
        self._sweeper.stop()
        self._relay.stop()

    def run(self) -> None:
        """Until stopped. Raises what either of them raises; the other one is stopped then."""
        sweeping = threading.Thread(target=self._sweep, name="sweeper", daemon=True)
        sweeping.start()
        try:
            self._relay.run()
        finally:
            self.stop()
            sweeping.join()
        if self._broken is not None:
            raise self._broken

    def _sweep(self) -> None:
        try:
            self._sweeper.run()
        # whatever it is: raised again by `run`, where whoever runs this hears it
        except BaseException as error:
            self._broken = error
            self._relay.stop()
