"""When to stop reasoning: a learned score of what further steps would change, and its threshold by validation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from searec.data.batch import Batch
from searec.data.candidates import sampled_requests
from searec.data.ragged import Ints
from searec.data.split import Split
from searec.evaluation.protocol import chosen, score_batches, tie_rank
from searec.metrics import NDCG
from searec.models.base import Model
from searec.models.capabilities import StopsEarly, supports
from searec.nn.learner import Learner
from searec.nn.losses import Losses
from searec.training.examples import TrainingExamples
from searec.training.phases import PhaseContext, PhaseReport, TrainingPhase

_THRESHOLDS = 50
_LEARNING_RATE = 1e-2
_OTHERS = 31
"""Negatives of a request, for a model whose own loss has none."""


class EarlyExit(Learner):
    """The halting score of a model whose other weights stay as they are.

    Args:
        model: `capabilities.StopsEarly` with a halting score.
    """

    name = "early_exit"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    @override
    def train(self, mode: bool = True) -> Self:
        """Set the training mode of this module; the model stays in evaluation mode."""
        super().train(mode)
        self.model.eval()
        return self

    def loss(self, batch: Batch) -> Losses:
        """Return the BCE of "no later step lowers the target's loss by more than `exit_slack`", before each step."""
        scores, halting = self.model.score_by_depth(batch)
        is_taken = halting.isfinite()
        labels = may_stop(scores, self.model.config.exit_slack)[is_taken]
        each = F.binary_cross_entropy_with_logits(halting[is_taken], labels, reduction="none")
        nothing = self.model.halting.bias.sum() * 0  # a batch in which nobody reasons still has a gradient, of zero
        return Losses({"halting": each.sum() / max(1, len(each)) + nothing}, {"halting": 1.0})


def may_stop(scores: Tensor, slack: float) -> Tensor:
    """Return [B, K] 1 where stopping after 0..K-1 steps costs no more than `slack` against the best later depth.

    Args:
        scores: [B, K + 1, N] after 0..K steps, the target first.
        slack: allowed loss, in cross-entropy of the target.
    """
    losses = -scores.detach().log_softmax(-1)[..., 0]
    later = losses.flip(1).cummin(1).values.flip(1)[:, 1:]
    return (losses[:, :-1] <= later + slack).float()


@dataclass(frozen=True)
class Depths:
    """Validation requests at every depth."""

    gain: NDArray[np.float64]  # [R, K + 1] NDCG@5 after 0..K steps
    halting: NDArray[np.float64]  # [R, K] halting score, 0 to 1, before each step; inf for users who take none

    def at(self, threshold: float) -> tuple[float, float]:
        """Return NDCG@5 and mean steps per request if users stop once the halting score is above the threshold."""
        above = self.halting > threshold
        depth = np.where(above.any(1), above.argmax(1), above.shape[1])
        return float(self.gain[np.arange(len(depth)), depth].mean()), float(depth.mean())

    def fixed(self, steps: float) -> float:
        """Return NDCG@5 if everybody stops after the same number of steps; between whole numbers, a mix of two."""
        at_depth = self.gain.mean(0)
        return float(np.interp(steps, np.arange(len(at_depth)), at_depth))

    def threshold(self, keep: float) -> float:
        """Return the threshold of the fewest mean steps with this share of the NDCG@5 at K steps; 1 if none has it."""
        whole = self.gain[:, -1].mean()
        finite = self.halting[np.isfinite(self.halting)]
        grid = np.unique(np.quantile(finite, np.linspace(0, 1, _THRESHOLDS))) - 1e-9 if len(finite) else finite
        fit = [(steps, float(value)) for value in grid for gain, steps in [self.at(value)] if gain >= keep * whole]
        return max(0.0, min(fit)[1]) if fit else 1.0


def depths(model: Any, split: Split, *, requests: int, seed: int = 0) -> Depths:
    """Measure every depth on the sampled protocol's validation requests.

    Args:
        model: `capabilities.StopsEarly`.
        split: whose validation requests are scored.
        requests: at most this many.
        seed: of their draw and of the candidates.
    """
    sampled = sampled_requests(split, "recommend", "val", seed=seed)
    held, rows = sampled.requests, chosen(len(sampled.requests), requests, seed)
    candidates = sampled.candidates[rows]
    steps = model.config.steps
    gain, halting = np.zeros((len(rows), steps + 1)), np.zeros((len(rows), steps))

    def place(places: Ints, batch: Batch) -> None:
        scores, logits = model.score_by_depth(batch)
        first = torch.zeros(len(places), dtype=torch.long)
        for depth in range(steps + 1):
            gain[places, depth] = NDCG(5).of_ranks(tie_rank(scores[:, depth].float(), first))
        halting[places] = torch.where(logits.isinf(), logits, logits.sigmoid()).cpu().numpy()

    score_batches(place, model, split, held[rows], candidates.shape[1], candidates)
    return Depths(gain, halting)


class EarlyExitPhase(TrainingPhase):
    """Learns the halting score of a `capabilities.StopsEarly`, all else frozen, then chooses its threshold."""

    name = "early_exit"
    weights = ("halting.", "halt_above")

    @override
    def is_configured(self, model: Model) -> bool:
        reasons = bool(getattr(model, "reasons", True))  # validation may have left the searches out
        return supports(model, StopsEarly) and model.halting is not None and reasons

    @override
    def run(self, model: Model, context: PhaseContext, before: Mapping[str, float]) -> PhaseReport:
        reasoner: Any = model
        config, requests, seed = model.config, context.config.validation_requests, context.config.seed
        batch = context.config.batch
        examples = TrainingExamples(
            context.split, model, batch=batch, seed=seed, negatives=model.negatives or _OTHERS, feed_requests=True
        )

        def saved(learner: Any) -> dict[str, float]:
            by_depth = depths(model, context.split, requests=requests)
            gain, steps = by_depth.at(by_depth.threshold(config.exit_keep))
            whole, most = by_depth.at(1.0)
            saved = 1 - steps / max(most, 1e-9)
            return {"ndcg@5": gain, "steps": steps, "saved": saved, "whole": whole, "fixed": by_depth.fixed(steps)}

        model.requires_grad_(False)
        reasoner.halting.requires_grad_(True)
        try:
            best = context.train(
                self.name,
                EarlyExit(model),
                model,
                saved,
                config.exit_steps,
                batch=batch,
                lr=_LEARNING_RATE,
                examples=examples,
                judge="saved",
            )
        finally:
            model.requires_grad_(True)
        if context.budgets is None:
            threshold = depths(model, context.split, requests=requests).threshold(config.exit_keep)
        else:
            threshold = context.budgets[self.name].metrics["halt_above"]
        reasoner.halt_above.fill_(threshold)
        return PhaseReport(self.name, {**best, "halt_above": float(reasoner.halt_above)}, is_kept=True)
