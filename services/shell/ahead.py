"""Takes what is said behind other producers' open transactions into the loop: ahead of what the consumer delivers."""

from collections.abc import Callable, Mapping

from schemas.kafka.record import KafkaRecord
from services.shell.delivery import Delivery
from services.shell.open_transactions import OpenTransactions

Partition = tuple[str, int]


class Ahead:
    """transactions: None where nothing is read ahead. read: as a consumed record.

    stands: see `OpenTransactions.beyond`.
    """

    def __init__(
        self,
        transactions: OpenTransactions | None,
        read: Callable[[KafkaRecord], Delivery],
        stands: Mapping[Partition, int],
    ) -> None:
        self._transactions, self._read, self._stands = transactions, read, stands
        self._unread: list[KafkaRecord] = []

    def deliveries(self, limit: int) -> list[Delivery]:
        """Up to `limit` of them. Raises RegistryUnavailableError; they are read again then."""
        if self._transactions is None:
            return []
        if not self._unread:
            self._unread = self._transactions.beyond(self._stands, limit)
        found = [self._read(record) for record in self._unread]
        for delivery in found:
            delivery.is_ahead = True
        self._unread = []
        return found

    def forget(self, places: set[Partition]) -> None:
        """These partitions are no longer this process's."""
        if self._transactions is not None:
            self._unread = [record for record in self._unread if record.place[:2] not in places]
            self._transactions.forget(places)
