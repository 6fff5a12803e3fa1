"""lcr-ser that may stop reasoning early, and that can be the teacher of a model which does not reason."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, Natural, NonNegative, Share, settings
from searec.data.batch import Batch
from searec.data.dataset import Sizes
from searec.data.schema import TASKS, Task
from searec.models.lcr_ser import LCRSER, Start
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
        has_exits = config.exit_steps and config.steps and self.reasoning is not None
        self.halting = nn.Linear(config.width, 1) if has_exits else None
        self.register_buffer("halt_above", torch.ones(()))  # nobody halts until the score is learned

    # --- early exit ---

    @override
    def final_weights(self, start: Start, task: Task) -> Tensor:
        if self.halting is None or self.halt_above >= 1 or task != "recommend":
            return super().final_weights(start, task)
        assert self.reasoning is not None
        weights = self.reasoning.by_age(start.sessions)
        rows = start.sessions.present.any(1).nonzero().squeeze(1)
        now, keys = start.at(rows), self.reasoning.keys(start.sessions)[rows]
        state = now.state
        for number in range(self.config.steps):
            keep = (self.halting_score(state).sigmoid() <= self.halt_above).nonzero().squeeze(1)
            if not len(keep):
                break
            if len(keep) < len(rows):
                rows, now, keys, state = rows[keep], now.at(keep), keys[keep], state[keep]
            step = self.reasoning(state, now.sessions, keys, number)
            weights = weights.index_put((rows,), step.weights)
            state = step.state
        return weights

    def halting_score(self, state: Tensor) -> Tensor:
        """Return the logit [P] that no further step would help.

        Args:
            state: [P, D] of the feed.
        """
        assert self.halting is not None
        score: Tensor = self.halting(state).squeeze(-1)
        return score

    def score_by_depth(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return scores [B, K + 1, N] after 0..K steps, and logits of halting [B, K] before each, inf without one."""
        assert self.reasoning is not None and batch.candidates is not None
        state, read = self._request_states(batch)
        candidates, table = batch.candidates.long(), self.table()
        scores = torch.einsum("bd,bnd->bn", state, table[candidates]) + self.bias[TASKS.index(batch.task)][candidates]
        near = self.neighbour_scores(batch, read.timeline)
        if near is not None:
            scores = scores + near.gather(1, candidates)
        added, halting = [], []
        for rows, start in self.request_starts(batch, read, state):
            steps = self.reasoned(start)
            depths = [self.reasoning.by_age(start.sessions), *(step.weights for step in steps)]
            listed = candidates[rows]
            added.append(torch.stack([self.added(start, one, batch.task, table, listed) for one in depths], 1))
            before = torch.stack([self.halting_score(one) for one in (start.state, *(s.state for s in steps[:-1]))], 1)
            halting.append(before.masked_fill(~start.sessions.present.any(1, keepdim=True), torch.inf))
        return scores[:, None] + torch.cat(added), torch.cat(halting)

    # --- teacher and student ---

    def loss_and_scores(self, batch: Batch) -> tuple[Losses, Tensor]:
        """Return the losses of a training batch, and `teaching_scores`."""
        return self.loss(batch), self.teaching_scores(batch)

    def teaching_scores(self, batch: Batch) -> Tensor:
        """Return scores [P, I] of the catalogue before the newest feed clicks of each stretch, after all steps.

        The places follow from the batch alone: teacher and student may read other timelines.

        Args:
            batch: of the timeline's examples.
        """
        read = self.read_stretches(batch)
        count, column = (batch.feed_item > 0).sum(1), torch.arange(batch.feed_item.shape[1], device=self.device)
        is_target = (column < count[:, None]) & (column >= (count - self.config.distil_places).clamp(min=1)[:, None])
        row, column = is_target.nonzero(as_tuple=True)
        is_older = read.timeline.present[row] & (read.timeline.time[row] < batch.feed_time[row, column][:, None])
        place = is_older.sum(1)
        state, table = read.states[row, place], self.table()
        scores = state @ table.T + self.bias[TASKS.index("recommend")]
        if self.reasons:
            start = self.start(read, batch, row, place, state)
            scores = scores + self.added(start, self.final_weights(start, "recommend"), "recommend", table)
        return scores[:, 1:]
