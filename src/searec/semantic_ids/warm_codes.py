"""First embeddings of codes, from where their codebooks put them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def warm(table: Tensor, vectors: Tensor, books: Sequence[int]) -> None:
    """Give the embeddings of codes the geometry of their codebooks, in place: codes that lie close start close.

    All are turned by one random rotation (from PyTorch's generator); each codebook is centred, and as large as its
    embeddings were.

    Args:
        table: [T, D] embeddings of all codes.
        vectors: [T, E] where each code is; a codebook of zeros keeps its embeddings.
        books: codes in each codebook, in order; T in all.
    """
    turn = nn.init.orthogonal_(torch.empty(vectors.shape[1], table.shape[1]))
    for rows, places in zip(torch.split(table, list(books)), torch.split(vectors, list(books)), strict=True):
        if places.any():
            turned = (places - places.mean(0)) @ turn
            rows.copy_(turned * (rows.std() / turned.square().mean().sqrt()))
