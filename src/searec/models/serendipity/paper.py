"""serendipity-paper: two towers over behaviour and inferred interests, as published (arXiv 2508.04032)."""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, DropoutRate, NonNegative, Positive, Share, settings
from searec.data.attributes import user_attributes
from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset, Sizes
from searec.data.schema import Task
from searec.data.split import Split
from searec.data.taxonomy import Level, Taxonomy
from searec.files import cache_folder
from searec.interests.interest_config import InterestSettings
from searec.interests.interest_table import InterestTable
from searec.models.base import Preset
from searec.models.growth import Growth, Rows
from searec.models.search_space import DROPOUT, LEARNING_RATE, Range
from searec.models.serendipity.batch_interests import BatchInterests
from searec.models.serendipity.category_items import CategoryItems
from searec.models.serendipity.known_interests import KnowsInterests
from searec.models.serendipity.retrieval import Channels, Tables, items_by_interest
from searec.nn.dropout import Dropout
from searec.nn.losses import Losses, TargetLoss, target_loss
from searec.nn.pooling import age, masked_mean, newest
from searec.nn.sets import is_in
from searec.nn.softmax import linear_cross_entropy
from searec.retrieval.item_groups import ItemGroups
from searec.retrieval.vector_index import Kind, VectorIndex, products

_ITEMS_AT_ONCE = 1 << 16


