"""The sandbox payment provider: an HTTP server with a durable ledger, and faults on demand.

It stands where a card processor would stand, follows Stripe's semantics of idempotency, declines and
authorizations, and shares no code with the services that call it: what it says about money is an independent
account of it. Start it with `python -m compose.sandbox --port 8090 --ledger provider.db`.
"""
