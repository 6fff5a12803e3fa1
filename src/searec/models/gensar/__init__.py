"""GenSAR: one generative model for search and recommendation (arXiv 2504.05730)."""
