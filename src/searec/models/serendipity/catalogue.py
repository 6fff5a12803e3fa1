"""What the model holds of the catalogue and the users: the items' categories, and the users' attributes."""

import numpy as np
import torch
from torch import Tensor

from searec.data.attributes import user_attributes
from searec.data.dataset import Dataset
from searec.data.taxonomy import Level, Taxonomy


def catalogue_tensors(data: Dataset, level: Level) -> dict[str, Tensor]:
    """Return item_narrow, item_given and item_level [I + 1, G], and attributes [U + 1, A].

    Args:
        data: the dataset.
        level: whose categories decide what is novel.
    """
    taxonomy, items = Taxonomy.of(data), np.arange(data.sizes.items + 1)
    categories = {"narrow": taxonomy.narrow, "given": taxonomy.given, "level": taxonomy.at(level)}
    tensors = {f"item_{name}": torch.from_numpy(rows.pad(items).astype(np.int32)) for name, rows in categories.items()}
    return {**tensors, "attributes": torch.from_numpy(user_attributes(data)[1])}
