"""Ranks and accuracy metrics: pure functions over whole arrays, one value per request.

R requests, N other candidates. Every request has exactly one relevant item, its target. Means over
requests are taken last, so that per-user values stay for paired tests.

Ties: rank = 1 + better + ties / 2, the mean place over all orders of the tied items. A model that gives
every candidate the same score is in the middle, not first, so a tie never helps. trec_eval (which
ir-measures calls) breaks ties by item name instead; without ties the two agree.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from searec.errors import RunError, SettingsError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HIT_DEPTHS = (1, 5, 10)
NDCG_DEPTHS = (5, 10)
ACCURACY = (*(f"hr@{k}" for k in HIT_DEPTHS), *(f"ndcg@{k}" for k in NDCG_DEPTHS), "mrr")


def ranks(target_score: ArrayLike, other_scores: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """[R] place of the target among the others: 1 + better + ties / 2, from 1 to N + 1.

    Args:
        target_score: [R] score of each request's target.
        other_scores: [R, N] scores of the other candidates; the target is not among them.
        mask: [R, N] True where a candidate counts; all of them if None.

    Raises:
        RunError: a score that counts is NaN.

    >>> ranks([0.5, 0.5, 0.5], [[0.9, 0.1], [0.5, 0.1], [0.9, 0.5]]).tolist()
    [2.0, 1.5, 2.5]
    """
    target, others = np.asarray(target_score), np.asarray(other_scores)
    counted = None if mask is None else np.asarray(mask, dtype=bool)
    if others.dtype.kind != "f":
        others = others.astype(np.float64)
    # A maximum carries NaN through, so this looks at every score without an [R, N] temporary.
    top = others.max(axis=1, initial=-np.inf, where=True if counted is None else counted)
    broken = np.isnan(target) | np.isnan(top)
    if broken.any():
        raise RunError(
            "the model gave scores that are not numbers",
            where=f"request {int(broken.argmax())}",
            got=f"NaN in {int(broken.sum())} of {len(broken)} requests",
            remedy="train the model again, with a lower learning rate",
        )
    better, equal = others > target[:, None], others == target[:, None]
    if counted is not None:
        better, equal = better & counted, equal & counted
    place: Floats = 1.0 + np.count_nonzero(better, axis=1) + np.count_nonzero(equal, axis=1) / 2
    return place


def hit_rate(rank: ArrayLike, k: int) -> Floats:
    """[R] HR@k = 1 if rank <= k else 0, in {0, 1}; its mean is the share of requests whose target is in the top k.

    >>> hit_rate([1.0, 1.5, 5.0, 5.5], k=5).tolist()
    [1.0, 1.0, 1.0, 0.0]
    """
    return (np.asarray(rank) <= _depth(k)).astype(np.float64)


def ndcg(rank: ArrayLike, k: int) -> Floats:
    """[R] NDCG@k = 1 / log2(1 + rank) if rank <= k else 0, in [0, 1]; with one relevant item the ideal DCG is 1.

    >>> ndcg([1.0, 3.0, 7.0], k=5).tolist()
    [1.0, 0.5, 0.0]
    """
    place = np.asarray(rank, dtype=np.float64)
    return np.where(place <= _depth(k), 1.0 / np.log2(1.0 + place), 0.0)


def reciprocal_rank(rank: ArrayLike) -> Floats:
    """[R] 1 / rank, in (0, 1]; its mean is MRR, over the whole list.

    >>> reciprocal_rank([1.0, 2.0, 2.5]).tolist()
    [1.0, 0.5, 0.4]
    """
    return 1.0 / np.asarray(rank, dtype=np.float64)


def per_user(rank: ArrayLike) -> dict[str, Floats]:
    """Metric name -> [R] values: hr@1, hr@5, hr@10, ndcg@5, ndcg@10, mrr.

    >>> {name: value.tolist() for name, value in per_user([3.0]).items()}
    {'hr@1': [0.0], 'hr@5': [1.0], 'hr@10': [1.0], 'ndcg@5': [0.5], 'ndcg@10': [0.5], 'mrr': [0.3333333333333333]}
    """
    values = {f"hr@{k}": hit_rate(rank, k) for k in HIT_DEPTHS}
    values |= {f"ndcg@{k}": ndcg(rank, k) for k in NDCG_DEPTHS}
    return values | {"mrr": reciprocal_rank(rank)}


def _depth(k: int) -> int:
    if k < 1:
        raise SettingsError("a metric's depth is a positive number", got=k, expected="k >= 1")
    return k
