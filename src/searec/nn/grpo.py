"""Group relative policy optimisation (arXiv 2402.03300) of rankings: rewards, advantages, the clipped loss, the penalty.

Axes: B requests, T trajectories of each, N candidates with the target first.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Reward = Literal["hit@1", "hit@5", "ndcg@5", "mrr"]

_OF_RANK: dict[Reward, Callable[[Tensor], Tensor]] = {
    "hit@1": lambda rank: (rank <= 1).float(),
    "hit@5": lambda rank: (rank <= 5).float(),
    "ndcg@5": lambda rank: torch.where(rank <= 5, 1 / torch.log2(1 + rank), 0.0),
    "mrr": lambda rank: 1 / rank,
}
DEPTH: dict[Reward, int | None] = {"hit@1": 1, "hit@5": 5, "ndcg@5": 5, "mrr": None}
"""How many places of a list each reward looks at; None for all of them."""
_SMALL = 1e-6


def rewards(scores: Tensor, name: Reward) -> Tensor:
    """[..., ] the metric of the target, which is the first of the candidates [..., N].

    Every tie counts against the target, and so does a second copy of it: no reward is earned by giving all the same score.

    >>> rewards(torch.tensor([[2.0, 1.0], [1.0, 1.0], [0.0, 1.0]]), "mrr").tolist()
    [1.0, 0.5, 0.5]
    """
    rank = (scores >= scores[..., :1]).sum(-1).float()
    return _OF_RANK[name](rank)


def advantages(reward: Tensor) -> Tensor:
    """[B, T] (reward - mean of its group) / (standard deviation of the group + a little); 0 where a group's rewards are all equal.

    >>> advantages(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).round(decimals=3).tolist()
    [[1.0, -1.0], [0.0, 0.0]]
    """
    apart = reward - reward.mean(-1, keepdim=True)
    value = apart / (reward.std(-1, correction=0, keepdim=True) + _SMALL)
    return torch.where((reward == reward[..., :1]).all(-1, keepdim=True), 0.0, value)


def log_probability(scores: Tensor, order: Tensor, depth: int | None) -> Tensor:
    """[...] log-probability of the first `depth` places of a list, each drawn by softmax from what is left (Plackett-Luce).

    Args:
        scores: [..., N].
        order: [..., N] the list, best first.
        depth: None for the whole list.
    """
    listed = scores.gather(-1, order)
    left = listed.flip(-1).logcumsumexp(-1).flip(-1)
    return (listed - left)[..., :depth].sum(-1)


def clipped_objective(log_probability: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Scalar: the mean of -min(ratio x A, ratio within 1 - clip .. 1 + clip x A), ratio = exp(log_chance - old).

    Args:
        log_chance, old: [B, T] log-probability of what each trajectory did, by the policy now and by the one that did it.
        advantage: [B, T].
    """
    ratio = (log_probability - old).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Scalar: the mean of KL(policy || reference) of softmax over the candidates [..., N], at least 0."""
    own, other = logits.log_softmax(-1), reference.log_softmax(-1)
    return (own.exp() * (own - other)).sum(-1).mean()
