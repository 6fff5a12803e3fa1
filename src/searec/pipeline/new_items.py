"""Scores of items that came after the training, by models that read what is said of an item."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.batch import Batch
from searec.data.ragged import Ints
from searec.data.user_history import padded
from searec.models.capabilities import ScoresNewItems, supports
from searec.pipeline.catalog_snapshot import CatalogSnapshot, item_words
from searec.search.item_columns import CATEGORIES

if TYPE_CHECKING:
    from searec.pipeline.channels import RequestBatch
    from searec.pipeline.run import Run


class NewItemScorer:
    """Scores the new items of a catalogue by their texts and categories; they are described once for each snapshot.

    Args:
        run: of a model that `ScoresNewItems`; of another model, or of one that reads neither text nor categories, new
            items go by their proxies.
    """

    def __init__(self, run: "Run") -> None:
        self._run = run
        self.is_able = supports(run.model, ScoresNewItems) and run.model.tells_new_items_apart
        self._described: tuple[CatalogSnapshot | None, Any] = (None, None)

    def applies(self, catalog: CatalogSnapshot) -> bool:
        """Return whether there are new items and the model can score them."""
        return self.is_able and bool(catalog.new)

    def scores(self, batch: Batch, catalog: CatalogSnapshot) -> NDArray[np.float32]:
        """Return the scores [B, n] of the new items, whose indexes follow those of the known ones.

        Args:
            batch: B requests, on the model's device.
            catalog: with n new items.
        """
        model: Any = self._run.model
        described_of, described = self._described
        if described_of is not catalog:
            names = self._run.data.category_names
            ids = [
                np.array([names.find(name) for name in one.about.get(CATEGORIES) or ()], dtype=np.int64)
                for one in catalog.new
            ]
            known: list[Ints] = [row[row > 0] for row in ids]
            texts = [item_words(one.about) for one in catalog.new]
            described = model.describe_items(texts, torch.from_numpy(padded(known)))
            self._described = (catalog, described)
        values: NDArray[np.float32] = model.score_new(batch, described).float().cpu().numpy()
        return values

    def merged(
        self, requests: "RequestBatch", batch: Batch, ids: Tensor, scores: Tensor
    ) -> list[tuple[Ints, NDArray[np.float32]]]:
        """Return what the model retrieved for each request and its scores, with the new items among them.

        Args:
            requests: B requests.
            batch: of them.
            ids: [B, k] internal ids that the model retrieved, 0 for none.
            scores: [B, k] of them.
        """
        catalog, lists = requests.catalog, []
        new = self.scores(batch, catalog)
        for row, (known, value) in enumerate(zip(ids.cpu().numpy(), scores.float().cpu().numpy(), strict=True)):
            items = np.concatenate((known[known > 0], np.arange(catalog.size - len(catalog.new), catalog.size) + 1))
            values = np.concatenate((value[known > 0], new[row]))
            order = np.argsort(-values, kind="stable")
            order = order[requests.is_permitted(row, items[order])]
            lists.append((items[order], values[order]))
        return lists
