"""Vectors of items: an embedding of its own for each, and what its text and its categories say."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.nn.cached_value import CachedValue

_DESCRIPTION = ("text", "text_mean", "text_scale", "category_ids")
_INIT = 0.02
_TEXT_INIT = 0.16
"""Standard deviation of the map's weights times the root of the text's width: texts begin louder than ids."""


@dataclass(frozen=True)
class NewItems:
    """Items that came after the training: [n, D] vectors, and [n, W] text vectors (None without text)."""

    vectors: Tensor
    text: Tensor | None


class ItemVectors(nn.Module):
    """Item vector = id embedding + linear map of a fixed text vector + mean embedding of its categories.

    Text vectors are standardised by the mean and deviation of the catalogue, for sentence vectors lie close together.

    Args:
        items: how many, I.
        width: D.
        id_dropout: share of id embeddings hidden in a training step, so that text learns to describe it alone.
    """

    text: Tensor | None
    text_mean: Tensor
    text_scale: Tensor
    category_ids: Tensor | None

    def __init__(self, items: int, width: int, id_dropout: float) -> None:
        super().__init__()
        self.id = nn.Embedding(items + 1, width, padding_idx=0)
        self.id_dropout = id_dropout
        _draw(self.id)
        self.map: nn.Linear | None = None
        self.category: nn.EmbeddingBag | None = None
        for name in _DESCRIPTION:
            self.register_buffer(name, None)
        self._standard = CachedValue[Tensor]()

    def describe(self, text: Tensor | None, category_ids: Tensor | None, categories: int) -> None:
        """Set what the items are, and draw the weights that read it (from PyTorch's generator).

        Args:
            text: [I, W] text vectors; None for none.
            category_ids: [I + 1, M] of each item, 0 pads; None for none.
            categories: how many there are, C.
        """
        if text is not None:
            self.text = F.pad(text, (0, 0, 1, 0)).half()
            self.text_mean, self.text_scale = text.mean(0), text.std(0, correction=0).clamp(min=1e-4)
            self._add_map(text.shape[1])
        if category_ids is not None:
            self.category_ids = category_ids
            self._add_categories(categories)

    def _add_map(self, text_width: int) -> None:
        self.map = nn.Linear(text_width, self.id.embedding_dim, bias=False)
        nn.init.normal_(self.map.weight, std=_TEXT_INIT / text_width**0.5)

    def _add_categories(self, categories: int) -> None:
        self.category = nn.EmbeddingBag(categories + 1, self.id.embedding_dim, mode="mean", padding_idx=0)
        _draw(self.category)

    def shape_as(self, state: Mapping[str, Tensor]) -> None:
        """Make the module hold what a state holds, before that is loaded.

        Args:
            state: name in the module -> tensor.
        """
        for name in _DESCRIPTION:
            setattr(self, name, state.get(name))
        if "map.weight" not in state:
            self.map = None
        elif self.map is None:
            self._add_map(state["map.weight"].shape[1])
        if "category.weight" not in state:
            self.category = None
        elif self.category is None:
            self._add_categories(len(state["category.weight"]) - 1)

    def standardised(self, text: Tensor) -> Tensor:
        """Return text vectors [..., W] as the map reads them."""
        return (text.float() - self.text_mean) / self.text_scale

    @torch.no_grad()
    def _all_text(self) -> Tensor:
        """[I + 1, W] the text vectors of all items as the map reads them; they are not learned."""
        text = self.text
        assert text is not None
        standard: Tensor = self._standard(lambda: self.standardised(text), text, self.text_mean)
        return standard

    def forward(self, items: Tensor | None = None) -> Tensor:
        """Return the vectors of all items, [I + 1, D], row 0 without meaning; or of some.

        Args:
            items: [n] internal ids; None for all.
        """
        vectors = self.id.weight if items is None else self.id(items)
        if self.training and self.id_dropout:
            vectors = vectors * (torch.rand(len(vectors), 1, device=vectors.device) >= self.id_dropout)
        if self.map is not None and self.text is not None:
            vectors = vectors + self.map(self._all_text() if items is None else self.standardised(self.text[items]))
        if self.category is not None and self.category_ids is not None:
            vectors = vectors + self.category(self.category_ids if items is None else self.category_ids[items])
        return vectors

    def of_new(self, text: Tensor | None, category_ids: Tensor | None) -> Tensor:
        """Return vectors [n, D] of items without an id embedding.

        Args:
            text: [n, W] text vectors; None if the items have none here.
            category_ids: [n, M], 0 pads; None likewise.
        """
        count = len(text) if text is not None else len(category_ids) if category_ids is not None else 0
        vectors = self.id.weight.new_zeros(count, self.id.embedding_dim)
        if self.map is not None and text is not None:
            vectors = vectors + self.map(self.standardised(text))
        if self.category is not None and category_ids is not None:
            vectors = vectors + self.category(category_ids)
        return vectors


def _draw(table: nn.Embedding | nn.EmbeddingBag) -> None:
    nn.init.normal_(table.weight, std=_INIT)
    with torch.no_grad():
        table.weight[0] = 0
