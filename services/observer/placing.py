"""Which partition a checkout is at home in.

All our services publish with murmur2, as Java's clients do and Faust does, so that one partition number holds all
events of a checkout, in every topic. A shop may publish with another client: librdkafka's default is CRC-32. Its events
lie elsewhere, and are passed on to where the checkout is at home (see `observer`).
"""

from collections.abc import Sequence
from typing import Final

from aiokafka.partitioner import murmur2

_POSITIVE: Final = 0x7FFFFFFF


def home_of(key: bytes, partitions: int) -> int:
    """The partition of a key. Source: Kafka, BuiltInPartitioner.partitionForKey."""
    return (int(murmur2(key)) & _POSITIVE) % partitions


def partitioner(key: bytes | None, everything: Sequence[int], _available: Sequence[int]) -> int:
    """The same for Faust's producer and router, which give the topic's partitions."""
    return sorted(everything)[home_of(key or b"", len(everything))]
