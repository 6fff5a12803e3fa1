"""lcr-ser-paper: feed and search history question each other in latent steps, as published (arXiv 2508.04152)."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, Natural, NonNegative, Positive, Share, settings
from searec.data.batch import Batch
from searec.data.dataset import Sizes
from searec.data.schema import Task
from searec.models.base import Preset
from searec.models.search_space import DROPOUT, LEARNING_RATE, Choice, Range
from searec.models.two_histories import TwoHistoriesConfig, TwoHistoriesModel
from searec.nn.attention import EncoderLayer
from searec.nn.event_vectors import embed_events
from searec.nn.grpo import Reward
from searec.nn.losses import Losses, target_loss
from searec.nn.pooling import age, masked_mean, mean_embedding
from searec.nn.reasoning import CrossReasoning, Distance, distance, triplet
from searec.nn.scoring import CandidateScorer


@dataclass(frozen=True)
class Step:
    """One step of reasoning.

    Attributes:
        rows: [n] of the batch, whose users took it.
        here: [n, M] per side, where a state is present.
        before: [n, M, D] per side, the states it started from.
        crossed: [n, M, D] per side, the states it left.
        alone: the same step from the same states without its cross term, if that was computed.
    """

    rows: Tensor
    here: list[Tensor]
    before: list[Tensor]
    crossed: list[Tensor]
    alone: list[Tensor] | None


class LCRSERPaper(TwoHistoriesModel):
    """Two encoded histories, K steps of cross reasoning, target attention over the states of every step, an MLP."""

    halt_above: Tensor  # [] a user halts where the halting score is above this

    name = "lcr-ser-paper"
    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    phases = ("ranking_policy", "early_exit")
    search_space: ClassVar = {
        "lr": LEARNING_RATE,
        "dropout": DROPOUT,
        "steps": Choice((0, 1, 2, 3, 4)),
        "tcl_weight": Range(0.01, 1.0, log=True),
    }
    single_task: ClassVar = {"recommend": {"searches": 0}}
    single_task_note = "search histories are not read"

    @settings
    class Config(TwoHistoriesConfig):
        """The sizes (`searches` 0 leaves the searches out), the mechanism, then the phases.

        Attributes:
            steps: K; 0 is the model without reasoning.
            step_embedding: each step has its own.
            tcl_weight, margin: of L_TCL (Eq. 9), 0 to leave it out; its m.
            distance: 1 - cosine or Euclidean.
            detach: the state without the cross term gets no gradient, so that the loss cannot win by spoiling it.
            rl_steps, rl_batch, rl_lr: batches of phase 2 (GRPO), 0 to leave it out; their size and learning rate.
            rl_negatives: candidates besides the target.
            trajectories: of each request.
            noise: gamma (Eq. 14).
            reward: of the target's rank.
            clip_ratio: how far a ratio may count.
            kl_weight: lambda_KL.
            refresh: batches until the policy that acts is renewed.
            exit_steps: batches in which the halting score is learned, after which users stop at different steps; 0 to
                leave it out.
            exit_keep: share of the validation NDCG@5 at K steps that the exits must keep.
            exit_slack: a step is worth taking if a later one lowers the target's loss by more than this.
            distil_weight: of the divergence from the teacher's softmax over the candidates, where there is a teacher.
        """

        steps: Natural = 3
        step_embedding: bool = True
        tcl_weight: NonNegative = 0.1
        margin: NonNegative = 0.2
        distance: Distance = "cosine"
        detach: bool = True
        rl_steps: Natural = 0
        rl_batch: Count = 256
        rl_lr: Positive = 3e-5
        rl_negatives: Count = 31
        trajectories: Count = 8
        noise: Positive = 0.1
        reward: Reward = "hit@1"
        clip_ratio: Positive = 0.2
        kl_weight: NonNegative = 0.1
        refresh: Count = 4
        exit_steps: Natural = 0
        exit_keep: Share = 0.995
        exit_slack: NonNegative = 0.05
        distil_weight: NonNegative = 1.0

    presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "default": {},
        "paper": {"rl_steps": 2000},
    }

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        width, layer = config.width, self.layer_sizes
        limits = [limit for limit in (config.feed, config.searches) if limit]
        self.item = nn.Embedding(sizes.items + 1, width, padding_idx=0)
        self.user = nn.Embedding(sizes.users + 1, width, padding_idx=0)
        self.position = nn.ModuleList(nn.Embedding(limit, width) for limit in limits)
        self.encode = nn.ModuleList(EncoderLayer(width, **layer) for _ in limits)
        self.reasoning = (
            CrossReasoning(width, **layer, sides=len(limits), steps=config.steps if config.step_embedding else 0)
            if config.steps
            else None
        )
        self.scorer = CandidateScorer(width, sides=len(limits), users=1)
        self.halting = nn.Linear(len(limits) * width, 1) if config.exit_steps and config.steps else None
        self.register_buffer("halt_above", torch.ones(()))  # nobody halts until the score is learned
        tables = [self.item, *self.position]
        if config.searches:
            self.word = nn.Embedding(sizes.words + 1, width, padding_idx=0)
            tables.append(self.word)
        self.draw_embeddings(*tables)
        nn.init.zeros_(self.user.weight)  # a user without training events then adds nothing

    def encoded(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """H^0 of each side [B, L, D], and where there is an event [B, L]."""
        queries = mean_embedding(self.word, batch.words) if self.config.searches else self.item.weight[:1]
        events, here = embed_events(batch, self.item, queries)
        states = []
        for places, layer, x, present in zip(
            self.position, self.encode, events, here, strict=False
        ):  # the feed alone if searches is 0
            limit: int = places.num_embeddings  # type: ignore[assignment]
            states.append(layer(x + places(age(present, limit)), present[:, None]))
        return states, here[: len(states)]

    def reasoned(
        self, states: list[Tensor], here: list[Tensor], *, alone: bool = False, halt: bool = False
    ) -> list[Step]:
        """Return up to K steps from H^0.

        Users without a history on one of the sides have nothing to cross and take no step. Those who are done leave the
        batch, so that their time is saved.

        Args:
            states: [B, L, D] H^0 of each side.
            here: [B, L] per side, where there is an event.
            alone: also return the states without the cross term.
            halt: users stop as soon as their halting score is above `halt_above`.
        """
        if self.reasoning is None:
            return []
        go_on = torch.stack([present.any(1) for present in here]).all(0)
        rows = torch.arange(len(go_on), device=go_on.device)
        taken: list[Step] = []
        for number in range(self.config.steps):
            if halt:
                go_on = go_on & (self.halting_score(states, here).sigmoid() <= self.halt_above)
            if not go_on.all():
                keep = go_on.nonzero().squeeze(1)
                rows, here, states = rows[keep], [present[keep] for present in here], [side[keep] for side in states]
            if not len(rows):
                break
            thoughts = self.reasoning(states, here, number, alone=alone)
            taken.append(Step(rows, here, states, thoughts.crossed, thoughts.alone))
            states = thoughts.crossed
            go_on = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        return taken

    def read(
        self, states: list[Tensor], here: list[Tensor], steps: Sequence[Step]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return what a candidate attends to on each side: H^0 and all steps' states [B, P, D]; and presence.

        Args:
            states: [B, L, D] H^0 of each side.
            here: [B, L] per side, where there is an event.
            steps: taken from these states.
        """
        every, present = [], []
        for side, (first, is_event) in enumerate(zip(states, here, strict=True)):
            left, there = [first], [is_event]
            for step in steps:
                value, mask = step.crossed[side], step.here[side]
                if len(step.rows) < len(first):
                    value = value.new_zeros(len(first), *value.shape[1:]).index_copy(0, step.rows, value)
                    mask = mask.new_zeros(len(first), *mask.shape[1:]).index_copy(0, step.rows, mask)
                left.append(value)
                there.append(mask)
            every.append(torch.cat(left, dim=1))
            present.append(torch.cat(there, dim=1))
        return every, present

    def halting_score(self, states: Sequence[Tensor], here: Sequence[Tensor]) -> Tensor:
        """Return the logit [B] that no further step would help, from the mean state of each side.

        Args:
            states: [B, L, D] of each side.
            here: [B, L] per side, where there is a state.
        """
        assert self.halting is not None
        means = [masked_mean(side, present) for side, present in zip(states, here, strict=True)]
        score: Tensor = self.halting(torch.cat(means, dim=-1)).squeeze(-1)
        return score

    def users(self, batch: Batch) -> Tensor:
        """[B, 1, D] e_u."""
        vectors: Tensor = self.user(batch.user)
        return vectors[:, None]

    @override
    def score(self, batch: Batch) -> Tensor:
        states, here = self.encoded(batch)
        steps = self.reasoned(states, here, halt=self.halting is not None and bool(self.halt_above < 1))
        scores: Tensor = self.scorer(
            self.item.weight, batch.candidates, *self.read(states, here, steps), self.users(batch)
        )
        return scores

    def score_by_depth(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return scores [B, K + 1, N] after 0..K steps, and logits of halting [B, K] before each, inf without one."""
        states, here = self.encoded(batch)
        users, steps = self.users(batch), self.reasoned(states, here)
        depths = range(self.config.steps + 1)
        scores = [
            self.scorer(self.item.weight, batch.candidates, *self.read(states, here, steps[:depth]), users)
            for depth in depths
        ]
        halting = torch.full((len(batch), self.config.steps), torch.inf, device=users.device)
        for number, step in enumerate(steps):
            halting[step.rows, number] = self.halting_score(step.before, step.here)
        return torch.stack(scores, 1), halting

    def draw_noise(self, batch: Batch) -> list[Tensor]:
        """Return standard normal noise [B, T, L, D] for each side, from PyTorch's generator."""
        config = self.config
        sides = (batch.feed_item, batch.search_query)[: len(self.encode)]
        return [
            torch.randn(*side.shape[:1], config.trajectories, side.shape[1], config.width, device=side.device)
            for side in sides
        ]

    def score_trajectories(self, batch: Batch, noise: Sequence[Tensor]) -> Tensor:
        """[B, T, N] scores of the candidates, each trajectory from H^0 + gamma x noise (Eq. 14).

        In training each trajectory has a dropout of its own, from the encoder on.

        Args:
            batch: B requests with candidates.
            noise: [B, T, L, D] per side, standard normal.
        """
        assert batch.candidates is not None
        many = noise[0].shape[1]
        names = ("user", "feed_item", "search_query", "search_click", "candidates")
        repeated = {name: getattr(batch, name).repeat_interleave(many, dim=0) for name in names}
        trajectories = dataclasses.replace(batch, **repeated)
        states, present = self.encoded(trajectories)
        noisy = [side + self.config.noise * drawn.flatten(0, 1) for side, drawn in zip(states, noise, strict=True)]
        steps = self.reasoned(noisy, present)
        scores: Tensor = self.scorer(
            self.item.weight, trajectories.candidates, *self.read(noisy, present, steps), self.users(trajectories)
        )
        return scores.view(len(batch), many, -1)

    @override
    def loss(self, batch: Batch) -> Losses:
        """BCE of the target and each negative, and L_TCL."""
        return self.loss_and_scores(batch)[0]

    def loss_and_scores(self, batch: Batch) -> tuple[Losses, Tensor]:
        """`loss`, and the scores [B, N] it is of."""
        config = self.config
        states, here = self.encoded(batch)
        cross = config.tcl_weight > 0 and len(states) == 2 and config.steps > 0
        steps = self.reasoned(states, here, alone=cross)
        every, present = self.read(states, here, steps)
        users = self.users(batch)
        scores = self.scorer(self.item.weight, batch.candidates, every, present, users)
        parts, weights = {"bce": target_loss(scores, "bce")}, {"bce": 1.0}
        if cross:
            parts["tcl"] = self.target_contrast(batch, steps)
            weights["tcl"] = config.tcl_weight
        return Losses(parts, weights), scores

    def target_contrast(self, batch: Batch, steps: Sequence[Step]) -> Tensor:
        """Return L_TCL, a scalar: the sum over steps and sides.

        Args:
            batch: with targets.
            steps: taken for it, with the states without the cross term.
        """
        config = self.config
        target: Tensor = self.item(batch.target)
        total = target.new_zeros(())
        for step in steps:
            assert step.alone is not None
            targets = target[step.rows]
            for crossed, alone, present in zip(step.crossed, step.alone, step.here, strict=True):
                base = distance(targets, alone.detach() if config.detach else alone, present, config.distance)
                total = total + triplet(distance(targets, crossed, present, config.distance), base, config.margin)
        return total

    @torch.no_grad()
    def distances(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return distances from the target to the mean states after 0..K steps, and to those without the cross term.

        Returns:
            [n, K + 1, sides] and [n, K, sides] of the n users who reason; the latter is empty if there is nothing to
            cross, both if nobody reasons.
        """
        states, here = self.encoded(batch)
        steps = self.reasoned(states, here, alone=True)
        none = states[0].new_zeros(0, 0, len(states))
        if not steps:
            return none, none
        target = self.item(batch.target)[steps[0].rows]

        def of(sides: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
            return torch.stack(
                [distance(target, *pair, self.config.distance) for pair in zip(sides, present, strict=True)], dim=-1
            )

        crossed = [of(steps[0].before, steps[0].here), *(of(step.crossed, step.here) for step in steps)]
        alone = [of(step.alone, step.here) for step in steps if step.alone is not None]
        return torch.stack(crossed, dim=1), torch.stack(alone, dim=1) if alone else none
