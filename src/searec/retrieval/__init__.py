"""Retrieval: an index of vectors, and pools of items merged from channels."""
