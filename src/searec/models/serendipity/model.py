"""serendipity: two towers over behaviour and inferred interests, with a channel of novel items (arXiv 2508.04032)."""

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
from searec.data.batch import Batch, Needs
from searec.data.dataset import Sizes
from searec.data.growth import Growth, Rows
from searec.data.ragged import Ragged
from searec.data.schema import Task
from searec.data.split import Split
from searec.data.taxonomy import Level
from searec.errors import RunError
from searec.files import cache_folder
from searec.interests.interest_config import InterestSettings
from searec.interests.interest_table import InterestTable
from searec.models.base import Model, Preset
from searec.models.search_space import DROPOUT, LEARNING_RATE, Range
from searec.models.serendipity.batch_interests import BatchInterests, newest_snapshot
from searec.models.serendipity.catalogue import catalogue_tensors
from searec.models.serendipity.meeting_items import MeetingItems, interest_contrast
from searec.models.serendipity.retrieval import Channels, InterestPool, Tables
from searec.nn.dropout import Dropout
from searec.nn.losses import Losses, TargetLoss, target_loss
from searec.nn.pooling import age, masked_mean, newest
from searec.nn.sets import is_in
from searec.nn.softmax import linear_cross_entropy
from searec.retrieval.item_groups import ItemGroups
from searec.retrieval.quota_pool import merge
from searec.retrieval.vector_index import Kind, VectorIndex, products

_BUFFERS = (
    "interest_vectors",
    "interest_categories",
    "snapshot_times",
    "snapshot_ids",
    "snapshot_confidence",
    "attributes",
    "category_vectors",
    "item_narrow",
    "item_given",
    "item_level",
    "clicks",
)
_ITEMS_AT_ONCE = 1 << 16


