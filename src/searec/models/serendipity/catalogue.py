"""What a model holds of the catalogue: the categories of items."""

import numpy as np
import torch
from torch import Tensor

from searec.data.dataset import Dataset
from searec.data.taxonomy import Level, Taxonomy


def item_categories(data: Dataset, level: Level) -> dict[str, Tensor]:
    """Return the categories of items, [I + 1, G] each with 0 pads: item_given, all of them, and item_level.

    Args:
        data: the dataset.
        level: whose categories decide what is novel.
    """
    taxonomy, items = Taxonomy.of(data), np.arange(data.sizes.items + 1)
    categories = {"item_given": taxonomy.given, "item_level": taxonomy.at(level)}
    return {name: torch.from_numpy(rows.pad(items).astype(np.int32)) for name, rows in categories.items()}
