"""What models of a feed history and a search history share: settings, batches, weights, and the loss of the target."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, DropoutRate, Natural, NonNegative, Positive, settings
from searec.data.batch import Batch, Needs
from searec.data.growth import Rows
from searec.models.base import ItemEmbeddings, Model, Preset
from searec.nn.event_vectors import mask_at_random
from searec.nn.losses import TargetLoss, target_loss
from searec.nn.pooling import masked_mean
from searec.nn.softmax import linear_cross_entropy


@settings
class TwoHistoriesConfig:
    """Sizes of a model of two histories.

    Attributes:
        width: of all vectors.
        heads, inner: of the Transformer layers.
        dropout, attention_dropout: shares dropped.
        init: standard deviation of the first embeddings.
        feed, searches: newest feed clicks and search sessions read (R_u, S_u).
        search_clicks: clicks read of a session.
        words: read of a query.
        negatives: for each positive.
    """

    width: Count = 64
    heads: Count = 2
    inner: Count = 64
    dropout: DropoutRate = 0.1
    attention_dropout: DropoutRate = 0.0
    init: Positive = 0.1
    feed: Count = 20
    searches: Natural = 20
    search_clicks: Count = 5
    words: Count = 8
    negatives: Count = 4


@settings
class TargetConfig:
    """How the target is learned where candidates are scored by an MLP.

    Attributes:
        loss: BCE of the target and each negative, as in the paper, or softmax over them.
        match: add the inner product of the candidate with the interests and the user's vectors to the MLP's score,
            which learns products slowly; not in the paper.
        catalogue_weight: of a full softmax over the catalogue by the mean interests and the user's vectors, which
            teaches the embeddings from every item at once; 0 leaves it out; not in the paper.
        user_dropout: share of training examples whose user's own embedding is hidden, so that the rest must do.
    """

    loss: TargetLoss = "bce"
    match: bool = False
    catalogue_weight: NonNegative = 0.0
    user_dropout: DropoutRate = 0.0


TARGET_PRESET: dict[str, Any] = {
    "dropout": 0.3,
    "init": 0.05,
    "loss": "softmax",
    "negatives": 16,
    "match": True,
    "catalogue_weight": 1.0,
    "user_dropout": 0.8,
}
"""Settings of the default preset where `TargetConfig` applies."""


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
        "default": {"epochs": 6, "batch": 512, "patience": 2, "lr": 3e-3, "schedule": "linear"},
        "paper": {"epochs": 100, "batch": 1024, "patience": 5, "weight_decay": 1e-5},
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
            nn.init.normal_(table.weight, std=self.config.init)
            if table.padding_idx is not None:
                with torch.no_grad():
                    table.weight[table.padding_idx] = 0

    def hide_users(self, vectors: Tensor) -> Tensor:
        """Return user embeddings [B, D], in training with a share of them hidden."""
        share = self.config.user_dropout if self.training else 0.0
        return mask_at_random(vectors, share) if share else vectors

    def target_losses(
        self, batch: Batch, scores: Tensor, users: Tensor, states: Sequence[Tensor], present: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return the loss parts that `TargetConfig` names, and their weights.

        Args:
            batch: whose candidates hold the target first.
            scores: [B, N] of the candidates.
            users: [B, E, D] user vectors.
            states: [B, L, D] of each history.
            present: [B, L] where there is a state.
        """
        config = self.config
        parts = {config.loss: target_loss(scores, config.loss)}
        weights: dict[str, float] = {config.loss: 1.0}
        if config.catalogue_weight:
            means = (masked_mean(side, there) for side, there in zip(states, present, strict=True))
            interest = users.sum(1) + sum(means)
            parts["catalogue"] = linear_cross_entropy(interest, self.item.weight[1:], batch.target - 1)
            weights["catalogue"] = config.catalogue_weight
        return parts, weights
