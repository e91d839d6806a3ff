"""`checkout audit`: holds the three databases, the topics and the provider's own ledger against the invariants."""
