"""Checks that no model reads newer or held-out events."""
