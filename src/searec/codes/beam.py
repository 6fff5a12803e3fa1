"""Search among the identifiers of a catalogue: beams that never leave the trie, and exact scores of given items."""

from typing import Protocol

import torch
from torch import Tensor

from searec.codes.trie import Trie


class Writer(Protocol):
    """Writes identifiers code by code for B queries, with any number of beams each."""

    def step(self, codes: Tensor | None, parent: Tensor | None) -> Tensor:
        """[B, K, C] log-probabilities of the codes that may come next.

        Args:
            codes: [B, K] what each beam wrote last, None in the first step, which has one beam a query.
            parent: [B, K] the beam of the step before that each one goes on from.
        """
        ...


@torch.no_grad()
def search(writer: Writer, trie: Trie, beams: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The best identifiers that beam search finds; exact where no prefix among the best has to be left out.

    Args:
        beams: kept after each code.
        exclude: [B, E] items not to give, 0 pads.

    Returns:
        items [B, K], best first, 0 where there are no more; log-probabilities [B, K], -inf there.
    """
    if exclude is not None and not exclude.shape[1]:
        exclude = None
    total, node, codes, parent = None, None, None, None
    for level in range(trie.depth):
        chances = writer.step(codes, parent)  # (B, K, C)
        if node is None or total is None:
            node = torch.zeros(chances.shape[:2], dtype=torch.long, device=chances.device)
            total = torch.zeros(chances.shape[:2], device=chances.device)
        begin = trie.first[level][node].long()
        count = trie.first[level][node + 1] - begin
        width = int(count.max())
        step = torch.arange(width, device=node.device)
        place = (begin[..., None] + step).clamp_(max=len(trie.codes[level]) - 1)  # (B, K, W)
        name = trie.codes[level][place].long()
        value = (chances.float().gather(2, name) + total[..., None]).masked_fill_(step >= count[..., None], -torch.inf)
        value, place = value.flatten(1), place.flatten(1)
        if level == trie.depth - 1 and exclude is not None:
            value.masked_fill_(_among(place, trie.leaves_of(exclude)), -torch.inf)
        total, pick = value.topk(min(beams, value.shape[1]), dim=1)
        if level < trie.depth - 1:  # only beams that some query still has
            alive = int((~total.isneginf()).sum(1).max())
            total, pick = total[:, :alive], pick[:, :alive]
        parent, node, codes = pick // width, place.gather(1, pick), name.flatten(1).gather(1, pick)
    assert total is not None and node is not None
    return torch.where(total.isneginf(), 0, trie.items[node]).long(), total


@torch.no_grad()
def score(writer: Writer, trie: Trie, items: Tensor) -> Tensor:
    """[B, N] log-probability of each item's identifier; -inf for items that have none.

    A prefix that several items of a query share is written once.

    Args:
        items: [B, N]; 0 pads.
    """
    leaves = trie.leaves_of(items)
    some = leaves >= 0
    leaves, order = leaves.clamp(min=0).sort(dim=1)  # in the order of leaves, equal prefixes stand together at every depth
    rows, number = leaves.shape
    total = torch.zeros(rows, number, device=items.device)
    slot = torch.zeros_like(leaves)
    codes, parent = None, None
    for level, node in enumerate(trie.path(leaves)):
        chances = writer.step(codes, parent).float()  # (B, n, C)
        name = trie.codes[level][node].long()
        total += chances.flatten(1).gather(1, slot * chances.shape[2] + name)
        if level == trie.depth - 1:
            break
        fresh = torch.zeros_like(slot)
        fresh[:, 1:] = node[:, 1:] != node[:, :-1]
        mine = fresh.cumsum(1)
        width = int(mine[:, -1].max()) + 1
        codes = torch.zeros(rows, width, dtype=torch.long, device=items.device).scatter_(1, mine, name)
        parent = torch.zeros_like(codes).scatter_(1, mine, slot)
        slot = mine
    return torch.empty_like(total).scatter_(1, order, total).masked_fill_(~some, -torch.inf)


def _among(values: Tensor, known: Tensor) -> Tensor:
    """[B, M] whether each value [B, M] stands in its row of `known` [B, E]; negative ones never do."""
    known = known.sort(dim=1).values.contiguous()
    place = torch.searchsorted(known, values.contiguous()).clamp_(max=known.shape[1] - 1)
    return known.gather(1, place) == values
