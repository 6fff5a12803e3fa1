"""Phase 2 of lcr-ser: its ranking as a policy, improved by group relative policy optimisation (arXiv 2508.04152, Section 3.4)."""

import copy

import torch
from torch import Tensor, nn

from searec.data.batch import Batch
from searec.models.lcr_ser import LCRSER
from searec.nn.grpo import DEPTH, advantages, clipped_objective, divergence, log_probability, rewards
from searec.nn.learner import Learner
from searec.nn.losses import Losses


class RankingPolicy(Learner):
    """A policy, the one that acts, and the one it started from.

    A trajectory reasons from a noisy first state; its action is its list of the candidates, as deep as the reward looks; the list's chance
    is that of drawing it by softmax, place by place; its reward is the metric of the target in it. What is dropped out belongs to the
    trajectory as its noise does: all three policies drop the same. The policy that acts is renewed every `refresh` batches, so that a
    ratio can leave 1. Embeddings stay as they are: a short training with Adam moves rare ones by noise.
    """

    since: Tensor  # [] batches since the policy that acts was renewed

    name = "grpo"

    def __init__(self, model: LCRSER) -> None:
        super().__init__()
        self.policy = model
        self.acting = copy.deepcopy(model).requires_grad_(False)
        self.reference = copy.deepcopy(model).requires_grad_(False)
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.requires_grad_(False)
        self.register_buffer("since", torch.zeros((), dtype=torch.int64))

    def loss(self, batch: Batch) -> Losses:
        """The clipped objective and the divergence from the first policy; candidates [B, N] hold the target first."""
        config = self.policy.config
        if self.since >= config.refresh:
            self.acting.load_state_dict(self.policy.state_dict())
            self.since.zero_()
        self.since += 1
        noise = draw_noise(self.policy, batch)
        seed = int(torch.randint(2**62, ()).item())

        def played(by: LCRSER) -> Tensor:
            torch.manual_seed(seed)
            return by.score_trajectories(batch, noise)

        with torch.no_grad():
            acted, reference = played(self.acting), played(self.reference)
        order = acted.argsort(dim=-1, descending=True)
        advantage = advantages(rewards(acted, config.reward))
        scores = played(self.policy)
        chance, old = (log_probability(found, order, DEPTH[config.reward]) for found in (scores, acted))
        parts = {"policy": clipped_objective(chance, old, advantage, config.clip_ratio)}
        weights = {"policy": 1.0}
        if config.kl_weight:
            parts["kl"] = divergence(scores, reference)
            weights["kl"] = config.kl_weight
        return Losses(parts, weights)


def draw_noise(model: LCRSER, batch: Batch) -> list[Tensor]:
    """[B, T, L, D] standard normal for each side, from PyTorch's generator."""
    config = model.config
    sides = (batch.feed_item, batch.search_query)[: len(model.encode)]
    return [
        torch.randn(*side.shape[:1], config.trajectories, side.shape[1], config.width, device=side.device)
        for side in sides
    ]
