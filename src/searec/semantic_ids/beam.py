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

    What follows of itself, because one identifier alone begins so, is not computed.

    Args:
        writer: scores the next codes.
        trie: the identifiers of the catalogue.
        beams: kept after each code.
        exclude: [B, E] items not to give, 0 pads.

    Returns:
        items [B, K], best first, 0 where there are no more; log-probabilities [B, K], -inf there.
    """
    barred = None
    if exclude is not None and exclude.shape[1]:
        barred = trie.leaves_of(exclude)
        barred = torch.where(barred < 0, len(trie), barred)
    scores = writer.step(None, None)  # (B, 1, C)
    rows, device = len(scores), scores.device
    total = torch.zeros(rows, 1, device=device)
    node, slot, codes = (torch.zeros(rows, 1, dtype=torch.long, device=device) for _ in range(3))
    leaf = torch.full_like(node, -1)  # of a beam that can only be ended in one way; it takes no more steps
    for level in range(trie.depth):
        is_open = leaf < 0
        width = int(is_open.sum(1).max())
        if not width:
            break
        picked = is_open.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
        if level:
            scores = writer.step(codes.gather(1, picked), slot.gather(1, picked))  # (B, W, C)
        place, name, exists = trie.children(level, node.gather(1, picked))  # (B, W, N)
        before = total.masked_fill(~is_open, -torch.inf).gather(1, picked)
        value, place = (_siblings(scores, name, exists) + before[..., None]).flatten(1), place.flatten(1)
        old = total.masked_fill(is_open, -torch.inf)
        if barred is not None and level == trie.depth - 1:
            value, old = (part.masked_fill(is_in(of, barred), -torch.inf) for part, of in ((value, place), (old, leaf)))
        value = torch.cat((value, old), dim=1)
        total, pick = value.topk(min(beams, value.shape[1]), dim=1)
        alive = max(1, int((~total.isneginf()).sum(1).max()))  # only beams that some query still has
        total, pick = total[:, :alive], pick[:, :alive]
        is_new = pick < place.shape[1]
        ended = leaf.gather(1, (pick - place.shape[1]).clamp(min=0))
        step = pick.clamp(max=place.shape[1] - 1)
        node, codes, slot = place.gather(1, step), name.flatten(1).gather(1, step), step // name.shape[2]
        leaf = torch.where(is_new, trie.only_leaf(level + 1, node), ended)
        leaf = torch.where(total.isneginf(), 0, leaf)
    if barred is not None:
        total = total.masked_fill(is_in(leaf, barred), -torch.inf)
    total, order = total.sort(dim=1, descending=True, stable=True)
    return torch.where(total.isneginf(), 0, trie.items[leaf.gather(1, order)]).long(), total


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
