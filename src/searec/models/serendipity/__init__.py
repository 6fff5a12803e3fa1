"""Serendipity: retrieval by inferred interests (arXiv 2508.04032)."""
