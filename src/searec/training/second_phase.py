"""The second phase: cross-entropy on hard lists, or policy optimisation on the same lists (arXiv 2508.04152).

Both learn from the same requests and from lists mined by the same rule, so that each is the other's control.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from searec.models.base import Model
from searec.models.capabilities import PassesMessages, RanksAsPolicy, RemembersNeighbours, supports
from searec.nn.grpo import (
    DEPTH,
    advantages,
    clipped_objective,
    divergence,
    list_rewards,
    log_probability,
    sample_lists,
)
from searec.nn.learner import Learner
from searec.nn.losses import Losses
from searec.training import checkpoint
from searec.training.hard_lists import HardListExamples, HardLists, Targets
from searec.training.phases import PhaseContext, PhaseReport, TrainingPhase


class ListCrossEntropy(Learner):
    """A model that learns on hard lists, and the copy of it that mines them.

    The copy is renewed every `refresh` batches. Embeddings and what describes items stay: a short training with Adam
    moves them by noise, for its steps are as long for rare and weak gradients as for others.

    Args:
        model: `capabilities.RanksAsPolicy` with the settings of `models.second_phase_config`.
    """

    since: Tensor  # [] batches since the acting policy was replaced

    name = "second_phase"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.policy = model
        self.acting = copy.deepcopy(model).requires_grad_(False)
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding) or f"{name}." in model.description_weights:
                module.requires_grad_(False)
        self.register_buffer("since", torch.zeros((), dtype=torch.int64))

    def lists(self, targets: Targets) -> HardLists:
        """Return the lists of a batch, of the acting policy's best items.

        Args:
            targets: of `HardListExamples`.
        """
        config = self.policy.config
        if self.since >= config.refresh:
            self.acting.load_state_dict(self.policy.state_dict())
            self.since.zero_()
        self.since += 1
        return HardLists.mined(self.acting, targets, config.list_size, config.list_pool)

    def loss(self, batch: Targets) -> Losses:
        """Return the cross-entropy of the relevant items in hard lists."""
        lists = self.lists(batch)
        loss = lists.cross_entropy(lists.masked(self.policy.score(lists.requests)))
        return Losses({"cross_entropy": loss}, {"cross_entropy": 1.0}, {"listed": lists.listed})


class ListPolicy(ListCrossEntropy):
    """Group relative policy optimisation of the lists that a model draws.

    A trajectory has dropout and state noise of its own; its action is a list of the candidates, drawn place by place
    by softmax, as deep as the reward looks. The advantage is the reward less the mean of the request's trajectories.
    The log-likelihood of the relevant items, as a reward, does not depend on the list; its gradient is taken directly.
    The acting policy is behind by up to `refresh` batches, so that ratios leave 1.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.reference = copy.deepcopy(self.acting)

    @override
    def loss(self, batch: Targets) -> Losses:
        config, lists = self.policy.config, self.lists(batch)
        count = len(lists.requests)
        requests = lists.requests.at(torch.arange(count, device=self.device).repeat_interleave(config.trajectories))
        seed = int(torch.randint(2**62, ()).item())

        def trajectories(policy: Any) -> Tensor:
            torch.manual_seed(seed)
            policy.state_noise = config.noise
            scores = policy.score(requests).view(count, config.trajectories, -1)
            policy.state_noise = 0.0
            return lists.masked(scores)

        # Weights of these two want no gradient. Without `no_grad` no value is cached, so that all drop out alike.
        acted, reference = trajectories(self.acting) / config.list_temperature, trajectories(self.reference)
        order = sample_lists(acted)
        reward = list_rewards(lists.relevant[:, None].expand_as(order).gather(-1, order), config.reward)
        scores = trajectories(self.policy)
        depth = DEPTH[config.reward]
        chance = log_probability(scores / config.list_temperature, order, depth)
        old = log_probability(acted, order, depth)
        parts = {
            "policy": clipped_objective(chance, old, advantages(reward, scaled=False), config.clip_ratio),
            "likelihood": lists.cross_entropy(scores),
            "kl": divergence(scores, reference),
        }
        weights = {"policy": 1.0, "likelihood": config.likelihood_weight, "kl": config.kl_weight}
        ratio = (chance - old).detach().exp()
        figures = {
            "listed": lists.listed,
            "signal": (reward != reward[:, :1]).any(1).float().mean(),
            "reward": reward.mean(),
            "reward_deviation": reward.std(1, correction=0).mean(),
            "clipped": ((ratio - 1).abs() > config.clip_ratio).float().mean(),
        }
        return Losses(parts, weights, figures)


LEARNERS: Mapping[str, type[ListCrossEntropy]] = {"cross-entropy": ListCrossEntropy, "grpo": ListPolicy}


class SecondPhase(TrainingPhase):
    """Learning on hard lists; undone if no validation was better than before."""

    name = "second_phase"

    @override
    def is_configured(self, model: Model) -> bool:
        return supports(model, RanksAsPolicy) and model.config.second_phase != "none"

    @override
    def run(self, model: Model, context: PhaseContext, before: Mapping[str, float]) -> PhaseReport:
        config = model.config
        if self._forgets_memory(model) and context.budgets is None:
            before = context.validate(model)
        state = checkpoint.snapshot(model.state())
        examples = HardListExamples(
            context.split,
            model,
            batch=config.second_batch,
            seed=context.config.seed,
            newest=config.newest,
            horizon=config.horizon,
        )
        try:
            best = context.train(
                self.name,
                LEARNERS[config.second_phase](model),
                model,
                lambda _: context.validate(model),
                config.second_steps,
                batch=config.second_batch,
                lr=config.second_lr,
                examples=examples,
            )
        finally:
            model.requires_grad_(True)
        is_better = context.budgets is not None or best[context.judge] > before[context.judge]
        if not is_better:
            model.load_state(state)
            figures = {**before, f"{context.judge}.{self.name}": best[context.judge]}
            return PhaseReport(self.name, figures, is_kept=False)
        return PhaseReport(self.name, best if context.budgets is None else {}, is_kept=True)

    @staticmethod
    def _forgets_memory(model: Model) -> bool:
        """Remove the memory of the run that it starts from: it knows what is to be learned, and later phases add it."""
        memory: Any = model
        had_neighbours = supports(model, RemembersNeighbours) and memory.has_neighbours
        had_messages = supports(model, PassesMessages) and memory.has_messages
        if had_neighbours:
            memory.forget_neighbours()
        if had_messages:
            memory.forget_messages()
        return had_neighbours or had_messages
