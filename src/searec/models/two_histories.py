"""What models of a feed history and a search history share: settings, batches and first weights."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from typing_extensions import override

from searec.config import Count, DropoutRate, Natural, NonNegative, settings
from searec.data.batch import Needs
from searec.models.base import ItemEmbeddings, Model, Preset
from searec.models.growth import Rows


@settings
class TwoHistoriesConfig:
    """Sizes of a model of two histories.

    Attributes:
        width: of all vectors.
        heads, inner: of the Transformer layers.
        dropout, attention_dropout: shares dropped.
        init: standard deviation of the first embeddings; 0 for Xavier's, which goes by the size of each table.
        feed, searches: newest feed clicks and search sessions read (R_u, S_u).
        search_clicks: clicks read of a session.
        words: read of a query.
        negatives: for each positive.
    """

    width: Count = 64
    heads: Count = 2
    inner: Count = 64
    dropout: DropoutRate = 0.1
    attention_dropout: DropoutRate = 0.1
    init: NonNegative = 0.0
    feed: Count = 20
    searches: Natural = 20
    search_clicks: Count = 5
    words: Count = 8
    negatives: Count = 4


PUBLISHED: Mapping[str, Any] = {"epochs": 100, "batch": 1024, "patience": 5, "weight_decay": 1e-5}
"""How the papers train: Adam with the rate and the patience of the defaults, until validation stops."""


class TwoHistoriesModel(ItemEmbeddings, Model):
    """A ranker whose Config is a `TwoHistoriesConfig`."""

    learns = "loss"
    role = "ranker"
    rows: ClassVar[Mapping[str, Rows]] = {
        "item.weight": Rows("items"),
        "user.weight": Rows("users"),
        "word.weight": Rows("words"),
    }
    train_presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {
        "default": PUBLISHED,
        "paper": PUBLISHED,
    }
    user: nn.Embedding

    @property
    @override
    def needs(self) -> Needs:
        config = self.config
        words = config.words if config.searches else 0
        return Needs(feed=config.feed, searches=config.searches, search_clicks=config.search_clicks, words=words)

    @property
    @override
    def negatives(self) -> int:
        return int(self.config.negatives)

    @property
    def layer_sizes(self) -> dict[str, Any]:
        """The settings of each Transformer layer."""
        names = ("heads", "inner", "dropout", "attention_dropout")
        return {name: getattr(self.config, name) for name in names}

    def draw_embeddings(self, *tables: nn.Embedding) -> None:
        """Draw the first embeddings of some tables; those of padding are zero."""
        for table in tables:
            if self.config.init:
                nn.init.normal_(table.weight, std=self.config.init)
            else:
                nn.init.xavier_normal_(table.weight)
            if table.padding_idx is not None:
                with torch.no_grad():
                    table.weight[table.padding_idx] = 0
