"""What the channels of the serendipity model search, and the items near a user's interests."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from searec.models.serendipity.batch_interests import untouched
from searec.nn.sets import is_first, is_in
from searec.retrieval.item_groups import ItemGroups
from searec.retrieval.quota_pool import Pool, merge
from searec.retrieval.vector_index import VectorIndex, products


@dataclass(frozen=True)
class InterestPool:
    """The merged items of both channels.

    Attributes:
        pool: the items.
        interest: [B, k] the interest that each item of the second channel matches, by its place among the user's
            interests from 0; -1 elsewhere.
        score: [B, k] of the model.
    """

    pool: Pool
    interest: Tensor
    score: Tensor


@dataclass(frozen=True)
class Channels:
    """The items of each channel, before they are merged.

    Attributes:
        usual: [B, n] items by behaviour (U2I), best first, 0 for none.
        usual_score: [B, n] of each.
        interesting: [B, m] items by interest (I2I), best first, 0 for none.
        interesting_score: [B, m] of each.
        interest: [B, m] the interest that each of the latter matches.
    """

    usual: Tensor
    usual_score: Tensor
    interesting: Tensor
    interesting_score: Tensor
    interest: Tensor

    def merged(self, k: int, quota: float) -> InterestPool:
        """Return k items of both channels.

        Args:
            k: items per request.
            quota: share of I2I.
        """
        pool = merge(self.usual, self.interesting, k, quota)
        score = _at(self.usual_score, pool.place)
        if self.interest.shape[1]:
            score = torch.where(pool.second, _at(self.interesting_score, pool.place), score)
        interest = _at(self.interest, pool.place).masked_fill(~pool.second, -1)
        return InterestPool(pool, interest, score.masked_fill(pool.items == 0, -torch.inf))


def _at(values: Tensor, place: Tensor) -> Tensor:
    """[B, k] of values [B, n] at places; some value at places past the end."""
    return values.gather(1, place.clamp(max=values.shape[1] - 1)) if values.shape[1] else place


@dataclass(frozen=True)
class Tables:
    """What the channels search.

    Attributes:
        items: [I + 1, D'] item vectors.
        by_item: their index.
        groups: items of equal categories.
        by_interest: index of the groups' own interests.
    """

    items: Tensor
    by_item: VectorIndex
    groups: ItemGroups
    by_interest: VectorIndex


def items_by_interest(
    tables: Tables,
    users: Tensor,
    interests: Tensor,
    confidence: Tensor,
    touched: Tensor,
    item_level: Tensor,
    item_given: Tensor,
    meant: Tensor,
    exclude: Tensor,
    k: int,
    *,
    reach: int,
    order: Literal["user", "interest"],
    categories: int,
) -> tuple[Tensor, Tensor]:
    """Return items near the interests that carry them, of categories that the user has not touched.

    Args:
        tables: what is searched.
        users: [B, D'] user vectors.
        interests: [B K, D] unit vectors of the users' interests.
        confidence: [B, K] of each interest.
        touched: [B, T] items the user clicked, 0 pads.
        item_level: [I + 1, G] categories of items at the level that decides what is new.
        item_given: [I + 1, G'] categories of items as given, 0 pads.
        meant: [B K, M] categories that each interest means, 0 pads; an item carries one of them.
        exclude: [B, E] items to leave out, 0 pads.
        k: most items per request.
        reach: groups and items looked at per interest.
        order: by the user tower or by nearness to the interest.
        categories: C.

    Returns:
        Items [B, n], best first, 0 where fewer are left; the interest [B, n] that each one matches.
    """
    rows, count = confidence.shape
    near, cosine = tables.by_interest.search(interests, tables.groups.enough(reach))
    first = tables.groups.first[near]
    new = untouched(item_level, touched, first.view(rows, -1), categories).view_as(near)
    carries = (item_given[first][..., None] == meant.masked_fill(meant == 0, -1)[:, None, None]).any(-1).any(-1)
    items, place = tables.groups.lay_out(near.masked_fill(~new | ~carries | (cosine <= 0), 0), reach)
    strength = (cosine.gather(1, place).view(rows, count, -1) * confidence[..., None]).flatten(1)
    items = items.view(rows, -1)
    ranking = strength.argsort(dim=1, descending=True, stable=True)
    strength, items, interest = strength.gather(1, ranking), items.gather(1, ranking), ranking // reach
    valid = (strength > 0) & (items > 0) & ~is_in(items, exclude) & is_first(items)
    value = products(tables.items, items, users) if order == "user" else strength
    best = value.masked_fill(~valid, -torch.inf).topk(min(k, items.shape[1]), dim=1)
    return items.gather(1, best.indices).masked_fill(best.values.isneginf(), 0), interest.gather(1, best.indices)
