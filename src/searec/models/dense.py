"""dense: the meaning of the query against the meaning of the item, by a sentence encoder."""

import functools
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from searec.config import settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset, Sizes
from searec.data.schema import Task
from searec.data.split import Split
from searec.models.base import FittedModel
from searec.models.growth import Growth
from searec.text.encoder import DEFAULT, Encoder


class Dense(FittedModel):
    """Cosine of the encoded query and the encoded item text (title, brand, categories, description)."""

    name = "dense"
    tasks: ClassVar[tuple[Task, ...]] = ("search",)
    channel = "dense"
    arrays: ClassVar[tuple[str, ...]] = ("vectors",)
    vectors: Tensor  # [I + 1, D]

    @settings
    class Config:
        """encoder: "minilm", or a sentence-transformers model by hub name or path."""

        encoder: str = DEFAULT

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)

    @functools.cached_property
    def text_encoder(self) -> Encoder:
        """The encoder of queries and items."""
        return Encoder(self.config.encoder)

    @property
    def item_vectors(self) -> Tensor:
        """[I + 1, D] unit vectors of the items' texts."""
        return self.vectors

    @property
    @override
    def needs(self) -> Needs:
        return Needs(text=True)

    @override
    def fit(self, data: Dataset, split: Split) -> None:
        items = torch.from_numpy(self.text_encoder.encode(data.item_texts()))
        self.set_arrays(vectors=torch.cat((torch.zeros(1, items.shape[1]), items)))

    @override
    def grown_state(self, growth: Growth, described: Any = None) -> dict[str, Tensor]:
        """Return the state of a model that is fitted to the texts of the items as they are now."""
        fresh = type(self)(self.config, growth.data.sizes)
        fresh.fit(growth.data, Split(growth.data))
        return fresh.state()

    @override
    def score(self, batch: Batch) -> Tensor:
        query = torch.from_numpy(self.text_encoder.encode(batch.query_text)).to(self.vectors.device)
        if batch.candidates is None:
            return query @ self.vectors.T
        return torch.einsum("bd,bnd->bn", query, self.vectors[batch.candidates.long()])
