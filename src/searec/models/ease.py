"""ease: a linear model of items by items in closed form (Embarrassingly Shallow Autoencoders, arXiv 1905.03375)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from searec.config import Count, Natural, NonNegative, Positive, settings
from searec.data.batch import Batch
from searec.data.dataset import Dataset
from searec.data.schema import Task
from searec.data.split import Split
from searec.models.base import Preset, best_items, strongest_click
from searec.models.click_matrix import ClickMatrixModel
from searec.models.growth import Rows
from searec.models.search_space import Range


class EASE(ClickMatrixModel):
    """score(u, v) = sum over the distinct items i of u's history of r(i) B[i, v], r = a^-recency for the a-th newest.

    B minimises |X - X B|^2 + l2 |B|^2 for the binary user-item matrix X, with a diagonal of zeros:
    B = I - P diag(1 / diag(P)), where P = (X^T X + l2 I)^-1. Items without clicks, or beyond the
    `max_items` most clicked, have zeros and are not stored.
    """

    name = "ease"
    search_space: ClassVar = {"l2": Range(1.0, 10_000.0, log=True), "recency": Range(0.0, 2.0)}
    presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {"default": {}, "paper": {"l2": 500.0, "recency": 0.0}}
    arrays: ClassVar[tuple[str, ...]] = ("weights", "column", "counts")
    rows: ClassVar[Mapping[str, Rows]] = {name: Rows("items", new="zero") for name in ("column", "counts")}
    weights: Tensor  # [A + 1, A + 1] B of the A items with clicks; row and column 0 are zero
    column: Tensor  # [I + 1] where each item is in `weights`, 0 if nowhere
    counts: Tensor  # [I + 1] users who clicked each item

    @settings
    class Config:
        """The penalty, and what is read.

        Attributes:
            l2: penalty on the weights.
            recency: exponent by which older clicks of the history count less.
            feed_only: leave clicks after searches out.
            history: newest clicks read.
            max_items: of the catalogue, the most clicked; others are not read and rank last. Memory takes 24 bytes, at
                10,000 items 2.4 GB, for each pair of them, and time grows by the third power.
        """

        l2: Positive = 100.0
        recency: NonNegative = 0.5
        feed_only: bool = False
        history: Natural = 512
        max_items: Count = 10_000

    @override
    def fit(self, data: Dataset, split: Split) -> None:
        """Invert the item-item matrix of the training clicks."""
        clicks = self.click_matrix(split)
        counts = clicks.getnnz(axis=0)
        items = np.argsort(-counts, kind="stable")[: self.config.max_items]
        items = np.sort(items[counts[items] > 0])
        active = clicks[:, items].astype(np.float64)
        gram = torch.from_numpy((active.T @ active).toarray())
        gram.diagonal().add_(self.config.l2)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = torch.zeros(len(items) + 1, len(items) + 1)
        weights[1:, 1:] = -inverse / inverse.diagonal()
        weights.fill_diagonal_(0)
        column = np.zeros(self.sizes.items + 1, dtype=np.int64)
        column[items] = np.arange(1, len(items) + 1)
        self.set_arrays(
            weights=weights,
            column=torch.from_numpy(column),
            counts=torch.from_numpy(counts.astype(np.int64)),
        )

    @override
    def score(self, batch: Batch) -> Tensor:
        history = self.clicked(batch)
        rows = self.column[history.long()]
        present = torch.zeros(len(batch), len(self.weights), device=rows.device)
        present.scatter_add_(1, rows, self.recency_weights(history))
        scores = (present @ self.weights)[:, self.column]
        return scores if batch.candidates is None else scores.gather(1, batch.candidates.long())

    def similar_items(self, items: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k items of the largest weights from each of some items.

        Args:
            items: [B] internal ids.
            k: how many for each.

        Returns:
            Ids [B, k], best first, 0 where fewer are above zero; weights [B, k], -inf there.
        """
        weights = self.weights[self.column[items.long()]][:, self.column]
        return best_items(weights.masked_fill(weights <= 0, -torch.inf), k)

    @override
    def explain(self, items: Tensor, clicks: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.recency_weights(clicks[None])[0][:, None] * self.weights[self.column[clicks.long()]]
        return strongest_click(weights[:, self.column[items.long()]].T, clicks)

    @override
    def click_counts(self) -> Mapping[tuple[Task, ...], Tensor]:
        return {self.tasks: self.counts}
