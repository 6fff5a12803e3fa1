"""Sampled evaluation user by user: one batch of one per request, the rank and the metrics in plain Python."""

import math
from collections.abc import Callable
from typing import Any

import torch

CUTOFFS = {"hit": (1, 5, 10), "ndcg": (5, 10)}


def evaluate(
    score: Callable[[Any], torch.Tensor], batch_of_one: Callable[[int], Any], requests: int, *, target_column: int = 0
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Mean and per-request HR, NDCG and MRR.

    Args:
        score: [1, N] scores of a batch of one, such as `model.score` (the caller sets evaluation mode).
        batch_of_one: the batch of request r, with its candidates [1, N].
        requests: how many there are.
        target_column: the column of the candidates that holds the target.

    A rank is 1 + better + ties / 2.
    """
    per_request: dict[str, list[float]] = {"mrr": []}
    for metric, cutoffs in CUTOFFS.items():
        for k in cutoffs:
            per_request[f"{metric}@{k}"] = []
    with torch.inference_mode():
        for request in range(requests):
            scores = score(batch_of_one(request))[0].tolist()
            rank = rank_of(scores, target_column)
            per_request["mrr"].append(1 / rank)
            for k in CUTOFFS["hit"]:
                per_request[f"hit@{k}"].append(1.0 if rank <= k else 0.0)
            for k in CUTOFFS["ndcg"]:
                per_request[f"ndcg@{k}"].append(1 / math.log2(rank + 1) if rank <= k else 0.0)
    return {name: sum(values) / max(1, len(values)) for name, values in per_request.items()}, per_request


def rank_of(scores: list[float], target_column: int) -> float:
    """Rank of the target among the candidates; half of those that tie with it stand before it.

    >>> rank_of([0.5, 0.9, 0.5, 0.1], 0)
    2.5
    """
    own = scores[target_column]
    better = sum(1 for other in scores if other > own)
    ties = sum(1 for other in scores if other == own) - 1
    return 1 + better + ties / 2
