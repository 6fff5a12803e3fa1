"""Routes by topic: each module has a `routes(service)`."""
