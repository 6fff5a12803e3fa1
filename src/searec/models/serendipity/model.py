"""serendipity: a dual tower over behaviour and inferred interests, and what the user has not asked for yet (arXiv 2508.04032, Stage 2)."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, DropoutRate, NonNegative, Positive, Share, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Sizes
from searec.data.schema import Task
from searec.data.split import Split
from searec.data.taxonomy import Level, Taxonomy
from searec.errors import RunError
from searec.files import cache_folder
from searec.interests.interest_config import InterestSettings
from searec.interests.interest_table import InterestTable
from searec.models.base import Model, Preset
from searec.models.search_space import DROPOUT, LEARNING_RATE, Range
from searec.models.serendipity.batch_interests import BatchInterests, newest_snapshot, untouched
from searec.nn.dropout import Dropout
from searec.nn.losses import Losses, TargetLoss, target_loss
from searec.nn.pooling import age, masked_mean, newest
from searec.nn.sets import is_first, is_in
from searec.nn.softmax import linear_cross_entropy
from searec.retrieval.item_groups import ItemGroups
from searec.retrieval.quota_pool import Pool, merge
from searec.retrieval.vector_index import Kind, VectorIndex, products

_KEPT = (
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


@dataclass(frozen=True)
class InterestPool:
    """What `Serendipity.pool` gives: the pool, the interest [B, k] that brought each item of the second channel (place among the user's
    interests, from 0; -1 elsewhere), and the towers' score [B, k].
    """

    pool: Pool
    interest: Tensor
    score: Tensor


class Serendipity(Model):
    """User tower and item tower, each over behaviour and interests; two channels, merged by a quota.

    U2I ranks the catalogue by h_u . h_v. I2I takes, for each interest, the items nearest to it among those of categories that the user has
    not touched, and ranks them by h_u . h_v as well (`order`). An example of training reads the newest interests inferred before it.
    """

    name = "serendipity"
    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    learns = "loss"
    artifact = "interests"
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

        width: of embeddings; hidden: of the towers' MLPs; vector: of what they give. length: newest clicks that the user tower reads.
        loss: "bce" of the target and `negatives` others, as in the paper, or the "softmax" over the whole catalogue.
        contrast_weight, temperature: lambda and tau of L_contrast.
        quota: share of the pool that is I2I's. level: whose categories decide what is novel, "narrow" or a depth of the tree.
        known: newest clicks that count as touched.
        reach: for each interest so many groups of items of equal categories are looked at, and so many items of those that are new, of each
            group the most clicked first. order: of I2I's items, by the "user" tower or by nearness to the "interest".
        index: how the nearest are found (`retrieval.index.Index`).
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
        "small": {"loss": "softmax"},
        "paper": {"reasoner": "student", "encoder": "sentence-transformers/clip-ViT-B-32", "snapshots": 2},
    }
    train_presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {
        "small": {"epochs": 10, "batch": 512, "patience": 3, "lr": 3e-3},
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
        for name in _KEPT:
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

    # --- what it is made of ---

    def load_artifacts(self, table: InterestTable, category_vectors: NDArray[np.float32], split: Split) -> None:
        """Take up interests and catalogue, and draw the weights that depend on them (from PyTorch's generator).

        Args:
            category_vectors: [C + 1, E] of the categories' names, by the encoder of the interests.
        """
        taxonomy = Taxonomy.of(split.data)
        self.interest_vectors = torch.from_numpy(table.vectors)
        self.interest_categories = torch.from_numpy(table.categories.astype(np.int32))
        self.snapshot_times = torch.from_numpy(table.times.astype(np.int64))
        self.snapshot_ids = torch.from_numpy(table.ids.astype(np.int32))
        self.snapshot_confidence = torch.from_numpy(table.confidence)
        self.attributes = torch.from_numpy(_numbered(split))
        self.category_vectors = torch.from_numpy(category_vectors)
        items = np.arange(self.sizes.items + 1)
        for name, rows in (
            ("narrow", taxonomy.narrow),
            ("given", taxonomy.given),
            ("level", taxonomy.at(self.config.level)),
        ):
            setattr(self, f"item_{name}", torch.from_numpy(rows.pad(items).astype(np.int32)))
        counts = np.bincount(split.train_clicks(self.tasks)[1], minlength=self.sizes.items + 1)
        self.clicks = torch.from_numpy(counts.astype(np.int64))
        self._build()

    @override
    def click_counts(self) -> Mapping[tuple[Task, ...], Tensor]:
        return {self.tasks: self.clicks}

    def _build(self) -> None:
        """The towers, whose sizes follow from what was taken up."""
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
        if missing := [name for name in _KEPT if name not in state]:
            raise RunError("weights do not fit the model", where=self.name, got="no " + ", ".join(missing))
        for name in _KEPT:
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
        """The newest interests of each user [B] that were inferred at or before a time [B]."""
        place = newest_snapshot(self.snapshot_times, user, at)
        row, some = user.long(), (place >= 0)[:, None]
        ids = self.snapshot_ids[row, place.clamp(min=0)] * some
        confidence = self.snapshot_confidence[row, place.clamp(min=0)] * some
        return BatchInterests(self.interest_vectors[ids.long()], confidence, self.interest_categories[ids.long()])

    def users(self, batch: Batch, interests: BatchInterests) -> Tensor:
        """[B, D'] h_u: attributes, behaviour and the interests, pooled by attention from the first two."""
        items, present = newest(batch.click_item[..., None], batch.click_item != 0, self.config.length)
        items = items[..., 0] * present
        clicked = self.dropout(self.item(items) + self._categories(items))
        weight = self.recency(age(present, self.config.length))[..., 0].masked_fill(~present, -torch.inf)
        weight = torch.where(present.any(1, keepdim=True), weight, 0).softmax(1) * present
        behaviour = torch.einsum("bl,bld->bd", weight, clicked)
        known = self.attributes[batch.user.long()]
        features = torch.cat((self.attribute(known).sum(1), behaviour, masked_mean(clicked, present)), dim=1)
        wanted = self.interest(interests.vectors)  # (B, K, D)
        score = torch.einsum("bd,bkd->bk", self.ask(features), wanted) / self.config.width**0.5
        score = (score + interests.confidence.clamp(min=1e-9).log()).masked_fill(~interests.some, -torch.inf)
        share = torch.where(interests.some.any(1, keepdim=True), score, 0).softmax(1) * interests.some
        pooled = torch.einsum("bk,bkd->bd", share, wanted)
        return self.user_tower(torch.cat((features, pooled), dim=1))  # type: ignore[no-any-return]

    def items(self, ids: Tensor) -> Tensor:
        """[n, D'] h_v of items [n]: id, categories, and the item's own interest."""
        return self.item_tower(torch.cat((self.item(ids), self._categories(ids), self.own_interest(ids)), dim=1))  # type: ignore[no-any-return]

    def own_interest(self, ids: Tensor) -> Tensor:
        """[n, D] the item's own interest: the mean of its narrow categories' names, through the map that users' interests go by."""
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
        found = F.embedding_bag(rows.flatten(0, -2), self.category.weight, mode="mean", padding_idx=0)
        return found.view(*ids.shape, -1)

    # --- learning ---

    @override
    def loss(self, batch: Batch) -> Losses:
        """L_BCE + lambda L_contrast.

        L_contrast: InfoNCE over cosine / tau. A user's positive is an item that meets one of the user's interests, drawn by how often it
        was clicked; the other users' positives are negatives, but for those that meet an interest of the user as well.
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
        drawn = self._meeting(interests)
        some = drawn > 0
        if int(some.sum()) < 2:
            return users.sum() * 0
        users, drawn = users[some], drawn[some]
        interests = BatchInterests(interests.vectors[some], interests.confidence[some], interests.categories[some])
        logits = F.normalize(users, dim=1) @ F.normalize(self.items(drawn), dim=1).T / self.config.temperature
        also = interests.meets(self.item_given[drawn], self.sizes.categories)
        own = torch.eye(len(drawn), dtype=torch.bool, device=drawn.device)
        return F.cross_entropy(
            logits.masked_fill(also & ~own, -torch.inf), torch.arange(len(drawn), device=drawn.device)
        )

    def _meeting(self, interests: BatchInterests) -> Tensor:
        """[B] an item that meets one of the user's interests, 0 where no item does."""
        rows = interests.categories.shape[0]
        chance = interests.confidence[..., None] * (interests.categories > 0)
        offsets, until, ids = self._by_category
        chance = (chance * (offsets[1:] > offsets[:-1])[interests.categories.long()]).flatten(1)
        some = chance.sum(1) > 0
        pick = torch.multinomial(torch.where(some[:, None], chance, 1.0), 1)
        category = interests.categories.flatten(1).gather(1, pick)[:, 0].long()
        start, end = until[offsets[category]], until[offsets[category + 1]]
        at = start + torch.rand(rows, device=start.device, dtype=torch.float64) * (end - start)
        place = torch.searchsorted(until, at, right=True) - 1
        return torch.where(some, ids[place.clamp(0, len(ids) - 1)], 0)

    @functools.cached_property
    def _by_category(self) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets [C + 2] into the items of each category; running sums [n + 1] of their clicks, each with one more; these items [n]."""
        rows = self.item_given.cpu().long()
        category = rows.flatten()
        order = torch.argsort(category, stable=True)
        item = torch.arange(len(rows)).repeat_interleave(rows.shape[1])[order]
        category = category[order]
        item, category = item[category > 0], category[category > 0]
        counts = torch.bincount(category, minlength=self.sizes.categories + 1)
        offsets = F.pad(counts.cumsum(0), (1, 0))
        until = F.pad((self.clicks.cpu()[item] + 1).double().cumsum(0), (1, 0))
        return offsets.to(self.device), until.to(self.device), item.to(self.device)

    # --- answering ---

    @torch.no_grad()
    @override
    def score(self, batch: Batch) -> Tensor:
        users = self.users(batch, self.interests_at(batch.user, batch.time))
        vectors = self._indexed().items
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
        """The merged pool of k items a request.

        Args:
            exclude: [B, E] internal ids to leave out, 0 pads.
            quota: I2I's share; the setting by default.
            interests: the interests to go by, in place of those known from training (what the nearline store holds, say).
        """
        quota = self.config.quota if quota is None else quota
        found = self.channels(batch, k, exclude, interesting=k if quota else 0, interests=interests)
        pool = merge(found.usual, found.interesting, k, quota)
        interest = found.interest
        brought = (
            interest.gather(1, pool.place.clamp(max=max(0, interest.shape[1] - 1))) if interest.shape[1] else pool.place
        )
        score = products(self._indexed().items, pool.items, found.users)
        return InterestPool(pool, torch.where(pool.second, brought, -1), score.masked_fill(pool.items == 0, -torch.inf))

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
        """What each channel brings before they are merged: U2I up to k items, I2I up to `interesting`, k by default; else as `pool`."""
        interests = self.interests_at(batch.user, batch.time) if interests is None else interests
        if exclude is None:
            exclude = torch.zeros(len(batch), 1, dtype=torch.long, device=self.device)
        users = self.users(batch, interests)
        near, value = self._indexed().by_item.search(users, k + exclude.shape[1])
        near = near.masked_fill(value.isneginf() | is_in(near, exclude), 0)
        second, interest = self._interesting(
            batch, users, interests, exclude, k if interesting is None else interesting
        )
        return Channels(users, near, second, interest)

    @override
    def retrieve(self, batch: Batch, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `Model.retrieve`, the merged pool of `pool`; scores are the towers', and need not fall where I2I's places are."""
        found = self.pool(batch, min(k, self.sizes.items), exclude)
        return found.pool.items, found.score

    def _interesting(
        self, batch: Batch, users: Tensor, interests: BatchInterests, exclude: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        """I2I: items [B, n] near the interests, of categories that the user has not touched, best first; and each one's interest [B, n]."""
        rows, count = interests.confidence.shape
        if not k:
            none = torch.zeros(rows, 0, dtype=torch.long, device=users.device)
            return none, none
        tables, reach = self._indexed(), self.config.reach
        wanted = F.normalize(self.interest(interests.vectors).flatten(0, 1), dim=1)
        near, cosine = tables.by_interest.search(wanted, tables.groups.enough(reach))
        touched = batch.click_item[:, -self.config.known :]
        new = untouched(
            self.item_level, touched, tables.groups.first[near].view(rows, -1), self.sizes.categories
        ).view_as(near)
        items, place = tables.groups.lay_out(near.masked_fill(~new | (cosine <= 0), 0), reach)
        sure = (cosine.gather(1, place).view(rows, count, -1) * interests.confidence[..., None]).flatten(1)
        items = items.view(rows, -1)
        order = sure.argsort(dim=1, descending=True, stable=True)
        sure, items, interest = sure.gather(1, order), items.gather(1, order), order // reach
        good = (sure > 0) & (items > 0) & ~is_in(items, exclude) & is_first(items)
        value = products(tables.items, items, users) if self.config.order == "user" else sure
        best = value.masked_fill(~good, -torch.inf).topk(min(k, items.shape[1]), dim=1)
        return items.gather(1, best.indices).masked_fill(best.values.isneginf(), 0), interest.gather(1, best.indices)

    @property
    def item_vectors(self) -> Tensor:
        """[I + 1, D'] h_v of every item."""
        return self._indexed().items

    @torch.no_grad()
    def _indexed(self) -> "Tables":
        """What the channels search; kept until the model trains again."""
        if self._tables is None:
            vectors = torch.zeros(self.sizes.items + 1, self.config.vector, device=self.device)
            for ids in torch.split(torch.arange(1, self.sizes.items + 1, device=self.device), _ITEMS_AT_ONCE):
                vectors[ids] = self.items(ids)
            groups = ItemGroups.of(torch.cat((self.item_narrow, self.item_level), dim=1), self.clicks)
            own = F.normalize(self.own_interest(groups.first), dim=1)
            kept = cache_folder() / "indexes"
            by_item, by_interest = (VectorIndex(some, self.config.index, keep=kept) for some in (vectors, own))
            self._tables = Tables(vectors, by_item, groups, by_interest)
        return self._tables


@dataclass(frozen=True)
class Channels:
    """Users [B, D']; items of U2I [B, n] and of I2I [B, m], best first, 0 for none; the interest [B, m] that brought each of the latter."""

    users: Tensor
    usual: Tensor
    interesting: Tensor
    interest: Tensor


@dataclass(frozen=True)
class Tables:
    """Item vectors [I + 1, D'] and their index; items of equal categories in groups, and the index of the groups' own interests."""

    items: Tensor
    by_item: VectorIndex
    groups: ItemGroups
    by_interest: VectorIndex


def _tower(inside: int, hidden: int, out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, out))


def _numbered(split: Split) -> np.ndarray:
    """[U + 1, A] the value of each attribute of each user; the values of all attributes are numbered together, 0 where there is none."""
    table = split.data.user_table
    columns, next_ = [], 1
    for name in table.columns:
        if name == "user_id":
            continue
        values = table[name].cast(pl.String, strict=False)
        codes = values.rank("dense").fill_null(0).cast(pl.Int32).to_numpy()
        columns.append(np.where(codes > 0, codes + next_ - 1, 0))
        next_ += int(codes.max(initial=0))
    rows = np.stack(columns, axis=1) if columns else np.zeros((table.height, 0), dtype=np.int32)
    return np.concatenate((np.zeros_like(rows[:1]), rows)).astype(np.int32)
