"""What the forms of serendipity share: the interests of users over time, the categories of items, and the pool."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from searec.data.batch import Batch
from searec.data.dataset import Sizes
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import RunError
from searec.interests.interest_table import InterestTable
from searec.models.base import Channel, Model
from searec.models.growth import Growth, Rows
from searec.models.serendipity.batch_interests import BatchInterests, newest_snapshot
from searec.models.serendipity.catalogue import item_categories
from searec.models.serendipity.retrieval import Channels, InterestPool


class KnowsInterests(Model):
    """A model that holds snapshots of each user's interests; a request reads the newest one inferred before it.

    Args:
        config: with `InterestSettings`, `level` (whose categories decide what is novel) and `quota`.
        sizes: of the dataset.
    """

    artifact = "interests"
    channel: ClassVar[Channel] = "interest"
    interest_rows: ClassVar[Mapping[str, Rows]] = {
        **{f"snapshot_{name}": Rows("users") for name in ("times", "ids", "confidence")},
        "clicks": Rows("items", new="zero"),
    }
    buffer_names: ClassVar[tuple[str, ...]] = (
        "interest_vectors",
        "interest_categories",
        "snapshot_times",
        "snapshot_ids",
        "snapshot_confidence",
        "item_given",
        "item_level",
        "clicks",
    )

    interest_vectors: Tensor  # [M + 1, E]
    interest_categories: Tensor  # [M + 1, G]
    snapshot_times: Tensor  # [U + 1, S]
    snapshot_ids: Tensor  # [U + 1, S, K]
    snapshot_confidence: Tensor  # [U + 1, S, K]
    item_given: Tensor  # [I + 1, G] categories of items: all, and those at the level
    item_level: Tensor
    clicks: Tensor  # [I + 1] training clicks

    def __init__(self, config: Any, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        for name in self.buffer_names:
            self.register_buffer(name, None)

    def remember_interests(self, table: InterestTable, split: Split) -> None:
        """Load the interests of all users, and what the training events say of items.

        Args:
            table: the interests.
            split: whose training clicks are counted.
        """
        self.interest_vectors = torch.from_numpy(table.vectors)
        self.interest_categories = torch.from_numpy(table.categories.astype(np.int32))
        self.snapshot_times = torch.from_numpy(table.times.astype(np.int64))
        self.snapshot_ids = torch.from_numpy(table.ids.astype(np.int32))
        self.snapshot_confidence = torch.from_numpy(table.confidence)
        for name, tensor in item_categories(split.data, self.config.level).items():
            setattr(self, name, tensor)
        counts = np.bincount(split.train_clicks(self.train_tasks)[1], minlength=self.sizes.items + 1)
        self.clicks = torch.from_numpy(counts.astype(np.int64))

    def grown_interests(self, growth: Growth) -> dict[str, Tensor]:
        """Return what goes by the numbers of categories, for data that has grown.

        Args:
            growth: to the data that has grown.
        """
        numbers = torch.from_numpy(growth.numbers("categories").astype(np.int32)).to(self.device)
        return {
            "interest_categories": numbers[self.interest_categories.long()],
            **item_categories(growth.data, self.config.level),
        }

    @override
    def click_counts(self) -> Mapping[tuple[Task, ...], Tensor]:
        return {self.train_tasks: self.clicks}

    def load_interests(self, state: Mapping[str, Tensor]) -> None:
        """Load the buffers of a state, whose sizes follow from interests and catalogue.

        Raises:
            RunError: one is missing.
        """
        if missing := [name for name in self.buffer_names if name not in state]:
            raise RunError("weights do not fit the model", where=self.name, got="no " + ", ".join(missing))
        for name in self.buffer_names:
            setattr(self, name, state[name])

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

    @abstractmethod
    def channels(
        self,
        batch: Batch,
        k: int,
        exclude: Tensor | None = None,
        *,
        interesting: int | None = None,
        interests: BatchInterests | None = None,
    ) -> Channels:
        """Return the items of each channel before they are merged.

        Args:
            batch: B requests.
            k: most items by behaviour.
            exclude: [B, E] internal ids to leave out, 0 pads.
            interesting: most items by interest; k by default.
            interests: in place of those known from training (those of the interest store, for example).
        """

    @torch.no_grad()
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
            interests: as of `channels`.
        """
        quota = self.config.quota if quota is None else quota
        lists = self.channels(batch, k, exclude, interesting=k if quota else 0, interests=interests)
        return lists.merged(k, quota)

    @override
    def retrieve(self, batch: Batch, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the merged pool as `Model.retrieve`; where I2I has a share, scores may rise in its places."""
        k, quota = min(k, self.sizes.items), self.config.quota
        merged = self.channels(batch, k, exclude, interesting=k if quota else 0).merged(k, quota)
        return merged.pool.items, merged.score
