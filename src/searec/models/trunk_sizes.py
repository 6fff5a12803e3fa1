"""Sizes and training budgets of models on the event trunk, from how much data there is."""

from typing import Any

from searec.data.counts import Counts


def trunk_sizes(counts: Counts) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return settings of the model and of its training.

    Args:
        counts: of the dataset.
    """
    return {}, {
        "lr": 1e-3,
        "batch": 64,
        "epoch_steps": 50,
        "min_steps": 250,
        "epochs": 60,
        "patience": 5,
        "judge": "full-ndcg@10",
        "validation_requests": 2000,
    }
