"""Latent cross reasoning: the feed's state weighs the search sessions (arXiv 2508.04152)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.nn.attention import FeedForward
from searec.nn.dropout import Dropout
from searec.nn.sessions import FEATURES, Sessions

_TRUST = 3.0
"""Logit of belief in a session before it learns."""


@dataclass(frozen=True)
class Step:
    """What a step left.

    Attributes:
        state: [P, D] of the feed.
        weights: [P, R] of the sessions, 0 or more, in no sum: nothing has to be read.
        belief: [P, R] logits that a session is the user's own.
    """

    state: Tensor
    weights: Tensor
    belief: Tensor


class SessionReasoning(nn.Module):
    """K steps with the same weights, from the feed's state at any places.

    A session is a vector of what was searched for and of which feed clicks answer it. In a step each
    session gets a weight from the state, and what it reads is added to the state. Weights are independent, not a
    softmax: a place with foreign sessions alone reads nothing (the null state of arXiv 1908.11322).

    Args:
        width: D.
        inner: width of hidden layers.
        dropout: of what is added to the state.
        steps: K at most; each adds an embedding of its number.
        count: sessions of a place, R.
    """

    def __init__(self, width: int, inner: int, dropout: float, steps: int, count: int) -> None:
        super().__init__()
        self.age = nn.Parameter(torch.zeros(count))
        if not steps:
            return
        self.features = nn.Linear(FEATURES, width)
        self.norm_session = nn.LayerNorm(width)
        self.relevance = _of_features(inner, 0.0)
        self.belief = _of_features(inner, _TRUST)
        self.norm = nn.LayerNorm(width)
        self.step = nn.Embedding(steps, width)
        self.query = nn.Linear(width, 2 * width)  # of relevance, and of belief
        self.out = nn.Linear(width, width)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.step.weight, std=0.02)
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)

    def by_age(self, sessions: Sessions) -> Tensor:
        """Return the weights [P, R] of sessions without reasoning."""
        return F.softplus(self.age[: sessions.present.shape[1]]) * sessions.present

    def keys(self, sessions: Sessions) -> Tensor:
        """Return the keys of attention to the sessions, [P, R, D]."""
        vectors = sessions.content * sessions.content.shape[-1] ** 0.5 + self.features(sessions.features)
        keys: Tensor = self.norm_session(vectors)
        return keys

    def forward(self, state: Tensor, sessions: Sessions, keys: Tensor, number: int) -> Step:
        """Take a step.

        Args:
            state: [P, D] of the feed.
            sessions: of the places.
            keys: [P, R, D] what `keys` returned of them.
            number: of the step, from 0.
        """
        width = state.shape[-1]
        query, gate = (self.query(self.norm(state) + self.step.weight[number])).split(width, dim=-1)
        answers = torch.stack((query, gate), dim=1) @ keys.mT * width**-0.5  # [P, 2, R]
        belief = answers[:, 1] + self.belief(sessions.features).squeeze(-1)
        relevance = answers[:, 0] + self.relevance(sessions.features).squeeze(-1)
        logits = self.age[: relevance.shape[1]] + relevance + F.logsigmoid(belief)
        read = (torch.sigmoid(logits) * sessions.present)[:, None] @ keys
        state = self.dropout.added(self.out(read.squeeze(1)), state)
        state = self.dropout.added(self.feed_forward(self.norm_feed_forward(state)), state)
        return Step(state, F.softplus(logits) * sessions.present, belief)


def _of_features(inner: int, first: float) -> nn.Sequential:
    """A number of each session's features, the same for all before it learns: steps begin with the weights by age."""
    last = nn.Linear(inner, 1)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, first)
    return nn.Sequential(nn.Linear(FEATURES, inner), nn.GELU(), last)


def belief_loss(steps: Sequence[Step], sessions: Sessions, last_own: int) -> Tensor:
    """Return the mean cross-entropy of "the session is the user's own", over places with a foreign session.

    Args:
        steps: taken.
        sessions: that they read.
        last_own: the largest number of an own session.
    """
    is_foreign = sessions.number > last_own
    counts = sessions.present & is_foreign.any(1, keepdim=True)
    label = (~is_foreign).float()[counts]
    if not len(label):
        return steps[-1].belief.sum() * 0
    return torch.stack([F.binary_cross_entropy_with_logits(step.belief[counts], label) for step in steps]).mean()


def target_contrast(base: Tensor, crossed: Tensor, target: Tensor, hard: int) -> Tensor:
    """Return InfoNCE of the target among the hard items, by scores with reasoning: L_TCL as a contrast.

    Args:
        base: [P, M] scores without reasoning; items that score high are hard.
        crossed: [P, M] scores with reasoning.
        target: [P] columns.
        hard: items besides the target.
    """
    listed = base.detach().scatter(1, target[:, None], torch.inf).topk(min(hard + 1, base.shape[1]), dim=1).indices
    return F.cross_entropy(crossed.gather(1, listed), torch.zeros_like(target))
