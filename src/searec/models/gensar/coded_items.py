"""Vectors of items by the codes of their identifiers."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from searec.nn.item_vectors import ItemVectors
from searec.semantic_ids.identifiers import Identifiers

_INIT = 0.02


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
        assert self.code is not None
        codes = self.item_codes if items is None else self.item_codes[items]
        return super().forward(items) + F.embedding_bag(codes, self.code.weight, mode="sum")
