"""lcr-ser that may stop reasoning early, and that can be the teacher of a model which does not reason."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, Natural, NonNegative, Share, settings
from searec.data.batch import Batch
from searec.data.dataset import Sizes
from searec.data.schema import TASKS
from searec.models.lcr_ser import LCRSER, Start
from searec.nn.event_trunk import Timeline
from searec.nn.losses import Losses


class LCRSERWithExits(LCRSER):
    """lcr-ser; for the feed a halting score may end a user's reasoning before K steps."""

    halt_above: Tensor  # [] a user halts where the halting score is above this

    phases = (*LCRSER.phases, "early_exit")

    @settings
    class Config(LCRSER.Config):
        """As lcr-ser, and when it stops and how it learns from a teacher.

        Attributes:
            exit_steps: batches in which the halting score is learned, after which users stop at different steps; 0 to
                leave it out.
            exit_keep: share of the validation NDCG@5 at K steps that the exits must keep.
            exit_slack: a step is worth taking if a later one lowers the target's loss by more than this.
            distil_weight: of the divergence from the teacher's softmax over the catalogue, where there is a teacher.
            distil_places: newest clicks of a stretch that the teacher scores.
        """

        exit_steps: Natural = 0
        exit_keep: Share = 0.99
        exit_slack: NonNegative = 0.02
        distil_weight: NonNegative = 1.0
        distil_places: Count = 4

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        has_exits = config.exit_steps and self.reasoning is not None
        self.halting = nn.Linear(2 * config.width, 1) if has_exits else None
        self.register_buffer("halt_above", torch.ones(()))  # nobody halts until the score is learned

    # --- early exit ---

    @override
    def _request_states(self, batch: Batch) -> tuple[Tensor, Tensor | None, Timeline]:
        if self.halting is None or not self.reasons or self.halt_above >= 1 or batch.task != "recommend":
            return super()._request_states(batch)
        start, read = self.request_start(batch)
        state = start.base.clone()
        rows = _reads_anything(start).nonzero().squeeze(1)
        now = _at(start, rows)
        for number in range(self.config.steps):
            keep = (self.halting_score(now.states).sigmoid() <= self.halt_above).nonzero().squeeze(1)
            if not len(keep):
                break
            if len(keep) < len(rows):
                rows, now = rows[keep], _at(now, keep)
            step = self.reasoning(now.states, now.memory, number)  # type: ignore[misc]
            state[rows] = self.state_after(now, step, batch.task)
            now = replace(now, states=step.states)
        return state[:, 0], read.texts, read.timeline

    def halting_score(self, states: Tensor) -> Tensor:
        """Return the logit [B] that no further step would help.

        Args:
            states: [B, 1, 2, D] of each side.
        """
        assert self.halting is not None
        score: Tensor = self.halting(states.flatten(1)).squeeze(-1)
        return score

    def score_by_depth(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return scores [B, K + 1, N] after 0..K steps, and logits of halting [B, K] before each, inf without one."""
        start, read = self.request_start(batch)
        steps = self.reasoned(start)
        states = [start.base, *(self.state_after(start, step, batch.task) for step in steps)]
        assert batch.candidates is not None
        candidates = batch.candidates.long()
        scores = torch.einsum("bkd,bnd->bkn", torch.cat(states, 1), self.table()[candidates])
        scores = scores + self.bias[TASKS.index(batch.task)][candidates][:, None]
        near = self.neighbour_scores(batch, read.timeline)
        if near is not None:
            scores = scores + near.gather(1, candidates)[:, None]
        before = [start.states, *(step.states for step in steps[:-1])]
        halting = torch.stack([self.halting_score(one) for one in before], 1)
        return scores, halting.masked_fill(~_reads_anything(start)[:, None], torch.inf)

    # --- teacher and student ---

    def loss_and_scores(self, batch: Batch) -> tuple[Losses, Tensor]:
        """Return the losses of a training batch, and `teaching_scores`."""
        return self.loss(batch), self.teaching_scores(batch)

    def teaching_scores(self, batch: Batch) -> Tensor:
        """Return scores [P, I] of the catalogue for the newest feed targets of each stretch, after all steps.

        Args:
            batch: of the timeline's examples.
        """
        read = self.read_stretches(batch)
        target = self.targets_of(read.timeline)["recommend"]
        places = torch.zeros(read.states.shape[:2], dtype=torch.long, device=self.device)
        places[target.row, target.place] = target.place
        places = places.topk(min(self.config.distil_places, places.shape[1]), dim=1).values
        start = self.start(read, places, "recommend")
        steps = self.reasoned(start)
        state = self.state_after(start, steps[-1] if steps else None, "recommend")[places > 0]
        scores: Tensor = state @ self.table()[1:].T + self.bias[TASKS.index("recommend"), 1:]
        return scores


def _reads_anything(start: Start) -> Tensor:
    """[B] where there is something of the other side to read."""
    assert start.memory is not None
    return start.memory.allowed.flatten(1).any(1)


def _at(start: Start, rows: Tensor) -> Start:
    """Some rows of a start."""
    assert start.memory is not None
    parts = {name: part[rows] for name, part in vars(start.memory).items()}
    return Start(start.base[rows], start.states[rows], replace(start.memory, **parts))
