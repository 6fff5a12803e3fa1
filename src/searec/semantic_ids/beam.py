"""Search among the identifiers of a catalogue: beams that never leave the trie, and exact scores of given items.

A code competes with its siblings in the trie, so that the probabilities of all items sum to one: a softmax over items
by the hierarchy of their codes.
"""

from typing import Protocol

import torch
from torch import Tensor

from searec.nn.sets import is_in
from searec.semantic_ids.trie import Trie


class CodeDecoder(Protocol):
    """Writes identifiers code by code for B queries, with any number of beams each."""

    def step(self, codes: Tensor | None, parent: Tensor | None) -> Tensor:
        """Return a score for each code that may come next, [B, K, C], up to a constant per beam.

        Args:
            codes: [B, K] what each beam wrote last, None in the first step, which has one beam a query.
            parent: [B, K] the beam of the step before that each one goes on from.
        """
        ...


@torch.no_grad()
def search(writer: CodeDecoder, trie: Trie, beams: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the best identifiers by beam search; exact if no prefix of the best is pruned.

    Args:
        writer: scores the next codes.
        trie: the identifiers of the catalogue.
        beams: kept after each code.
        exclude: [B, E] items not to give, 0 pads.

    Returns:
        items [B, K], best first, 0 where there are no more; log-probabilities [B, K], -inf there.
    """
    if exclude is not None and not exclude.shape[1]:
        exclude = None
    total, node, codes, parent = None, None, None, None
    for level in range(trie.depth):
        scores = writer.step(codes, parent)  # (B, K, C)
        if node is None or total is None:
            node = torch.zeros(scores.shape[:2], dtype=torch.long, device=scores.device)
            total = torch.zeros(scores.shape[:2], device=scores.device)
        place, name, exists = trie.children(level, node)  # (B, K, W)
        value = _siblings(scores, name, exists) + total[..., None]
        value, place = value.flatten(1), place.flatten(1)
        if level == trie.depth - 1 and exclude is not None:
            value.masked_fill_(is_in(place, trie.leaves_of(exclude)), -torch.inf)
        total, pick = value.topk(min(beams, value.shape[1]), dim=1)
        if level < trie.depth - 1:  # only beams that some query still has
            alive = int((~total.isneginf()).sum(1).max())
            total, pick = total[:, :alive], pick[:, :alive]
        parent, node, codes = pick // name.shape[2], place.gather(1, pick), name.flatten(1).gather(1, pick)
    assert total is not None and node is not None
    return torch.where(total.isneginf(), 0, trie.items[node]).long(), total


@torch.no_grad()
def score(writer: CodeDecoder, trie: Trie, items: Tensor) -> Tensor:
    """Return the log-probability of each item's identifier, [B, N]; -inf for items without one.

    A prefix that several items of a query share is written once.

    Args:
        writer: scores the next codes.
        trie: the identifiers of the catalogue.
        items: [B, N]; 0 pads.
    """
    leaves = trie.leaves_of(items)
    exists = leaves >= 0
    leaves, order = leaves.clamp(min=0).sort(dim=1)  # equal prefixes are then neighbours at every depth
    rows, number = leaves.shape
    total = torch.zeros(rows, number, device=items.device)
    slot = torch.zeros_like(leaves)
    codes, parent = None, None
    node = torch.zeros(rows, 1, dtype=torch.long, device=items.device)  # (B, n) of each prefix
    for level, path in enumerate(trie.path(leaves)):
        scores = writer.step(codes, parent).float()  # (B, n, C)
        _, siblings, some_siblings = trie.children(level, node)
        whole = scores.gather(2, siblings).masked_fill_(~some_siblings, -torch.inf).logsumexp(2)  # (B, n)
        name = trie.codes[level][path].long()
        total += scores.flatten(1).gather(1, slot * scores.shape[2] + name) - whole.gather(1, slot)
        if level == trie.depth - 1:
            break
        fresh = torch.zeros_like(slot)
        fresh[:, 1:] = path[:, 1:] != path[:, :-1]
        slot_of = fresh.cumsum(1)
        width = int(slot_of[:, -1].max()) + 1
        codes = torch.zeros(rows, width, dtype=torch.long, device=items.device).scatter_(1, slot_of, name)
        parent = torch.zeros_like(codes).scatter_(1, slot_of, slot)
        node = torch.zeros_like(codes).scatter_(1, slot_of, path)
        slot = slot_of
    return torch.empty_like(total).scatter_(1, order, total).masked_fill_(~exists, -torch.inf)


def _siblings(scores: Tensor, name: Tensor, exists: Tensor) -> Tensor:
    """[B, K, W] log-probability of each child among its siblings, -inf where there is none."""
    value = scores.float().gather(2, name).masked_fill_(~exists, -torch.inf)
    return value.log_softmax(2)
