"""Group relative policy optimisation of rankings (arXiv 2402.03300): rewards, advantages, loss and penalty.

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
    """Return the metric [...] of the target, which is the first of the candidates [..., N].

    Every tie counts against the target, and so does a second copy of it: equal scores for all earn no reward.

    Args:
        scores: [..., N].
        name: of the metric.

    >>> rewards(torch.tensor([[2.0, 1.0], [1.0, 1.0], [0.0, 1.0]]), "mrr").tolist()
    [1.0, 0.5, 0.5]
    """
    rank = (scores >= scores[..., :1]).sum(-1).float()
    return _OF_RANK[name](rank)


def list_rewards(relevant: Tensor, name: Reward) -> Tensor:
    """Return the metric [...] of lists in which several items may be relevant.

    Args:
        relevant: [..., N] whether the item at each place is relevant, best first; a list without one earns 0.
        name: of the metric: of the first relevant item, except for NDCG, which counts them all.

    >>> list_rewards(torch.tensor([[False, True, True], [True, False, True]]), "mrr").tolist()
    [0.5, 1.0]
    """
    if name != "ndcg@5":
        return _OF_RANK[name](1.0 + relevant.int().argmax(-1)) * relevant.any(-1)
    places = torch.arange(relevant.shape[-1], device=relevant.device)
    gain = torch.where(places < 5, 1 / torch.log2(places + 2.0), 0.0)
    ideal = gain.cumsum(0)[relevant.sum(-1) - 1]
    return (relevant * gain).sum(-1) / ideal


def sample_lists(scores: Tensor) -> Tensor:
    """Return lists [..., N] of candidates drawn place by place by softmax (Plackett-Luce), by Gumbel noise.

    Args:
        scores: [..., N] log-weights.
    """
    uniform = torch.rand_like(scores).clamp(1e-20, 1 - 1e-7)
    return (scores - torch.log(-torch.log(uniform))).argsort(dim=-1, descending=True)


def advantages(reward: Tensor, *, scaled: bool = True) -> Tensor:
    """Return (reward - mean of its group) / (standard deviation + 1e-6), [B, T]; 0 in a group of equal rewards.

    Args:
        reward: [B, T].
        scaled: divide by the deviation, which gives groups that hardly differ the weight of others.

    >>> advantages(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).round(decimals=3).tolist()
    [[1.0, -1.0], [0.0, 0.0]]
    """
    apart = reward - reward.mean(-1, keepdim=True)
    value = apart / (reward.std(-1, correction=0, keepdim=True) + _SMALL) if scaled else apart
    return torch.where((reward == reward[..., :1]).all(-1, keepdim=True), 0.0, value)


def log_probability(scores: Tensor, order: Tensor, depth: int | None) -> Tensor:
    """Return the Plackett-Luce log-probability [...] of the first `depth` places of a list.

    Args:
        scores: [..., N].
        order: [..., N] the list, best first.
        depth: None for the whole list.
    """
    listed = scores.gather(-1, order)
    left = listed.flip(-1).logcumsumexp(-1).flip(-1)
    return (listed - left)[..., :depth].sum(-1)


def clipped_objective(log_probability: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Return the mean of -min(ratio x A, clipped ratio x A), ratio = exp(log_probability - old).

    Args:
        log_probability: [B, T] of each trajectory by the policy now.
        old: [B, T] by the policy that drew it.
        advantage: [B, T] A.
        clip: the ratio is clipped to 1 - clip .. 1 + clip.
    """
    ratio = (log_probability - old).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Return the mean of KL(policy || reference) of softmax over the candidates, at least 0.

    Args:
        logits: [..., N] of the policy.
        reference: [..., N].
    """
    log_p, log_q = logits.log_softmax(-1), reference.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()
