"""event-transformer: a causal Transformer over clicks and searches, with the texts of items and queries."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, DropoutRate, NonNegative, settings
from searec.data.batch import Batch, Needs
from searec.data.counts import Counts
from searec.data.dataset import Dataset, Sizes
from searec.data.leakage.findings import Leaks
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.errors import alternative
from searec.models.base import Preset
from searec.models.growth import Growth, Rows
from searec.models.neighbours import WithNeighbours, inside
from searec.models.search_space import DROPOUT, LEARNING_RATE, Choice
from searec.models.second_phase_config import SecondPhaseConfig
from searec.models.timeline_read import (
    CATEGORIES,
    ClickTargets,
    TimelineRead,
    category_ids,
    click_targets,
    cross_entropy,
)
from searec.models.trunk_sizes import trunk_sizes
from searec.nn.cached_value import CachedValue
from searec.nn.event_trunk import EventTrunk, Timeline
from searec.nn.item_vectors import ItemVectors, NewItems
from searec.nn.losses import Losses
from searec.nn.query_match import QueryMatch
from searec.nn.softmax import SampledSoftmax
from searec.text.encoder import DEFAULT, Encoder
from searec.text.recent_vectors import RecentVectors

_WORDS = 16
"""Words read of a query."""
_OF_ITEMS = ("items.text", "items.category_ids", "match.offsets", "match.columns", "match.values")


class EventTransformer(WithNeighbours):
    """Next item after each event of the merged timeline of feed clicks, searches and search clicks.

    An item is its id embedding, its text and its categories (`nn.item_vectors`); a query is its text. The state after
    an event scores every item by inner product and a bias of the item. In search the query is the last event, and the
    score adds lexical (BM25) and dense (cosine) match with learned weights.
    """

    name = "event-transformer"
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    learns = "loss"
    examples = "timeline"
    phases: ClassVar[tuple[str, ...]] = ("text_choice", "second_phase", "neighbours")
    ranks_candidates = True
    state_noise: float
    description_weights = ("items.", "query.", "match.")
    rows: ClassVar[Mapping[str, Rows]] = {
        "items.id.weight": Rows("items", new="zero"),
        "bias": Rows("items", dim=1, new="zero"),
        "sampler.counts": Rows("items", new="zero"),
        "items.category.weight": Rows("categories"),
    }
    search_space: ClassVar = {
        "lr": LEARNING_RATE,
        "dropout": DROPOUT,
        "id_dropout": Choice((0.0, 0.1, 0.2, 0.4)),
        "width": Choice((32, 64, 96, 128)),
        "layers": Choice((1, 2, 3)),
    }
    train_presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {
        preset: {"min_steps": 500, "judge": "full-ndcg@10", "validation_requests": 2_000, "average": 0.99}
        for preset in ("default", "paper")
    }
    single_task: ClassVar = {"recommend": {"tasks": ["recommend"]}, "search": {"tasks": ["search"]}}
    single_task_note = "nothing is learned from the other task's targets; events of both are read all the same"

    @settings
    class Config(SecondPhaseConfig):
        """Sizes, inputs and loss, and the second phase.

        Attributes:
            width: D of all vectors. layers, heads: of the Transformer. inner: feed-forward width.
            dropout: of event vectors and residual branches.
            id_dropout: share of id embeddings hidden in a training step.
            length: newest events read, and events of a training stretch.
            search_clicks: clicks read of a search.
            text: read the sentence vectors of items and queries; "auto" if it is better with them on validation.
            categories: read the categories of items.
            encoder: "minilm", or a sentence-transformers model by hub name or path.
            search_weight: of the loss of search.
            full_softmax: items up to which the loss compares with the whole catalogue; above it with a sample.
            sampled: items drawn for a step where the loss samples.
            neighbours: after training, add the cosines of `itemknn` with weights chosen on validation: exact pairs of
                items, which vectors of this width cannot hold.
            recency: of these neighbours, as in `itemknn`.
            tasks: those that it learns.
        """

        width: Count = 64
        layers: Count = 2
        heads: Count = 2
        inner: Count = 128
        dropout: DropoutRate = 0.4
        id_dropout: DropoutRate = 0.2
        length: Annotated[int, Field(ge=2)] = 50
        search_clicks: Count = 5
        text: bool | Literal["auto"] = "auto"
        categories: bool = True
        encoder: str = DEFAULT
        search_weight: NonNegative = 1.0
        full_softmax: Count = 5_000
        sampled: Count = 2_048
        neighbours: bool = True
        recency: NonNegative = 0.75
        tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = TASKS

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        width = config.width
        self.items = ItemVectors(sizes.items, width, config.id_dropout)
        self.trunk = EventTrunk(
            width, config.layers, config.heads, config.inner, config.dropout, length=config.length + 1
        )
        self.query: nn.Linear | None = None
        self.bias = nn.Parameter(torch.zeros(len(TASKS), sizes.items + 1))
        self.match = QueryMatch(sizes.items)
        self.sampler = SampledSoftmax(sizes.items, config.sampled) if sizes.items > config.full_softmax else None
        self._table = CachedValue[Tensor]()
        self.state_noise = 0.0

    @classmethod
    @override
    def sized(cls, counts: Counts) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return trunk_sizes(counts)

    @property
    @override
    def needs(self) -> Needs:
        length, clicks = self.config.length, self.config.search_clicks
        return Needs(feed=length, searches=length, search_clicks=clicks, words=_WORDS, queries=self.query is not None)

    @functools.cached_property
    def _texts(self) -> RecentVectors:
        """Vectors of the texts of queries, and the encoder of items."""
        return RecentVectors(Encoder(self.config.encoder))

    # --- what items and queries say ---

    @override
    def read_items(self, data: Dataset) -> None:
        texts = data.item_texts()
        has_text = bool(self.config.text) and len(set(texts)) > 1
        categories = data.sizes.categories if self.config.categories else 0
        self.items.describe(
            self._item_text(texts) if has_text else None,
            torch.from_numpy(category_ids(data)) if categories > 1 else None,
            categories,
        )
        if self.items.map is not None:
            self._add_query_map(self.items.map.in_features)
            self._texts.add(data.queries.texts.to_list(), keep=True)
        if "search" in self.train_tasks:
            self.match.index_words(data)

    def _item_text(self, texts: Sequence[str]) -> Tensor:
        with alternative("train without the texts of items: --set text=false"):
            return torch.from_numpy(self._texts.encoder.encode(texts))

    @property
    def may_drop_text(self) -> bool:
        """Whether it reads texts, and its settings leave it to validation."""
        return self.config.text == "auto" and self.query is not None

    def without_text(self, data: Dataset, seed: int) -> "EventTransformer":
        """Return a model of the same settings that reads no text, with weights of its own.

        Args:
            data: the dataset.
            seed: of the weights.
        """
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            other = type(self)(replace(self.config, text=False), self.sizes)
            other.read_items(data)
        return other

    def _add_query_map(self, text_width: int) -> None:
        self.query = nn.Linear(text_width, self.config.width, bias=False)
        nn.init.normal_(self.query.weight, std=0.16 / text_width**0.5)

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.items.shape_as(inside(state, "items."))
        self.match.shape_as(inside(state, "match."))
        if "query.weight" not in state:
            self.query = None
        elif self.query is None:
            self._add_query_map(state["query.weight"].shape[1])
        self.load_neighbours(state)
        device = self.device
        super().load_state(state)
        self.to(device)  # what is new was made elsewhere

    @override
    def grown_state(self, growth: Growth, described: Any = None) -> dict[str, Tensor]:
        """Return the state for data that has grown: new items are known by text and categories, with a mean bias."""
        state = growth.gather_all(self.state(), self.rows)
        new = torch.from_numpy(growth.new("items"))
        state["bias"][:, new] = self.bias[:, 1:].mean(1, keepdim=True).cpu()
        fresh = type(self)(self.config, growth.data.sizes)
        fresh.read_items(growth.data)
        for name, part in fresh.state().items():
            if name in state and name in _OF_ITEMS:
                state[name] = part
        return state | self.grown_neighbours(growth)

    # --- states ---

    @property
    def item_vectors(self) -> Tensor:
        """[I + 1, D] the vectors that states are compared with; row 0 is padding."""
        return self.table().detach()

    def table(self) -> Tensor:
        """Return the vectors of all items [I + 1, D]; row 0 is without meaning."""
        return self._table(self.items, *self.items.parameters())  # type: ignore[no-any-return]

    def content(self, timeline: Timeline, table: Tensor, texts: Tensor | None, known: Tensor | None = None) -> Tensor:
        """Return what each event is of, [B, E, D]: the vector of its item or of its query.

        Args:
            timeline: B users.
            table: [I + 1, D] item vectors, or [M, D] of `known`.
            texts: [Q, W] text vectors of the queries; None without text.
            known: [M] internal ids, ascending, those of the timeline among them; None for all.
        """
        item = timeline.item.long()
        place = item if known is None else torch.searchsorted(known, item).clamp(max=len(known) - 1)
        content = F.embedding(place, table) * (item > 0)[..., None]
        if self.query is not None and texts is not None:
            queries = self.query(self.items.standardised(texts))
            content = content + F.embedding(timeline.query.long(), queries) * (timeline.query > 0)[..., None]
        return content

    def timeline_of(self, batch: Batch) -> Timeline:
        """Return the events that are read of each user."""
        return Timeline.of(batch, self.config.length)

    def targets_of(self, timeline: Timeline) -> dict[Task, ClickTargets]:
        """Return the clicks that are learned."""
        return click_targets(timeline, self.train_tasks)

    def trunk_states(self, content: Tensor, timeline: Timeline) -> Tensor:
        """Return the states [B, E + 1, D] of the trunk.

        Args:
            content: [B, E, D] as `content` returns it.
            timeline: of B users.
        """
        return self.trunk(content, timeline)  # type: ignore[no-any-return]

    def refined(self, read: TimelineRead, batch: Batch) -> Tensor:
        """Return the states [B, E + 1, D] that scores are made of; models on this trunk add their mechanism here.

        Args:
            read: the timelines and what the trunk made of them.
            batch: B requests or stretches.
        """
        return read.states

    def query_texts(self, batch: Batch) -> Tensor | None:
        """Return the text vectors [Q, W] of the queries of a batch; None without text."""
        if self.query is None:
            return None
        return torch.from_numpy(self._texts.of(batch.texts, self.query.in_features)).to(self.device)

    def _matches(self, batch: Batch, queries: Tensor, texts: Tensor | None, items: Tensor | None = None) -> Tensor:
        """The match of queries [n], rows of `batch.words`, with all items [n, I + 1] or some [n, M]."""
        rows = queries.long()
        match: Tensor = self.match(batch.words[rows], None if texts is None else texts[rows], self.items.text, items)
        return match

    # --- learning ---

    @override
    def loss(self, batch: Batch) -> Losses:
        """Return the cross-entropy of the next click at every position, and of the clicks of every search."""
        read = self.read_stretches(batch)
        return self.target_losses(batch, read, self.refined(read, batch))

    def read_stretches(self, batch: Batch) -> TimelineRead:
        """Return training stretches, with the states of the trunk at every event.

        Args:
            batch: of the timeline's examples.
        """
        timeline, texts = self.timeline_of(batch), self.query_texts(batch)
        targets = self.targets_of(timeline)
        known, log_q = self._compared(targets, timeline)
        table = self.table() if known is None else self.items(known)
        content = self.content(timeline, table, texts, known)
        return TimelineRead(
            timeline, texts, table, content, self.trunk_states(content, timeline), targets, known, log_q
        )

    def target_losses(self, batch: Batch, read: TimelineRead, states: Tensor) -> Losses:
        """Return the cross-entropy of the targets by states [B, E + 1, D].

        Args:
            batch: of the timeline's examples.
            read: what `read_stretches` returned of it.
            states: `read.states`, or what a mechanism made of them.
        """
        parts: dict[str, Tensor] = {}
        for task, target in read.targets.items():
            match = None
            if task == "search":
                queries = read.timeline.query[target.row, target.place - 1]
                distinct, which = torch.unique(queries, return_inverse=True)
                match = self._matches(batch, distinct, read.texts, read.known)[which]
            state = states[target.row, target.place]
            parts[task] = cross_entropy(state, target.item, read, self.bias[TASKS.index(task)], match)
        weights = {"recommend": 1.0, "search": self.config.search_weight}
        if not parts:  # a batch of users who clicked nothing
            parts["recommend"] = 0.0 * states.sum()
        return Losses(parts, {name: weights[name] for name in parts})

    def _compared(
        self, targets: Mapping[Task, ClickTargets], timeline: Timeline
    ) -> tuple[Tensor | None, Tensor | None]:
        """The items [M] that a sampled softmax compares with, ascending, and their logQ; None for all items."""
        if self.sampler is None:
            return None, None
        items = [target.item for target in targets.values()]
        listed: tuple[Tensor, Tensor] = self.sampler(
            torch.cat([*items, timeline.item.new_zeros(0)]).long(), timeline.item
        )
        return listed

    @override
    def leaks(self, split: Split) -> Leaks:
        total = super().leaks(split)
        if self.has_neighbours:
            total += self.near.leaks(self.split_of_neighbours(split))
        return total

    # --- scoring ---

    @override
    def score(self, batch: Batch) -> Tensor:
        state, read = self._request_states(batch)
        scores = self._item_scores(batch, state, self._remembered(batch, read), batch.candidates)
        added = self.added_scores(batch, read, state)
        return scores if added is None else scores + added

    def _remembered(self, batch: Batch, read: TimelineRead) -> list[Tensor]:
        """What is added to the scores of all items, [B, I + 1] each: neighbours, and in search the match."""
        parts = [self.neighbour_scores(batch, read.timeline)]
        parts += [self._matches(batch, batch.query, read.texts)] if batch.task == "search" else []
        return [part for part in parts if part is not None]

    def _item_scores(self, batch: Batch, state: Tensor, parts: Sequence[Tensor], items: Tensor | None) -> Tensor:
        """The scores [B, N] of some items, or [B, I + 1] of all, by states [B, D] and what is added to them."""
        table, bias = self.table(), self.bias[TASKS.index(batch.task)]
        if items is None:
            return sum(parts, state @ table.T + bias)
        scores = torch.einsum("bd,bnd->bn", state, table[items.long()]) + bias[items.long()]
        return sum((part.gather(1, items.long()) for part in parts), scores)

    def added_scores(self, batch: Batch, read: TimelineRead, state: Tensor) -> Tensor | None:
        """Return what a mechanism adds to the scores, of the batch's candidates or of all items; None for nothing.

        Args:
            batch: B requests.
            read: their timelines and what the trunk made of them.
            state: [B, D] at each request.
        """
        return None

    def _request_states(self, batch: Batch) -> tuple[Tensor, TimelineRead]:
        """The state [B, D] at each request, and what was read."""
        read = self.read_requests(batch)
        states = self.refined(read, batch)
        return states[torch.arange(len(states), device=states.device), read.timeline.present.sum(1)], read

    def read_requests(self, batch: Batch) -> TimelineRead:
        """Return the timelines of requests, that of a search with its query at the end, and the trunk's states.

        Args:
            batch: B requests.
        """
        texts, table = self.query_texts(batch), self.table()
        timeline = self.timeline_of(batch)
        if batch.task == "search":
            timeline = timeline.with_query(batch.query, batch.time)
        content = self.content(timeline, table, texts)
        states = self.trunk_states(content, timeline)
        if self.state_noise:
            states = states + self.state_noise * torch.randn_like(states)
        return TimelineRead(timeline, texts, table, content, states)

    @property
    def tells_new_items_apart(self) -> bool:
        """Whether it reads texts or categories."""
        return self.items.map is not None or self.items.category is not None

    @torch.no_grad()
    def describe_items(self, texts: Sequence[str], category_ids: Tensor) -> NewItems:
        """Return what `score_new` needs of items that came after the training.

        Args:
            texts: [n] of the items.
            category_ids: [n, M] of the items, 0 pads.
        """
        text = None if self.items.map is None else torch.from_numpy(self._texts.encoder.encode(texts)).to(self.device)
        has_categories = self.items.category is not None
        vectors = self.items.of_new(text, category_ids[:, :CATEGORIES].to(self.device) if has_categories else None)
        return NewItems(vectors, text)

    @torch.no_grad()
    def score_new(self, batch: Batch, items: NewItems) -> Tensor:
        """Return scores [B, n] of items that came after the training, comparable with those of `score`.

        Args:
            batch: B requests.
            items: what `describe_items` returned.
        """
        state, read = self._request_states(batch)
        scores = state @ items.vectors.T + self.bias[TASKS.index(batch.task), 1:].mean()
        if batch.task == "search" and read.texts is not None and items.text is not None:
            scores = scores + self.match.weights[1] * (read.texts[batch.query.long()] @ items.text.T)
        return scores
