"""Audits: whether what a model rests on is there in the data at hand."""