class Serendipity(Model):
    """User tower and item tower, each over behaviour and interests; two channels, merged by a quota.

    U2I ranks the catalogue by h_u . h_v. I2I takes, for each interest, the items nearest to it among those of
    categories that the user has not touched, and ranks them by h_u . h_v as well (`order`). A training example reads
    the newest interests inferred before it.
    """

    name = "serendipity"
    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    learns = "loss"
    artifact = "interests"
    rows: ClassVar[Mapping[str, Rows]] = {
        "item.weight": Rows("items"),
        "category.weight": Rows("categories"),
        "attribute.weight": Rows("attributes"),
        "category_vectors": Rows("categories"),
        **{f"snapshot_{name}": Rows("users") for name in ("times", "ids", "confidence")},
        "clicks": Rows("items", new="zero"),
    }
    channel = "interest"
    enumerates = False
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

    interest_vectors: Tensor  # [M + 1, E]
    interest_categories: Tensor  # [M + 1, G]
    snapshot_times: Tensor  # [U + 1, S]
    snapshot_ids: Tensor  # [U + 1, S, K]
    snapshot_confidence: Tensor  # [U + 1, S, K]
    attributes: Tensor  # [U + 1, A] values of all attributes numbered together, 0 where unknown
    category_vectors: Tensor  # [C + 1, E]
    item_narrow: Tensor  # [I + 1, G] categories of items: the narrow ones, all, and those at the level
    item_given: Tensor
    item_level: Tensor
    clicks: Tensor  # [I + 1] training clicks

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        for name in _BUFFERS:
            self.register_buffer(name, None)
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
        self.interest_vectors = torch.from_numpy(table.vectors)
        self.interest_categories = torch.from_numpy(table.categories.astype(np.int32))
        self.snapshot_times = torch.from_numpy(table.times.astype(np.int64))
        self.snapshot_ids = torch.from_numpy(table.ids.astype(np.int32))
        self.snapshot_confidence = torch.from_numpy(table.confidence)
        self.category_vectors = torch.from_numpy(category_vectors)
        for name, tensor in catalogue_tensors(split.data, self.config.level).items():
            setattr(self, name, tensor)
        counts = np.bincount(split.train_clicks(self.tasks)[1], minlength=self.sizes.items + 1)
        self.clicks = torch.from_numpy(counts.astype(np.int64))
        self._build()

    @override
    def grown_state(self, growth: Growth, described: NDArray[np.float32] | None = None) -> dict[str, Tensor]:
        """Return the state with the catalogue as it is now; new users have no interests yet.

        Args:
            growth: to the data that has grown.
            described: [C + 1, E] of all category names.
        """
        state = growth.gather_all(self.state(), self.rows)
        numbers = torch.from_numpy(growth.numbers("categories").astype(np.int32)).to(self.device)
        state["interest_categories"] = numbers[state["interest_categories"].long()]
        state |= catalogue_tensors(growth.data, self.config.level)
        if described is not None:
            state["category_vectors"] = torch.from_numpy(described).to(self.device)
        return state

    @override
    def click_counts(self) -> Mapping[tuple[Task, ...], Tensor]:
        return {self.tasks: self.clicks}

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
        if missing := [name for name in _BUFFERS if name not in state]:
            raise RunError("weights do not fit the model", where=self.name, got="no " + ", ".join(missing))
        for name in _BUFFERS:
            setattr(self, name, state[name])
        self._build()
        super().load_state(state)
        self._tables = None

    @override
    def train(self, mode: bool = True) -> "Serendipity":
        self._tables = None
        return super().train(mode)

    # --- towers ---

    def interests_at(self, user: Tensor, at: Tensor) -> BatchInterests:
        """Return the newest interests of each user that were inferred at or before a time.

        Args:
            user: [B] internal ids.
            at: [B] microseconds since 1970.
        """
        place = newest_snapshot(self.snapshot_times, user, at)
        row, exists = user.long(), (place >= 0)[:, None]
        ids = self.snapshot_ids[row, place.clamp(min=0)] * exists
        confidence = self.snapshot_confidence[row, place.clamp(min=0)] * exists
        return BatchInterests(self.interest_vectors[ids.long()], confidence, self.interest_categories[ids.long()])

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
        drawn = self.meeting_items.draw(interests)
        has_item = drawn > 0
        if int(has_item.sum()) < 2:
            return users.sum() * 0
        users, drawn, interests = users[has_item], drawn[has_item], interests.rows(has_item)
        meets = interests.meets(self.item_given[drawn], self.sizes.categories)
        return interest_contrast(users, self.items(drawn), meets, self.config.temperature)

    @functools.cached_property
    def meeting_items(self) -> MeetingItems:
        """The items that meet interests, by category."""
        return MeetingItems.of(self.item_given, self.clicks, self.sizes.categories)

    # --- scoring and retrieval ---

    @torch.no_grad()
    @override
    def score(self, batch: Batch) -> Tensor:
        users = self.users(batch, self.interests_at(batch.user, batch.time))
        vectors = self.item_vectors
        if batch.candidates is None:
            return users @ vectors.T
        return torch.einsum("bd,bnd->bn", users, vectors[batch.candidates.long()])

    @torch.inference_mode()
    def pool(
        self,
        batch: Batch,
        k: int,
        exclude: Tensor | None = None,
        *,
        quota: float | None = None,
        interests: BatchInterests | None = None,
    ) -> InterestPool:
        """Return k items per request, of both channels.

        Args:
            batch: B requests.
            k: items per request.
            exclude: [B, E] internal ids to leave out, 0 pads.
            quota: I2I's share; the setting by default.
            interests: in place of those known from training (those of the interest store, for example).
        """
        quota = self.config.quota if quota is None else quota
        lists = self.channels(batch, k, exclude, interesting=k if quota else 0, interests=interests)
        pool = merge(lists.usual, lists.interesting, k, quota)
        width = lists.interest.shape[1]
        matched = lists.interest.gather(1, pool.place.clamp(max=width - 1)) if width else pool.place
        score = products(self.item_vectors, pool.items, lists.users)
        return InterestPool(pool, torch.where(pool.second, matched, -1), score.masked_fill(pool.items == 0, -torch.inf))

    @torch.inference_mode()
    def channels(
        self,
        batch: Batch,
        k: int,
        exclude: Tensor | None = None,
        *,
        interesting: int | None = None,
        interests: BatchInterests | None = None,
    ) -> "Channels":
        """Return the items of each channel before they are merged.

        Args:
            batch: B requests.
            k: most items by behaviour.
            exclude: as of `pool`.
            interesting: most items by interest; k by default.
            interests: as of `pool`.
        """
        config, tables = self.config, self._indexed()
        interests = self.interests_at(batch.user, batch.time) if interests is None else interests
        if exclude is None:
            exclude = torch.zeros(len(batch), 1, dtype=torch.long, device=self.device)
        users = self.users(batch, interests)
        near, value = tables.by_item.search(users, k + exclude.shape[1])
        near = near.masked_fill(value.isneginf() | is_in(near, exclude), 0)
        interesting = k if interesting is None else interesting
        if not interesting:
            return Channels(users, near, near[:, :0], near[:, :0])
        asked = (
            users,
            F.normalize(self.interest(interests.vectors), dim=2),
            interests.confidence,
            interests.categories,
            batch.click_item[:, -config.known :],
            exclude,
        )
        lists = [
            tables.by_interest(*row, interesting, reach=config.reach, order=config.order)
            for row in zip(*(part.cpu().numpy() for part in asked), strict=True)
        ]
        items, interest = (
            torch.from_numpy(Ragged.of([one[part] for one in lists]).pad(np.arange(len(lists)))).to(self.device)
            for part in (0, 1)
        )
        return Channels(users, near, items, interest)

    @override
    def retrieve(self, batch: Batch, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the merged pool as `Model.retrieve`; scores are the towers' and may rise where I2I's items are."""
        merged = self.pool(batch, min(k, self.sizes.items), exclude)
        return merged.pool.items, merged.score

    @property
    def item_vectors(self) -> Tensor:
        """[I + 1, D'] h_v of every item."""
        return self._indexed().by_item.vectors

    @torch.no_grad()
    def _indexed(self) -> Tables:
        """Return what the channels search; it is stored until the model trains again."""
        if self._tables is None:
            vectors = torch.zeros(self.sizes.items + 1, self.config.vector, device=self.device)
            for ids in torch.split(torch.arange(1, self.sizes.items + 1, device=self.device), _ITEMS_AT_ONCE):
                vectors[ids] = self.items(ids)
            by_item = VectorIndex(vectors, self.config.index, keep=cache_folder() / "indexes")
            groups = ItemGroups.of(self.item_given.cpu().numpy(), self.clicks.cpu().numpy(), self.sizes.categories)
            first = torch.from_numpy(groups.first).to(self.device)
            self._tables = Tables(
                by_item,
                vectors.cpu().numpy(),
                groups,
                F.normalize(self.own_interest(first), dim=1).cpu().numpy(),
                self.item_level[first].cpu().numpy(),
                self.sizes.categories,
            )
        return self._tables


def _tower(inside: int, hidden: int, out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, out))
