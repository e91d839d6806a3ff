"""`checkout forget`: what databases keep of a customer becomes a pseudonym; what topics keep is counted and dated."""