class SerendipityPaper(KnowsInterests):
    """User tower and item tower, each over behaviour and interests; two channels, merged by a quota.

    U2I ranks the catalogue by h_u . h_v. I2I takes, for each interest, the items nearest to it among those of
    categories that the user has not touched, and ranks them by h_u . h_v as well (`order`). A training example reads
    the newest interests inferred before it.
    """

    name = "serendipity-paper"
    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    learns = "loss"
    rows: ClassVar[Mapping[str, Rows]] = {
        "item.weight": Rows("items"),
        "category.weight": Rows("categories"),
        "attribute.weight": Rows("attributes"),
        "category_vectors": Rows("categories"),
        **KnowsInterests.interest_rows,
    }
    enumerates = False
    buffer_names = (*KnowsInterests.buffer_names, "attributes", "category_vectors", "item_narrow")
    search_space: ClassVar = {
        "lr": LEARNING_RATE,
        "dropout": DROPOUT,
        "contrast_weight": Range(0.01, 1.0, log=True),
        "temperature": Range(0.03, 1.0, log=True),
    }

    @settings
    class Config(InterestSettings):
        """How interests are made (`InterestSettings`), then the towers and the pool.

        Attributes:
            width, hidden, vector: of embeddings, of the towers' MLPs, and of their output.
            length: newest clicks that the user tower reads.
            loss: "bce" of the target and `negatives` others, as in the paper, or "softmax" over the whole catalogue.
            contrast_weight, temperature: lambda and tau of L_contrast.
            quota: share of the pool that is I2I's.
            level: whose categories decide what is novel, "narrow" or a depth of the tree.
            known: newest clicks that count as touched.
            reach: groups of items of equal categories looked at per interest, and items of those that are new, of each
                group the most clicked first.
            order: of I2I's items, by the "user" tower or by nearness to the "interest".
            index: how the nearest are searched (`retrieval.vector_index`).
        """

        width: Count = 64
        hidden: Count = 128
        vector: Count = 64
        dropout: DropoutRate = 0.1
        init: Positive = 0.02
        length: Count = 50
        negatives: Count = 64
        loss: TargetLoss = "bce"
        contrast_weight: NonNegative = 0.1
        temperature: Positive = 0.1
        quota: Share = 0.1
        level: Level = "narrow"
        known: Count = 500
        reach: Count = 200
        order: Literal["user", "interest"] = "user"
        index: Kind = "auto"

    presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {
        "default": {"loss": "softmax"},
        "paper": {"reasoner": "student", "encoder": "sentence-transformers/clip-ViT-B-32", "snapshots": 2},
    }
    train_presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {
        "default": {"epochs": 10, "batch": 512, "patience": 3, "lr": 3e-3},
        "paper": {"epochs": 20, "batch": 1024, "patience": 5},
    }

    attributes: Tensor  # [U + 1, A] values of all attributes numbered together, 0 where unknown
    category_vectors: Tensor  # [C + 1, E]
    item_narrow: Tensor  # [I + 1, G] narrow categories of items

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.item = nn.Embedding(sizes.items + 1, config.width, padding_idx=0)
        self.recency = nn.Embedding(config.length, 1)
        self.category = nn.Embedding(sizes.categories + 1, config.width, padding_idx=0)
        nn.init.zeros_(self.recency.weight)
        for table in (self.item, self.category):
            nn.init.normal_(table.weight, std=config.init)
            with torch.no_grad():
                table.weight[0] = 0
        self.dropout = Dropout(config.dropout)
        self._tables: Tables | None = None

    @property
    @override
    def needs(self) -> Needs:
        return Needs(clicks=max(self.config.length, self.config.known))

    @property
    @override
    def negatives(self) -> int:
        return int(self.config.negatives) if self.config.loss == "bce" else 0

    # --- artifacts and state ---

    def load_artifacts(self, table: InterestTable, category_vectors: NDArray[np.float32], split: Split) -> None:
        """Load interests and catalogue, and draw the weights that depend on them (from PyTorch's generator).

        Args:
            table: the interests of all users.
            category_vectors: [C + 1, E] of the categories' names, by the encoder of the interests.
            split: whose training clicks are counted.
        """
        self.remember_interests(table, split)
        self.category_vectors = torch.from_numpy(category_vectors)
        for name, tensor in _described(split.data).items():
            setattr(self, name, tensor)
        self._build()

    @override
    def grown_state(self, growth: Growth, described: NDArray[np.float32] | None = None) -> dict[str, Tensor]:
        """Return the state with the catalogue as it is now; new users have no interests yet.

        Args:
            growth: to the data that has grown.
            described: [C + 1, E] of all category names.
        """
        state = growth.gather_all(self.state(), self.rows)
        state |= self.grown_interests(growth) | _described(growth.data)
        if described is not None:
            state["category_vectors"] = torch.from_numpy(described).to(self.device)
        return state

    def _build(self) -> None:
        """Make the towers, whose sizes follow from interests and catalogue."""
        config, width = self.config, self.config.width
        self.interest = nn.Linear(self.interest_vectors.shape[1], width, bias=False)
        self.attribute = nn.Embedding(
            int(self.attributes.max()) + 1 if self.attributes.numel() else 1, width, padding_idx=0
        )
        nn.init.normal_(self.attribute.weight, std=config.init)
        with torch.no_grad():
            self.attribute.weight[0] = 0
        self.ask = nn.Linear(3 * width, width)
        self.user_tower = _tower(4 * width, config.hidden, config.vector, config.dropout)
        self.item_tower = _tower(3 * width, config.hidden, config.vector, config.dropout)

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.load_interests(state)
        self._build()
        super().load_state(state)
        self._tables = None

    @override
    def train(self, mode: bool = True) -> "SerendipityPaper":
        self._tables = None
        return super().train(mode)

    # --- towers ---

    def users(self, batch: Batch, interests: BatchInterests) -> Tensor:
        """Return h_u [B, D']: attributes, behaviour and the interests, pooled by attention from the first two.

        Args:
            batch: B requests.
            interests: of their users.
        """
        items, present = newest(batch.click_item[..., None], batch.click_item != 0, self.config.length)
        items = items[..., 0] * present
        clicked = self.dropout(self.item(items) + self._categories(items))
        weight = self.recency(age(present, self.config.length))[..., 0].masked_fill(~present, -torch.inf)
        weight = torch.where(present.any(1, keepdim=True), weight, 0).softmax(1) * present
        behaviour = torch.einsum("bl,bld->bd", weight, clicked)
        known = self.attributes[batch.user.long()]
        features = torch.cat((self.attribute(known).sum(1), behaviour, masked_mean(clicked, present)), dim=1)
        mapped = self.interest(interests.vectors)  # (B, K, D)
        score = torch.einsum("bd,bkd->bk", self.ask(features), mapped) / self.config.width**0.5
        score = (score + interests.confidence.clamp(min=1e-9).log()).masked_fill(~interests.present, -torch.inf)
        share = torch.where(interests.present.any(1, keepdim=True), score, 0).softmax(1) * interests.present
        pooled = torch.einsum("bk,bkd->bd", share, mapped)
        return self.user_tower(torch.cat((features, pooled), dim=1))  # type: ignore[no-any-return]

    def items(self, ids: Tensor) -> Tensor:
        """Return h_v [n, D'] of items [n]: id, categories, and the item's own interest."""
        return self.item_tower(torch.cat((self.item(ids), self._categories(ids), self.own_interest(ids)), dim=1))  # type: ignore[no-any-return]

    def own_interest(self, ids: Tensor) -> Tensor:
        """Return the own interest [n, D] of items: the mean of their categories' names, mapped as interests."""
        mapped = self.interest(self.category_vectors)  # linear, so that few categories are mapped and not many items
        return (
            F.embedding_bag(self.item_narrow[ids.long()].long(), mapped, mode="sum", padding_idx=0)
            * self._unit[ids.long(), None]
        )

    @functools.cached_property
    def _unit(self) -> Tensor:
        """[I + 1] what makes the sum of an item's category vectors as long as 1; 0 where it has none."""
        total = F.embedding_bag(self.item_narrow.long(), self.category_vectors, mode="sum", padding_idx=0)
        return torch.nan_to_num(1 / total.norm(dim=1), posinf=0.0)

    def _categories(self, ids: Tensor) -> Tensor:
        rows = self.item_narrow[ids.long()].long()
        means = F.embedding_bag(rows.flatten(0, -2), self.category.weight, mode="mean", padding_idx=0)
        return means.view(*ids.shape, -1)

    # --- learning ---

    @override
    def loss(self, batch: Batch) -> Losses:
        """Return L_BCE + lambda L_contrast.

        In L_contrast a user's positive is an item that meets one of the user's interests, drawn by how often it was
        clicked; the other users' positives are negatives unless they meet an interest of the user as well.
        """
        config = self.config
        assert batch.candidates is not None
        interests = self.interests_at(batch.user, batch.time)
        users = self.users(batch, interests)
        if config.loss == "bce":
            ids, place = torch.unique(batch.candidates, return_inverse=True)
            value = target_loss(torch.einsum("bd,bnd->bn", users, self.items(ids)[place]), "bce")
        else:
            everything = torch.arange(1, self.sizes.items + 1, device=users.device)
            value = linear_cross_entropy(users, self.items(everything), batch.target.long() - 1)
        parts: dict[str, Tensor] = {config.loss: value}
        weights: dict[str, float] = {config.loss: 1.0}
        if config.contrast_weight and self.sizes.categories:  # without categories nobody has an interest
            parts["contrast"] = self._contrast(users, interests)
            weights["contrast"] = config.contrast_weight
        return Losses(parts, weights)

    def _contrast(self, users: Tensor, interests: BatchInterests) -> Tensor:
        drawn = self.category_items.draw(interests)
        has_item = drawn > 0
        if int(has_item.sum()) < 2:
            return users.sum() * 0
        users, drawn, interests = users[has_item], drawn[has_item], interests.rows(has_item)
        meets = interests.meets(self.item_given[drawn], self.sizes.categories)
        return _interest_contrast(users, self.items(drawn), meets, self.config.temperature)

    @functools.cached_property
    def category_items(self) -> CategoryItems:
        """The items that meet interests, by category."""
        return CategoryItems.of(self.item_given, self.clicks, self.sizes.categories)

    # --- scoring and retrieval ---

    @torch.no_grad()
    @override
    def score(self, batch: Batch) -> Tensor:
        users = self.users(batch, self.interests_at(batch.user, batch.time))
        vectors = self._indexed().items
        if batch.candidates is None:
            return users @ vectors.T
        return torch.einsum("bd,bnd->bn", users, vectors[batch.candidates.long()])

    @torch.inference_mode()
    @override
    def channels(
        self,
        batch: Batch,
        k: int,
        exclude: Tensor | None = None,
        *,
        interesting: int | None = None,
        interests: BatchInterests | None = None,
    ) -> Channels:
        config, tables = self.config, self._indexed()
        interests = self.interests_at(batch.user, batch.time) if interests is None else interests
        if exclude is None:
            exclude = torch.zeros(len(batch), 1, dtype=torch.long, device=self.device)
        users = self.users(batch, interests)
        near, value = tables.by_item.search(users, k + exclude.shape[1])
        near = near.masked_fill(value.isneginf() | is_in(near, exclude), 0)
        value = value.masked_fill(near == 0, -torch.inf)
        interesting = k if interesting is None else interesting
        if not interesting:
            return Channels(near, value, near[:, :0], value[:, :0], near[:, :0])
        items, interest = items_by_interest(
            tables,
            users,
            F.normalize(self.interest(interests.vectors).flatten(0, 1), dim=1),
            interests.confidence,
            batch.click_item[:, -config.known :],
            self.item_level,
            self.item_given,
            interests.categories.flatten(0, 1),
            exclude,
            interesting,
            reach=config.reach,
            order=config.order,
            categories=self.sizes.categories,
        )
        return Channels(near, value, items, products(tables.items, items, users), interest)

    @property
    def item_vectors(self) -> Tensor:
        """[I + 1, D'] h_v of every item."""
        return self._indexed().items

    @torch.no_grad()
    def _indexed(self) -> Tables:
        """Return what the channels search; it is stored until the model trains again."""
        if self._tables is None:
            vectors = torch.zeros(self.sizes.items + 1, self.config.vector, device=self.device)
            for ids in torch.split(torch.arange(1, self.sizes.items + 1, device=self.device), _ITEMS_AT_ONCE):
                vectors[ids] = self.items(ids)
            groups = ItemGroups.of(torch.cat((self.item_narrow, self.item_level), dim=1), self.clicks)
            group_interests = F.normalize(self.own_interest(groups.first), dim=1)
            folder = cache_folder() / "indexes"
            by_item, by_interest = (
                VectorIndex(table, self.config.index, keep=folder) for table in (vectors, group_interests)
            )
            self._tables = Tables(vectors, by_item, groups, by_interest)
        return self._tables


def _tower(inside: int, hidden: int, out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, out))


def _described(data: Dataset) -> dict[str, Tensor]:
    """The narrow categories of items [I + 1, G], and the attributes of users [U + 1, A]."""
    narrow = Taxonomy.of(data).narrow.pad(np.arange(data.sizes.items + 1)).astype(np.int32)
    return {"item_narrow": torch.from_numpy(narrow), "attributes": torch.from_numpy(user_attributes(data)[1])}


def _interest_contrast(users: Tensor, items: Tensor, meets: Tensor, temperature: float) -> Tensor:
    """InfoNCE over cosine / temperature: each user [n, D] against the items [n, D] drawn for all users.

    meets: [n, n] whether an item meets an interest of a user; other users' items that do are no negatives.
    """
    logits = F.normalize(users, dim=1) @ F.normalize(items, dim=1).T / temperature
    other = ~torch.eye(len(items), dtype=torch.bool, device=items.device)
    return F.cross_entropy(logits.masked_fill(meets & other, -torch.inf), torch.arange(len(items), device=items.device))
