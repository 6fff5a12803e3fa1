"""Order by the chance of a click with a premium on novelty, and the premium that costs no more than it may."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints

BLOCK = 10
"""Positions that are filled at once."""
_STEPS = 60


def chances(scores: NDArray[np.floating], sharpness: float = 1.0) -> NDArray[np.float64]:
    """Return the softmax [n] of the scores of one request's candidates: the chance that each one is clicked.

    Args:
        scores: [n], -inf for what cannot be clicked.
        sharpness: that they are multiplied by.
    """
    if not len(scores) or not np.isfinite(scores.max()):
        return np.full(len(scores), 1 / max(1, len(scores)))
    share = np.exp(sharpness * (scores.astype(np.float64) - scores.max()))
    return np.asarray(share / share.sum())


def novelty_order(chance: NDArray[np.floating], novel: NDArray[np.bool_], premium: float) -> Ints:
    """Return an order of n candidates: ten at a time by chance + premium x novel, and within the ten by chance.

    Of all sets of ten with as many novel items this one is clicked most. A novel item is so never above one that is
    more likely to be clicked, but may take the place of one.

    Args:
        chance: [n] of a click.
        novel: [n] whether a candidate is novel to the user.
        premium: chance of a click that novelty is worth; 0 orders by chance alone.

    >>> novelty_order(np.array([0.2] * 9 + [0.02, 0.01]), np.array([False] * 10 + [True]), 0.015).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 9]
    """
    order = np.argsort(-(chance + premium * novel), kind="stable")
    block = np.arange(len(order)) // BLOCK
    return np.asarray(order[np.lexsort((-chance[order], block))])


def premium_for(exposure: Callable[[float], float], target: float, highest: float = 1.0) -> float:
    """Return the least premium by which an exposure that grows with it reaches a target, by bisection.

    Args:
        exposure: the share of novel items by premium.
        target: to be reached.
        highest: premium that is returned if none reaches it.
    """
    low, high = 0.0, highest
    if exposure(0.0) >= target:
        return 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if exposure(middle) >= target else (middle, high)
        if high - low < 1e-7:
            break
    return high
