"""Similar items: the nearest neighbours of items in a model's vectors, or as the model finds them itself."""

from collections.abc import Collection

import numpy as np
import torch

from searec.data.ragged import Ints
from searec.errors import SettingsError
from searec.metrics.base import Floats
from searec.models.base import Model, best_items, cosines
from searec.models.capabilities import FindsSimilarItems, HasItemVectors, supports


def can_find_similar(model: Model) -> bool:
    """Return whether a model has item vectors or finds neighbours of items by other means."""
    return supports(model, FindsSimilarItems) or supports(model, HasItemVectors)


@torch.no_grad()
def similar_items(model: Model, items: Ints, k: int, exclude: Collection[int] = ()) -> tuple[Ints, Floats]:
    """Return the k items most similar to each item, never the item itself.

    Args:
        model: one that `can_find_similar`: cosines of its item vectors, or scores of its own.
        items: [B] internal ids that the model knows.
        k: how many.
        exclude: internal ids of items that are not returned.

    Returns:
        Internal ids [B, k], best first, 0 where fewer are left; scores [B, k], -inf there.

    Raises:
        SettingsError: the model can do neither, or k is below 1.
    """
    if k < 1:
        raise SettingsError("k is too small", got=k, expected="1 or more")
    ids = torch.from_numpy(np.asarray(items, dtype=np.int64)).to(model.device)
    count = k + len(exclude) + 1
    if supports(model, FindsSimilarItems):
        similar, scores = model.similar_items(ids, count)
    elif supports(model, HasItemVectors):
        vectors = model.item_vectors.to(model.device)
        everything = torch.arange(len(vectors), device=model.device)
        similar, scores = best_items(cosines(vectors, ids) @ cosines(vectors, everything).T, count)
    else:
        raise SettingsError(
            f"{model.name} cannot find similar items",
            expected="a run of a model with item vectors or neighbours, such as itemknn or sasrec",
        )
    best, values = similar.cpu().numpy().astype(np.int64), scores.cpu().numpy().astype(np.float64)
    absent = (best == np.asarray(items)[:, None]) | np.isin(best, list(exclude)) | (best == 0)
    order = np.argsort(absent, axis=1, kind="stable")[:, :k]
    best, values = np.where(absent, 0, best), np.where(absent, -np.inf, values)
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)
