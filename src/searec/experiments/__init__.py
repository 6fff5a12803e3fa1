"""Experiments: training, comparing, tuning and whole tables of runs."""
