"""A model's ranking as a policy, improved by group relative policy optimisation (arXiv 2508.04152, Section 3.4)."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from searec.data.batch import Batch
from searec.models.base import Model
from searec.nn.grpo import DEPTH, advantages, clipped_objective, divergence, log_probability, rewards
from searec.nn.learner import Learner
from searec.nn.losses import Losses
from searec.training import checkpoint
from searec.training.examples import TrainingExamples
from searec.training.phases import PhaseContext, PhaseReport, TrainingPhase

TRAIN_REWARD = "train_reward"
_REWARDED = 2_000
"""Training requests whose mean reward is reported."""


class RankingPolicy(Learner):
    """A policy, the acting policy, and the reference policy it started from.

    A trajectory reasons from a noisy first state; its action is its list of the candidates, as deep as the reward
    looks; the list's probability is that of drawing it by softmax, place by place; its reward is the metric of the
    target in it. Dropout belongs to the trajectory as its noise does: all three policies drop the same. The acting
    policy is replaced by the policy every `refresh` batches, so that a ratio can leave 1. Embeddings are frozen: a
    short training with Adam moves rare ones by noise.

    Args:
        model: `capabilities.ScoresTrajectories`.
    """

    since: Tensor  # [] batches since the acting policy was replaced

    name = "ranking_policy"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.policy = model
        self.acting = copy.deepcopy(model).requires_grad_(False)
        self.reference = copy.deepcopy(model).requires_grad_(False)
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.requires_grad_(False)
        self.register_buffer("since", torch.zeros((), dtype=torch.int64))

    def loss(self, batch: Batch) -> Losses:
        """Return the clipped objective and the divergence from the reference; candidates hold the target first."""
        config = self.policy.config
        if self.since >= config.refresh:
            self.acting.load_state_dict(self.policy.state_dict())
            self.since.zero_()
        self.since += 1
        noise = self.policy.draw_noise(batch)
        seed = int(torch.randint(2**62, ()).item())

        def trajectories(policy: Any) -> Tensor:
            torch.manual_seed(seed)
            scores: Tensor = policy.score_trajectories(batch, noise)
            return scores

        with torch.no_grad():
            acted, reference = trajectories(self.acting), trajectories(self.reference)
        order = acted.argsort(dim=-1, descending=True)
        advantage = advantages(rewards(acted, config.reward))
        scores = trajectories(self.policy)
        chance, old = (log_probability(values, order, DEPTH[config.reward]) for values in (scores, acted))
        parts = {"policy": clipped_objective(chance, old, advantage, config.clip_ratio)}
        weights = {"policy": 1.0}
        if config.kl_weight:
            parts["kl"] = divergence(scores, reference)
            weights["kl"] = config.kl_weight
        return Losses(parts, weights)


class RankingPolicyPhase(TrainingPhase):
    """Policy optimisation of a `capabilities.ScoresTrajectories`; undone if no validation was better than before."""

    name = "ranking_policy"

    @override
    def is_configured(self, model: Model) -> bool:
        return bool(model.config.rl_steps)

    @override
    def run(self, model: Model, context: PhaseContext, before: Mapping[str, float]) -> PhaseReport:
        config, state = model.config, checkpoint.snapshot(model.state())
        watched = TrainingExamples(
            context.split, model, batch=_REWARDED, seed=context.config.seed, negatives=config.rl_negatives
        ).batch(0, 0)

        def validate(learner: Any) -> dict[str, float]:
            scores = model.score(watched.to(model.device))
            return {**context.validate(model), TRAIN_REWARD: float(rewards(scores, config.reward).mean())}

        first = 0.0
        if context.budgets is None:
            with torch.no_grad():
                first = validate(model.eval())[TRAIN_REWARD]
        learner = RankingPolicy(model)
        try:
            best = context.train(
                self.name,
                learner,
                model,
                validate,
                config.rl_steps,
                batch=config.rl_batch,
                lr=config.rl_lr,
                negatives=config.rl_negatives,
            )
        finally:
            model.requires_grad_(True)
        is_better = context.budgets is not None or best[context.judge] > before[context.judge]
        if not is_better:
            model.load_state(state)
        figures = {} if context.budgets is not None else {**best, f"{TRAIN_REWARD}_before": first}
        return PhaseReport(self.name, figures, is_kept=is_better)
