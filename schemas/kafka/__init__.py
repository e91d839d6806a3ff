"""What every reader and writer of a topic shares."""
