"""Rights on Kafka, derived from the map: who may read and write which topic. Set on brokers, and held against them."""

from compose.acls.broker import AclsError, Difference, apply, differences
from compose.acls.rights import PRINCIPALS, Right, principals, rights

__all__ = ["PRINCIPALS", "AclsError", "Difference", "Right", "apply", "differences", "principals", "rights"]
