"""Dead letters: what a service could not handle, kept byte for byte with the reason."""
