"""What the channels of the serendipity model search, and the items near a user's interests."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from searec.data.ragged import Ints, Ragged
from searec.data.ragged import group as by_owner
from searec.retrieval.item_groups import ItemGroups
from searec.retrieval.quota_pool import Pool
from searec.retrieval.vector_index import VectorIndex

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class InterestPool:
    """The merged items of both channels.

    Attributes:
        pool: the items.
        interest: [B, k] the interest that each item of the second channel matches, by its place among the user's
            interests from 0; -1 elsewhere.
        score: [B, k] of the towers.
    """

    pool: Pool
    interest: Tensor
    score: Tensor


@dataclass(frozen=True)
class Channels:
    """The items of each channel, before they are merged.

    Attributes:
        users: [B, D'] user vectors.
        usual: [B, n] items by behaviour (U2I), best first, 0 for none.
        interesting: [B, m] items by interest (I2I), best first, 0 for none.
        interest: [B, m] the interest that each of the latter matches.
    """

    users: Tensor
    usual: Tensor
    interesting: Tensor
    interest: Tensor


@dataclass(frozen=True)
class Tables:
    """What the channels search.

    Attributes:
        by_item: index of the item vectors.
        items: [I + 1, D'] item vectors, on the CPU.
        groups: items of equal categories.
        group_interests: [G + 1, D] unit vectors of the groups' own interests, row 0 zero.
        group_level: [G + 1, L] categories of the groups at the level that decides what is new, 0 pads.
        categories: C.
    """

    by_item: VectorIndex
    items: Floats
    groups: ItemGroups
    group_interests: Floats
    group_level: Ints
    categories: int

    @cached_property
    def _level_carriers(self) -> Ragged:
        """[C + 1] the groups that have each category at the level; row 0 those that have none."""
        group, column = np.nonzero(self.group_level)
        none = np.flatnonzero(~self.group_level.any(axis=1))
        category = np.concatenate((np.zeros_like(none), self.group_level[group, column]))
        order = np.argsort(category, kind="stable")
        return by_owner(category[order], np.concatenate((none, group))[order], self.categories + 1)

    def new_to(self, touched: Ints) -> NDArray[np.bool_]:
        """Return [G + 1] whether groups have categories and none of them is one of an item that the user clicked.

        Args:
            touched: [T] items the user clicked, 0 pads.
        """
        known = np.zeros(self.categories + 1, dtype=bool)
        known[self.group_level[self.groups.of_item[touched]]] = True
        known[0] = True
        new = np.ones(len(self.group_level), dtype=bool)
        new[self._level_carriers.take(np.flatnonzero(known))[0]] = False
        return new

    def by_interest(
        self,
        user: Floats,
        interests: Floats,
        confidence: Floats,
        meant: Ints,
        touched: Ints,
        exclude: Ints,
        k: int,
        *,
        reach: int,
        order: Literal["user", "interest"],
    ) -> tuple[Ints, Ints]:
        """Return items near the interests of a user that carry them, of categories that the user has not touched.

        Args:
            user: [D'] vector of the user.
            interests: [K, D] unit vectors.
            confidence: [K] of each interest, 0 where there is none.
            meant: [K, M] categories that each interest means, 0 pads; an item carries one of them.
            touched: [T] items the user clicked, 0 pads.
            exclude: [E] items to leave out, 0 pads.
            k: most items.
            reach: items looked at per interest, those of the nearest groups, of each group the best first.
            order: by the user tower or by nearness to the interest.

        Returns:
            Items [n], best first; the interest [n] that each one matches most strongly.
        """
        group, place = self.groups.carriers.take((meant * (confidence > 0)[:, None]).ravel())
        is_new = self.new_to(touched)[group]
        group, owner = group[is_new], place[is_new] // meant.shape[1]
        if ((meant > 0).sum(axis=1) > 1).any():  # a group may carry more than one of them
            owner, group = np.divmod(np.unique(owner * len(self.group_level) + group), len(self.group_level))
        cosine = np.einsum("nd,nd->n", self.group_interests.take(group, axis=0), interests.take(owner, axis=0))
        near = np.flatnonzero(cosine > 0)
        ranked = near[np.argsort(2.0 * owner[near] - cosine[near])]  # by interest, then the nearest
        items, place = self.groups.lay_out(group[ranked], owner[ranked], reach)
        interest = owner[ranked][place]
        strength = cosine[ranked][place] * confidence[interest]
        ranking = np.argsort(-strength, kind="stable")
        ranking = ranking[~np.isin(items[ranking], exclude)]
        ranking = ranking[np.sort(np.unique(items[ranking], return_index=True)[1])]
        if order == "user":
            ranking = ranking[np.argsort(-(self.items[items[ranking]] @ user), kind="stable")]
        return items[ranking[:k]], interest[ranking[:k]]
