"""One model of the library `transformers` is built at a time."""

import threading

BUILDING = threading.RLock()
"""Held while such a model is built or loaded, for the library then changes its own and PyTorch's state for all threads:
a model that another thread builds meanwhile may come out with weights that are not tied."""
