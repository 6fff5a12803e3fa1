"""serendipity: the event-transformer reading inferred interests, with a channel of their items (arXiv 2508.04032)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, Natural, Positive, Share, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset, Sizes
from searec.data.schema import Task
from searec.data.split import Split
from searec.data.taxonomy import Level
from searec.files import cache_folder
from searec.interests.interest_config import InterestSettings
from searec.interests.interest_table import InterestTable
from searec.models.base import best_items
from searec.models.event_transformer import EventTransformer
from searec.models.growth import Growth, Rows
from searec.models.serendipity.batch_interests import BatchInterests, newest_snapshot, untouched
from searec.models.serendipity.category_items import CategoryItems
from searec.models.serendipity.interest_reading import InterestReading
from searec.models.serendipity.known_interests import KnowsInterests
from searec.models.serendipity.retrieval import Channels, InterestPool
from searec.models.timeline_read import TimelineRead
from searec.nn.cached_value import CachedValue
from searec.nn.sets import is_first, is_in
from searec.retrieval.vector_index import EXACT_UP_TO, Kind, VectorIndex

_LEAST_CANDIDATES = 200
"""Items that an index, and the neighbours of clicks, propose at least."""


class Serendipity(KnowsInterests, EventTransformer):
    """Two channels, ranked by one score: that of the event-transformer, whose state reads the user's interests.

    U2I is the catalogue by score. I2I holds the items that carry a category which an interest means, of categories
    that the user has not touched. A state reads the newest interests inferred before it.
    """

    is_open: Tensor  # [] whether interests are read

    name = "serendipity"
    paper_form = "serendipity-paper"
    single_task: ClassVar = {}
    single_task_note = ""
    phases: ClassVar[tuple[str, ...]] = ("text_choice", "interests", "second_phase", "neighbours")
    rows: ClassVar[Mapping[str, Rows]] = {**EventTransformer.rows, **KnowsInterests.interest_rows}

    @settings
    class Config(InterestSettings, EventTransformer.Config):
        """How interests are made (`InterestSettings`), as event-transformer, and how interests are read.

        Attributes:
            interest_steps, interest_lr: batches in which reading interests is learned (0: they are not read), and the
                learning rate.
            quota: share of the pool that is I2I's by right.
            level: whose categories decide what is novel, "narrow" or a depth of the tree.
            known: newest clicks that count as touched.
            reach: items looked at of each category that an interest means, the most clicked.
            index: how the nearest are searched (`retrieval.vector_index`) in more than 100,000 items.
            tasks: those that it learns; interests are of the feed alone.
        """

        interest_steps: Natural = 300
        interest_lr: Positive = 3e-3
        quota: Share = 0.0
        level: Level = "narrow"
        known: Count = 500
        reach: Count = 100
        index: Kind = "auto"
        tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = ("recommend",)

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.register_buffer("is_open", torch.tensor(False))
        with torch.random.fork_rng():  # the trunk's weights are those of event-transformer with this seed
            self.reading = InterestReading(config.width)
        self._category_items = CachedValue[CategoryItems]()
        self._index = CachedValue[VectorIndex]()

    @property
    @override
    def needs(self) -> Needs:
        return replace(super().needs, clicks=self.config.known)

    # --- interests and state ---

    def load_artifacts(self, table: InterestTable, category_vectors: NDArray[np.float32], split: Split) -> None:
        """Load interests and the categories of items.

        Args:
            table: the interests of all users.
            category_vectors: not used; an interest is read as an item of its text and categories.
            split: whose training clicks are counted.
        """
        self.remember_interests(table, split)

    @override
    def without_text(self, data: Dataset, seed: int) -> EventTransformer:
        other = super().without_text(data, seed)
        for name in self.buffer_names:
            setattr(other, name, getattr(self, name))
        return other

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.load_interests(state)
        super().load_state(state)

    @override
    def grown_state(self, growth: Growth, described: Any = None) -> dict[str, Tensor]:
        """As of the event-transformer; new users have no interests yet."""
        return super().grown_state(growth, described) | self.grown_interests(growth)

    def part_weights(self) -> Sequence[nn.Parameter]:
        """Return the weights that reading interests adds to the base; none where nobody has an interest."""
        is_read = len(self.interest_vectors) > 1 and self.tells_new_items_apart
        return list(self.reading.parameters()) if is_read else []

    @property
    def part_training(self) -> tuple[int, float]:
        """Batches in which reading interests is learned, and the learning rate."""
        return self.config.interest_steps, self.config.interest_lr

    # --- the user's state ---

    @override
    def refined(self, read: TimelineRead, batch: Batch) -> Tensor:
        """Return the states, each of which has read the interests inferred before the event that follows it."""
        if not self.is_open:
            return read.states
        row = batch.user.long()
        places, width = self.snapshot_ids.shape[1:]
        after = torch.where(read.timeline.present, read.timeline.time, batch.time[:, None])
        after = torch.cat((after, batch.time[:, None]), dim=1)  # (B, E + 1)
        newest = newest_snapshot(self.snapshot_times, row, after)
        of_snapshot = torch.arange(places, device=row.device).repeat_interleave(width)
        allowed = newest[..., None] == of_snapshot
        ids = self.snapshot_ids[row].flatten(1).long()
        vectors = self.items.of_new(self.interest_vectors, self.interest_categories)[ids]
        return self.reading(read.states, vectors, self.snapshot_confidence[row].flatten(1), allowed)  # type: ignore[no-any-return]

    def _reading_given(self, batch: Batch, interests: BatchInterests) -> tuple[Tensor, TimelineRead]:
        """The state [B, D] at each request, having read given interests, and what was read."""
        read = self.read_requests(batch)
        states = read.states[torch.arange(len(batch), device=self.device), read.timeline.present.sum(1)]
        if self.is_open:
            shape = interests.confidence.shape
            vectors = self.items.of_new(interests.vectors.flatten(0, 1), interests.categories.flatten(0, 1))
            allowed = interests.present[:, None]
            states = self.reading(states[:, None], vectors.view(*shape, -1), interests.confidence, allowed)[:, 0]
        return states, read

    # --- channels ---

    @torch.no_grad()
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
        interests = self.interests_at(batch.user, batch.time) if interests is None else interests
        state, read = self._reading_given(batch, interests)
        excluded = torch.zeros(len(batch), 1, dtype=torch.long, device=self.device) if exclude is None else exclude
        remembered = self._remembered(batch, read)
        usual = self._usual(batch, state, remembered, k, excluded)
        count = k if interesting is None else interesting
        if not count:
            nothing = usual[0][:, :0]
            return Channels(*usual, nothing, nothing, nothing)
        items = self._carrying(batch, interests, excluded)
        items, score = self._best(batch, state, remembered, items, count)
        return Channels(*usual, items, score, self._carried(items, interests))

    @override
    def pool(
        self,
        batch: Batch,
        k: int,
        exclude: Tensor | None = None,
        *,
        quota: float | None = None,
        interests: BatchInterests | None = None,
    ) -> InterestPool:
        """As `KnowsInterests.pool`; what is novel in U2I and carries an interest matches it as well."""
        pool = super().pool(batch, k, exclude, quota=quota, interests=interests)
        interests = self.interests_at(batch.user, batch.time) if interests is None else interests
        touched = batch.click_item[:, -self.config.known :]
        novel = untouched(self.item_level, touched, pool.pool.items, self.sizes.categories)
        return replace(pool, interest=self._carried(pool.pool.items, interests).masked_fill(~novel, -1))

    def _usual(
        self, batch: Batch, state: Tensor, remembered: Sequence[Tensor], k: int, excluded: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The items of the highest scores [B, k] and those, best first."""
        if self.sizes.items <= EXACT_UP_TO and self.config.index == "auto":
            return best_items(self._item_scores(batch, state, remembered, None), k, excluded)
        index = self._index(self._indexed, *self.items.parameters(), self.bias)
        more = min(self.sizes.items, max(_LEAST_CANDIDATES, 2 * k) + excluded.shape[1])
        near, _ = index.search(torch.cat((state, state.new_ones(len(state), 1)), 1), more)
        items = torch.cat((near, *(part.topk(more, dim=1).indices for part in remembered)), dim=1)
        items = items.masked_fill(~is_first(items) | is_in(items, excluded), 0)
        return self._best(batch, state, remembered, items, k)

    def _best(
        self, batch: Batch, state: Tensor, remembered: Sequence[Tensor], items: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        """The best [B, k] of items [B, N], 0 pads, and their scores."""
        score = self._item_scores(batch, state, remembered, items).masked_fill(items == 0, -torch.inf)
        best = score.topk(min(k, items.shape[1]), dim=1)
        return items.gather(1, best.indices).masked_fill(best.values.isneginf(), 0), best.values

    def _indexed(self) -> VectorIndex:
        """The index of the vectors and biases of items."""
        vectors = torch.cat((self.table(), self.bias[0, :, None]), dim=1)
        return VectorIndex(vectors, self.config.index, keep=cache_folder() / "indexes")

    @property
    def category_items(self) -> CategoryItems:
        """The items of each category."""
        given, clicks = self.item_given, self.clicks
        return self._category_items(lambda: CategoryItems.of(given, clicks, self.sizes.categories), given, clicks)  # type: ignore[no-any-return]

    def _carrying(self, batch: Batch, interests: BatchInterests, excluded: Tensor) -> Tensor:
        """[B, N] items that carry a category which an interest means, of untouched categories; 0 pads."""
        items = self.category_items.first(interests.categories.flatten(1), self.config.reach)
        touched = batch.click_item[:, -self.config.known :]
        is_left = untouched(self.item_level, touched, items, self.sizes.categories)
        return items.masked_fill(~is_left | is_in(items, excluded) | ~is_first(items), 0)

    def _carried(self, items: Tensor, interests: BatchInterests) -> Tensor:
        """[B, N] the surest interest that each item carries a category of; -1 for none."""
        meant = interests.categories.masked_fill(interests.categories == 0, -1)  # (B, K, G)
        given = self.item_given[items.long()]  # (B, N, G')
        carries = torch.stack(
            [(given[..., None] == one[:, None, None]).flatten(2).any(2) for one in meant.unbind(1)], 2
        )
        return torch.where(carries.any(2), carries.int().argmax(2), -1)
