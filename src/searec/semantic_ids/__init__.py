"""Vectors to discrete codes: residual quantisation, its training objective, and how well codes are used."""
