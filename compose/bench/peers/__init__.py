"""The peers of `make bench`: the same checkout on the same servers, written as each peer's own documentation tells."""
