"""Heads that write an identifier code by code after a state of the event trunk."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.semantic_ids.trie import Trie


class CodeHeads(nn.Module):
    """One small head for each place of an identifier: it reads the state and the sum of the codes before.

    Args:
        width: D.
        inner: hidden width.
        places: codes of an identifier, K.
        tokens: codes in all codebooks, T.
    """

    def __init__(self, width: int, inner: int, places: int, tokens: int) -> None:
        super().__init__()
        self.of_state = nn.ModuleList(nn.Linear(width, inner) for _ in range(places))
        self.of_prefix = nn.ModuleList(nn.Linear(width, inner, bias=False) for _ in range(1, places))
        self.out = nn.ModuleList(nn.Linear(inner, width) for _ in range(places))
        self.bias = nn.Parameter(torch.zeros(tokens))

    def forward(self, place: int, state: Tensor, prefix: Tensor, table: Tensor, block: slice) -> Tensor:
        """Return a score for each code of a place, [..., C].

        Args:
            place: from 0.
            state: [..., D], or [B, 1, D] of all prefixes of a row.
            prefix: [..., D] sum of the vectors of the codes before.
            table: [T, D] vectors of all codes.
            block: rows of the place's codes.
        """
        hidden = self.of_state[place](state) + (self.of_prefix[place - 1](prefix) if place else 0.0)
        scores: Tensor = F.linear(state + self.out[place](F.relu(hidden)), table[block], self.bias[block])
        return scores

    def cross_entropy(self, state: Tensor, items: Tensor, table: Tensor, blocks: Sequence[slice], trie: Trie) -> Tensor:
        """Return the mean of -log p(identifier | state), each code among its siblings in the trie.

        Args:
            state: [n, D].
            items: [n] internal ids.
            table: [T, D] vectors of all codes.
            blocks: rows of the codes of each place.
            trie: the identifiers.
        """
        path = trie.path(trie.leaves_of(items))
        node, prefix = torch.zeros_like(path[0]), torch.zeros_like(state)
        total = state.new_zeros(())
        for place, (child, block) in enumerate(zip(path, blocks, strict=True)):
            code = trie.codes[place][child].long()
            rows = torch.nonzero(trie.first[place][node + 1] - trie.first[place][node] > 1).squeeze(1)
            if len(rows):  # a code without siblings is certain
                scores = self(place, state[rows], prefix[rows], table, block)
                _, siblings, exists = trie.children(place, node[rows])
                log_sum = scores.gather(1, siblings).masked_fill(~exists, -torch.inf).logsumexp(1)
                total = total + (log_sum - scores.gather(1, code[rows, None])[:, 0]).sum()
            prefix, node = prefix + vectors_of(table, block, code), child
        mean: Tensor = total / len(items)
        return mean


def vectors_of(table: Tensor, block: slice, codes: Tensor) -> Tensor:
    """Return the vectors [..., D] of codes as they are read, as large as states.

    Args:
        table: [T, D] vectors of all codes.
        block: rows of the codes.
        codes: [...].
    """
    vectors: Tensor = table[block.start + codes] * table.shape[1] ** 0.5
    return vectors


class CodeWriter:
    """Writes identifiers after states (`semantic_ids.beam.CodeDecoder`).

    Args:
        heads: that score the codes.
        state: [B, D].
        table: [T, D] vectors of all codes.
        blocks: rows of the codes of each place.
    """

    def __init__(self, heads: CodeHeads, state: Tensor, table: Tensor, blocks: Sequence[slice]) -> None:
        self._heads, self._state, self._table, self._blocks = heads, state[:, None], table, blocks
        self._prefix = torch.zeros_like(self._state)
        self._place = 0

    def step(self, codes: Tensor | None, parent: Tensor | None) -> Tensor:
        """Return a score for each code that may come next, [B, K, C].

        Args:
            codes: [B, K] what each beam wrote last; None in the first step.
            parent: [B, K] the beam of the step before that each one continues.
        """
        if codes is not None and parent is not None:
            before = self._prefix.gather(1, parent[..., None].expand(-1, -1, self._prefix.shape[2]))
            self._prefix = before + vectors_of(self._table, self._blocks[self._place - 1], codes)
        scores: Tensor = self._heads(self._place, self._state, self._prefix, self._table, self._blocks[self._place])
        self._place += 1
        return scores
