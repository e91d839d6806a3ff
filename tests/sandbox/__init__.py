"""The sandbox payment provider, driven as its users do: a real process, real HTTP, a ledger on disk."""
