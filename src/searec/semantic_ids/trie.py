"""Trie of a catalogue's identifiers in flat arrays, read for batches of beams at once (after arXiv 2602.22647)."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.errors import DataError


@dataclass(frozen=True)
class Trie:
    """N identifiers of K codes, each of one item; the nodes of a depth are numbered in the order of their prefixes.

    first: for each level l, [n_l + 1] where the children of each node of depth l begin among those of depth l + 1.
    """

    codes: tuple[Tensor, ...]  # for each level l, [n_(l+1)] the code that leads to each node of depth l + 1
    first: tuple[Tensor, ...]
    items: Tensor  # [N] the item of each leaf, ascending by identifier

    @classmethod
    def build(cls, codes: NDArray[np.integer], items: NDArray[np.integer]) -> "Trie":
        """Build the trie.

        Args:
            codes: [N, K] identifiers.
            items: [N] the item of each.

        Raises:
            DataError: two items with one identifier, an item with two, or none at all.
        """
        codes, items = np.asarray(codes), np.asarray(items)
        if not len(codes):
            raise DataError("no identifier to search among", expected="one item at least")
        if len(np.unique(items)) < len(items):
            raise DataError(
                "an item has two identifiers",
                got=f"{len(items)} identifiers",
                expected=f"{len(np.unique(items))}, one an item",
            )
        order = np.lexsort(codes.T[::-1])
        codes, items = codes[order], items[order]
        fresh = np.zeros(len(codes), dtype=bool)  # where a node of the depth at hand begins
        fresh[0] = True
        new = np.flatnonzero(fresh)
        names, starts = [], []
        for level in range(codes.shape[1]):
            parents = new
            fresh[1:] |= codes[1:, level] != codes[:-1, level]
            new = np.flatnonzero(fresh)
            names.append(
                torch.from_numpy(codes[new, level].astype(np.int16 if codes[:, level].max() < 1 << 15 else np.int32))
            )
            starts.append(torch.from_numpy(np.append(np.searchsorted(new, parents), len(new)).astype(np.int32)))
        if len(new) < len(codes):
            row = int(np.flatnonzero(~fresh)[0])
            raise DataError(
                "two items have one identifier",
                where=f"items {items[row - 1]} and {items[row]}",
                got=codes[row].tolist(),
                expected="an identifier of its own for each",
            )
        return cls(tuple(names), tuple(starts), torch.from_numpy(items.astype(np.int32)))

    @property
    def depth(self) -> int:
        """K."""
        return len(self.codes)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in (*self.codes, *self.first, self.items))

    def to(self, device: torch.device | str) -> "Trie":
        """The trie on another device."""
        codes, first = (tuple(array.to(device) for array in arrays) for arrays in (self.codes, self.first))
        return Trie(codes, first, self.items.to(device))

    @functools.cached_property
    def leaves(self) -> Tensor:
        """The leaf of each item, [largest item + 1] int32; -1 where it has none."""
        leaf = torch.full((int(self.items.max()) + 1,), -1, dtype=torch.int32, device=self.items.device)
        leaf[self.items.long()] = torch.arange(len(self), dtype=torch.int32, device=leaf.device)
        return leaf

    @functools.cached_property
    def _only_leaf(self) -> tuple[Tensor, ...]:
        """For each depth from 1 to K, [n_l] the leaf of nodes that lead to one identifier alone, -1 of others."""
        end = torch.arange(len(self) + 1, dtype=torch.int32, device=self.items.device)
        leaves = []
        for first in (*self.first[:0:-1], None):
            leaves.append(torch.where(end[1:] - end[:-1] == 1, end[:-1], -1))
            end = end if first is None else end[first.long()]
        return tuple(leaves[::-1])

    def only_leaf(self, level: int, nodes: Tensor) -> Tensor:
        """Return the leaf [...] of nodes that lead to one identifier alone, -1 of others.

        Args:
            level: depth of the nodes, from 1.
            nodes: [...].
        """
        return self._only_leaf[level - 1][nodes].long()

    def leaves_of(self, items: Tensor) -> Tensor:
        """Return the leaf of each item, [...] int64; -1 where it has none."""
        is_item = (items >= 0) & (items < len(self.leaves))
        return torch.where(is_item, self.leaves[torch.where(is_item, items, 0).long()], -1).long()

    def path(self, leaves: Tensor) -> list[Tensor]:
        """Return the node [...] of each depth 1..K on the path to leaves [...]."""
        nodes = [leaves]
        for first in reversed(self.first[1:]):
            nodes.append(torch.searchsorted(first, nodes[-1].to(first.dtype), right=True) - 1)
        return nodes[::-1]

    def children(self, level: int, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the children [..., W] of nodes, the codes that lead to them, and where there are any.

        Args:
            level: depth of the nodes.
            nodes: [...].
        """
        begin = self.first[level][nodes].long()
        count = self.first[level][nodes + 1] - begin
        step = torch.arange(int(count.max()) if count.numel() else 0, device=nodes.device)
        place = (begin[..., None] + step).clamp_(max=len(self.codes[level]) - 1)
        return place, self.codes[level][place].long(), step < count[..., None]

    def identifiers(self) -> NDArray[np.int32]:
        """Return every identifier, [N, K], in the order of `items`."""
        path = self.path(torch.arange(len(self), device=self.items.device))
        return np.stack(
            [codes[nodes].cpu().numpy() for codes, nodes in zip(self.codes, path, strict=True)], axis=1
        ).astype(np.int32)

    def without(self, items: Sequence[int]) -> "Trie":
        """Return the trie without these items; their identifiers can no longer be generated.

        Raises:
            DataError: none is left.
        """
        keep = ~np.isin(self.items.cpu().numpy(), np.asarray(items))
        return Trie.build(self.identifiers()[keep], self.items.cpu().numpy()[keep]).to(self.items.device)

    def with_items(self, codes: NDArray[np.integer], items: NDArray[np.integer]) -> "Trie":
        """Return the trie with more identifiers.

        Args:
            codes: [n, K].
            items: [n].

        Raises:
            DataError: an identifier is taken, or an item has one already.
        """
        both = np.concatenate((self.identifiers(), codes)), np.concatenate((self.items.cpu().numpy(), items))
        return Trie.build(*both).to(self.items.device)
