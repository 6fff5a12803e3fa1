"""Search: the lexical index that changes with the catalogue, and what a query means."""
