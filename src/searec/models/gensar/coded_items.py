"""Vectors of items by the codes of their identifiers."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from searec.nn.item_vectors import ItemVectors, NewItems
from searec.semantic_ids.identifiers import Identifiers

_INIT = 0.02


@dataclass(frozen=True)
class NewCodedItems(NewItems):
    """As `NewItems`, and the known item [n] whose codes each one has: the nearest by text and categories."""

    like: Tensor


class CodedItemVectors(ItemVectors):
    """Item vector = sum of the embeddings of its codes, beside what `ItemVectors` has.

    Args:
        items: how many, I.
        width: D.
        id_dropout: share of id embeddings hidden in a training step.
        has_ids: whether items have embeddings of their own too.
    """

    item_codes: Tensor  # [I + 1, n] distinct codes of both identifiers of an item

    def __init__(self, items: int, width: int, id_dropout: float, *, has_ids: bool) -> None:
        super().__init__(items, width, id_dropout)
        self.code: nn.Embedding | None = None
        if not has_ids:
            nn.init.zeros_(self.id.weight)
            self.id.weight.requires_grad_(False)

    def encode(self, identifiers: Identifiers) -> None:
        """Set the codes of all items, and draw embeddings of new codebooks (from PyTorch's generator).

        Args:
            identifiers: of all items.
        """
        tokens = identifiers.codes + identifiers.blocks(0)[:, None]
        second = tokens[1, :, :0] if identifiers.one else tokens[1, :, identifiers.shared :]
        codes = torch.from_numpy(np.concatenate((tokens[0], second), axis=1).astype(np.int64))
        self.register_buffer("item_codes", codes.to(self.id.weight.device), persistent=False)
        if self.code is None or self.code.num_embeddings != identifiers.tokens:
            self.code = nn.Embedding(identifiers.tokens, self.id.embedding_dim, device=self.id.weight.device)
            nn.init.normal_(self.code.weight, std=_INIT)

    @override
    def forward(self, items: Tensor | None = None) -> Tensor:
        return super().forward(items) + self._of_codes(self.item_codes if items is None else self.item_codes[items])

    def _of_codes(self, codes: Tensor) -> Tensor:
        assert self.code is not None
        return F.embedding_bag(codes, self.code.weight, mode="sum")

    def coded(self, items: NewItems) -> NewCodedItems:
        """Return new items with the codes of the known ones that are nearest by text and categories."""
        known = self.of_new(
            None if self.text is None else self.text[1:], None if self.category_ids is None else self.category_ids[1:]
        )
        like = (F.normalize(items.vectors, dim=1) @ F.normalize(known, dim=1).T).argmax(1) + 1
        return NewCodedItems(items.vectors + self._of_codes(self.item_codes[like]), items.text, like)
