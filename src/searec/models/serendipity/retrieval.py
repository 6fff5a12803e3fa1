"""What the channels of the serendipity model search, and the items near a user's interests."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from searec.data.ragged import Ints
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

    def new_to(self, touched: Ints, groups: Ints) -> NDArray[np.bool_]:
        """Return whether groups [n] have categories and none of them is one of an item that the user clicked.

        Args:
            touched: [T] items the user clicked, 0 pads.
            groups: [n].
        """
        known = np.zeros(self.categories + 1, dtype=bool)
        known[self.group_level[self.groups.of_item[touched]]] = True
        known[0] = False
        categories = self.group_level[groups]
        return np.asarray(categories.any(axis=1) & ~known[categories].any(axis=1))

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
        carrying, place = self.groups.carriers.take((meant * (confidence > 0)[:, None]).ravel())
        owner, group = np.divmod(
            np.unique(place // meant.shape[1] * len(self.group_level) + carrying), len(self.group_level)
        )
        new = self.new_to(touched, group)
        owner, group = owner[new], group[new]
        cosine = np.einsum("nd,nd->n", self.group_interests[group], interests[owner])
        by_owner = np.lexsort((-cosine, owner))
        by_owner = by_owner[cosine[by_owner] > 0]
        items, place = self.groups.lay_out(group[by_owner], owner[by_owner], reach)
        interest = owner[by_owner][place]
        strength = cosine[by_owner][place] * confidence[interest]
        ranking = np.argsort(-strength, kind="stable")
        ranking = ranking[~np.isin(items[ranking], exclude)]
        ranking = ranking[np.sort(np.unique(items[ranking], return_index=True)[1])]
        if order == "user":
            ranking = ranking[np.argsort(-(self.items[items[ranking]] @ user), kind="stable")]
        return items[ranking[:k]], interest[ranking[:k]]
