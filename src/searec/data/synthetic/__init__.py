"""Simulated shops with known behaviour."""
