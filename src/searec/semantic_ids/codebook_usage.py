"""Usage of codes; a collapsed codebook no longer distinguishes users."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLLAPSED_PERPLEXITY = 0.1
"""A level has collapsed if its perplexity is below this share of its maximum, the lesser of codes and users."""
COLLAPSED_SHARE = 0.5
"""Or if more than this share of the users have one code."""


@dataclass(frozen=True)
class LevelUse:
    """One level's codes over N users."""

    level: int  # from 0
    size: int  # C
    users: int  # N
    used: int  # codes with a user
    perplexity: float  # exp of the entropy of the codes' shares, 1 to C
    largest: float  # share of users in the largest code

    @property
    def collapsed(self) -> bool:
        """Whether the level has collapsed, by the rule above; never of no user."""
        low = self.perplexity < COLLAPSED_PERPLEXITY * min(self.size, self.users)
        return self.users > 1 and (low or self.largest > COLLAPSED_SHARE)

    def as_json(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {**asdict(self), "collapsed": self.collapsed}


def code_use(codes: NDArray[np.integer], sizes: int | Sequence[int]) -> list[LevelUse]:
    """Return the use of each level.

    Args:
        codes: [N, L], each 0 to size - 1.
        sizes: C, of all levels or of each.

    >>> [use] = code_use(np.array([[0], [0], [1], [1]]), 8)
    >>> (use.used, use.perplexity, use.largest)
    (2, 2.0, 0.5)
    """
    levels = []
    for level, size in enumerate([sizes] * codes.shape[1] if isinstance(sizes, int) else sizes):
        counts = np.bincount(codes[:, level], minlength=size)
        share = counts[counts > 0] / max(1, len(codes))
        perplexity = float(np.round(np.exp(-(share * np.log(share)).sum()), 6)) if len(share) else 0.0
        levels.append(LevelUse(level, size, len(codes), len(share), perplexity, float(share.max(initial=0.0))))
    return levels


def decided(codes: NDArray[np.integer]) -> dict[str, list[float]]:
    """Return what each level of distinct identifiers decides, given the levels before.

    Args:
        codes: [N, L].

    Returns:
        entropy: bits of each level's code given those before; log2 N in all.
        forced: share of the identifiers whose code follows from those before, so that it says nothing.

    >>> decided(np.array([[0, 0], [0, 1], [1, 0], [2, 5]]))
    {'entropy': [1.5, 0.5], 'forced': [0.0, 0.5]}
    """
    known = np.zeros(len(codes), dtype=np.int64)
    entropy, forced, before = [], [], 0.0
    for level in range(codes.shape[1]):
        _, first, group, counts = np.unique(
            np.stack((known, codes[:, level])), axis=1, return_index=True, return_inverse=True, return_counts=True
        )
        branches = np.bincount(known[first], minlength=len(codes))
        share = counts / max(1, len(codes))
        bits = float(-(share * np.log2(share)).sum())
        entropy.append(round(bits - before, 4))
        forced.append(round(float((branches[known] == 1).mean()) if len(codes) else 0.0, 4))
        known, before = group.ravel(), bits
    return {"entropy": entropy, "forced": forced}


def shared(codes: NDArray[np.integer]) -> tuple[int, float]:
    """Count distinct code tuples in codes [N, L], and the share of users who have all L codes in common with one."""
    if len(codes) == 0:
        return 0, 0.0
    _, place, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return len(counts), float((counts[place.ravel()] > 1).mean())


def describe(uses: Sequence[LevelUse]) -> str:
    """Return the use of one side's levels as lines, with a sentence on each level that has collapsed."""
    lines = [f"  {'level':>5}{'used':>12}{'perplexity':>12}{'largest':>10}"]
    lines += [
        f"  {use.level + 1:>5}{f'{use.used} of {use.size}':>12}{use.perplexity:>12.1f}{use.largest:>10.1%}"
        for use in uses
    ]
    lines += [
        f"  Level {use.level + 1} has collapsed: {use.largest:.0%} of the users have one code and the perplexity is "
        f"{use.perplexity:.1f} of at most {min(use.size, use.users)}. "
        "Try more epochs, a smaller reseed_every, sinkhorn above 0 (last level), or fewer codes."
        for use in uses
        if use.collapsed
    ]
    return "\n".join(lines)
