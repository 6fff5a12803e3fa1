"""When to stop reasoning: a score learnt from what further steps would change, and a threshold chosen on validation."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from searec.data.batch import Batch
from searec.data.candidates import candidate_lists
from searec.data.ragged import Ints
from searec.data.split import Split
from searec.evaluation.protocol import chosen, score_batches, tie_rank
from searec.metrics import NDCG
from searec.models.lcr_ser import LCRSER
from searec.nn.learner import Learner
from searec.nn.losses import Losses

_THRESHOLDS = 50


class Halting(Learner):
    """The halting score of a model whose other weights stay as they are."""

    name = "halting"

    def __init__(self, model: LCRSER) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> Self:
        """As every module's, but the model stays in evaluation mode."""
        super().train(mode)
        self.model.eval()
        return self

    def loss(self, batch: Batch) -> Losses:
        """BCE of "no later step lowers the target's loss by more than `exit_slack`", before each step that would be taken."""
        scores, halting = self.model.score_by_depth(batch)
        taken = halting.isfinite()
        labels = may_stop(scores, self.model.config.exit_slack)[taken]
        each = F.binary_cross_entropy_with_logits(halting[taken], labels, reduction="none")
        assert self.model.halting is not None
        nothing = self.model.halting.bias.sum() * 0  # a batch in which nobody reasons still has a gradient, of zero
        return Losses({"halting": each.sum() / max(1, len(each)) + nothing}, {"halting": 1.0})


def may_stop(scores: Tensor, slack: float) -> Tensor:
    """[B, K] 1 where stopping after 0..K-1 steps costs no more than `slack` against the best later depth, in cross-entropy of the target.

    Args:
        scores: [B, K + 1, N] after 0..K steps, the target first.
    """
    losses = -scores.detach().log_softmax(-1)[..., 0]
    later = losses.flip(1).cummin(1).values.flip(1)[:, 1:]
    return (losses[:, :-1] <= later + slack).float()


@dataclass(frozen=True)
class Depths:
    """Validation requests at every depth.

    gain: [R, K + 1] NDCG@5 after 0..K steps. halting: [R, K] halting score, 0 to 1, before each step; inf for users who take none.
    """

    gain: NDArray[np.float64]
    halting: NDArray[np.float64]

    def at(self, threshold: float) -> tuple[float, float]:
        """NDCG@5 and mean steps a request where users stop as soon as the halting score is above the threshold."""
        above = self.halting > threshold
        depth = np.where(above.any(1), above.argmax(1), above.shape[1])
        return float(self.gain[np.arange(len(depth)), depth].mean()), float(depth.mean())

    def threshold(self, keep: float) -> float:
        """The threshold of the fewest mean steps that keeps this share of the NDCG@5 at K steps; 1 (nobody stops) if none does."""
        whole = self.gain[:, -1].mean()
        finite = self.halting[np.isfinite(self.halting)]
        grid = np.unique(np.quantile(finite, np.linspace(0, 1, _THRESHOLDS))) - 1e-9 if len(finite) else finite
        kept = [(steps, float(value)) for value in grid for gain, steps in [self.at(value)] if gain >= keep * whole]
        return max(0.0, min(kept)[1]) if kept else 1.0


def depths(model: LCRSER, split: Split, *, requests: int, seed: int = 0) -> Depths:
    """Every depth of the sampled protocol's validation requests, `requests` of them at most."""
    held = split.held_out("recommend", "val")
    rows = chosen(len(held), requests, seed)
    candidates = candidate_lists(split, "recommend", "val", seed=seed)[rows]
    steps = model.config.steps
    gain, halting = np.zeros((len(rows), steps + 1)), np.zeros((len(rows), steps))

    def place(some: Ints, batch: Batch) -> None:
        scores, logits = model.score_by_depth(batch)
        first = torch.zeros(len(some), dtype=torch.long)
        for depth in range(steps + 1):
            gain[some, depth] = NDCG(5).of_ranks(tie_rank(scores[:, depth].float(), first))
        halting[some] = torch.where(logits.isinf(), logits, logits.sigmoid()).cpu().numpy()

    score_batches(place, model, split, held[rows], candidates.shape[1], candidates)
    return Depths(gain, halting)
