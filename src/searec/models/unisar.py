"""unisar: transitions within and between search and recommendation (arXiv 2404.09520)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, NonNegative, Positive, settings
from searec.data.batch import Batch
from searec.data.dataset import Sizes
from searec.data.schema import TASKS, Task
from searec.models.base import Preset
from searec.models.search_space import DROPOUT, LEARNING_RATE, Choice, Range
from searec.models.two_histories import PUBLISHED, TwoHistoriesConfig, TwoHistoriesModel
from searec.nn.attention import DecoderLayer, EncoderLayer, TargetAttention
from searec.nn.contrast import info_nce
from searec.nn.event_vectors import embed_events
from searec.nn.experts import TaskExperts, mlp
from searec.nn.losses import Losses, target_loss
from searec.nn.pooling import age, masked_mean, mean_embedding

_PAIRS_AT_ONCE, _ITEMS_AT_ONCE = 4096, 512
"""Pairs of request and candidate scored together: as many as the cache holds the experts' outputs of."""
FEED, SEARCH, ITEM, REQUEST = range(4)
"""Input parts of the experts: recommendation interest, search interest, candidate, query and user."""


class UniSAR(TwoHistoriesModel):
    """Three encoders (within feed, within search, across), fused, pooled by the candidate, scored through PLE."""

    name = "unisar"
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    search_space: ClassVar = {
        "lr": LEARNING_RATE,
        "dropout": DROPOUT,
        "search_weight": Range(0.03, 3.0, log=True),
        "align_weight": Range(0.01, 1.0, log=True),
        "user": Choice((True, False)),
    }
    single_task: ClassVar = {"recommend": {"tasks": ["recommend"]}, "search": {"tasks": ["search"]}}
    single_task_note = "nothing is learned from the other task's events; histories of both are read all the same"

    @settings
    class Config(TwoHistoriesConfig):
        """The sizes, then weights and temperatures as in the paper.

        Attributes:
            search_weight: of the search loss.
            align_weight, align_temperature: of the contrast of states within and across types.
            query_weight, query_temperature: of the contrast of queries with clicked items.
            experts: shared ones, and as many of each task.
            user: users have an embedding.
            tasks: those that it learns.
        """

        init: Positive = 0.02
        feed: Count = 30
        searches: Count = 30
        search_weight: NonNegative = 0.1
        align_weight: NonNegative = 0.1
        align_temperature: Positive = 0.1
        query_weight: NonNegative = 0.001
        query_temperature: Positive = 0.5
        experts: Count = 4
        user: bool = True
        tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = TASKS

    presets: ClassVar[dict[Preset, dict[str, Any]]] = {"default": {"attention_dropout": 0.0}, "paper": {}}
    train_presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {
        "default": {"epochs": 12, "epoch_steps": 150, "min_steps": 450, "batch": 256, "patience": 3, "lr": 2e-3},
        "paper": PUBLISHED,
    }

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        width, layer = config.width, self.layer_sizes
        self.item = nn.Embedding(sizes.items + 1, width, padding_idx=0)
        self.word = nn.Embedding(sizes.words + 1, width, padding_idx=0)
        self.user = nn.Embedding(sizes.users + 1 if config.user else 1, width)
        self.position = nn.Embedding(config.feed + config.searches, width)
        self.no_query = nn.Parameter(torch.zeros(width))
        self.within = nn.ModuleList(EncoderLayer(width, **layer) for _ in TASKS)
        self.across = EncoderLayer(width, **layer)
        self.fuse = nn.ModuleList(DecoderLayer(width, **layer) for _ in TASKS)
        self.pool = nn.ModuleList(TargetAttention(width) for _ in TASKS)
        self.ple = TaskExperts(4, width, tasks=len(TASKS), shared=config.experts, specific=config.experts, out=64)
        self.towers = nn.ModuleList(
            nn.Sequential(mlp(64, 128, 64, last_activation=True), mlp(64, 200, 80, 1)) for _ in TASKS
        )
        self.draw_embeddings(self.item, self.word, self.user, self.position)

    def sides(self, batch: Batch) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Embedded events, their presence and their pooled cross states; feed first, then search.

        Returns:
            fused states [B, L, D] and [B, S, D]; presence [B, L] and [B, S]; pooled pairs (own, across), each [B, D].
        """
        queries = mean_embedding(self.word, batch.words)  # (Q, D): each distinct query once
        events, here = embed_events(batch, self.item, queries)
        feed_here, search_here = here
        # The cross mask looks at types only, so the merged sequence need not be laid out: an event's place in the
        # merged order is its position, and reading the other type is one attention each way with the same weights.
        merged = merged_age(batch.feed_time, feed_here, batch.search_time, search_here)
        places = [merged[:, : feed_here.shape[1]], merged[:, feed_here.shape[1] :]]
        own_x = [
            x + self.position(age(present, self.position.num_embeddings))
            for x, present in zip(events, here, strict=True)
        ]
        cross_x = [x + self.position(place) for x, place in zip(events, places, strict=True)]
        fused, pooled = [], []
        for side in (0, 1):
            present, other = here[side][:, None, :], here[1 - side][:, None, :]
            encoded = self.within[side](own_x[side], present)
            crossed = self.across(cross_x[side], other, cross_x[1 - side])
            fused.append(self.fuse[side](encoded, present, crossed, present))
            pooled += [masked_mean(encoded, here[side]), masked_mean(crossed, here[side])]
        return fused, here, pooled

    def request(self, batch: Batch) -> Tensor:
        """Return the request [B, D]: the query, or the learned vector of recommendation; plus the user."""
        if batch.task == "search":
            vector = mean_embedding(self.word, batch.words[batch.query.long()])
        else:
            vector = self.no_query.expand(len(batch), -1)
        return vector + self.user(batch.user) if self.config.user else vector

    def logits(self, batch: Batch, fused: list[Tensor], here: list[Tensor]) -> Tensor:
        """Return scores [B, N], or [B, I + 1] over the catalogue, a block of requests and candidates at a time.

        Args:
            batch: B requests.
            fused: [B, L, D] states of each history.
            here: [B, L] where there is a state.
        """
        task = TASKS.index(batch.task)
        request = self.ple.project(task, REQUEST, self.request(batch))[:, None]
        # Pooling is linear, so the experts' map is applied to the L states and not to the N pooled vectors; the request
        # joins them as one more state, of weight 1, and one product sums all parts.
        mapped = torch.cat([*(self.ple.project(task, side, fused[side]) for side in (FEED, SEARCH)), request], dim=1)

        def block(rows: slice, vectors: Tensor, projected: Tensor) -> Tensor:
            weights = [self.pool[side](fused[side][rows], here[side][rows], vectors) for side in (FEED, SEARCH)]
            weights.append(torch.ones_like(weights[0][..., :1]))
            summed = torch.baddbmm(projected, torch.cat(weights, dim=-1), mapped[rows])
            return self.towers[task](self.ple.mix(summed)).squeeze(-1)  # type: ignore[no-any-return]

        if batch.candidates is not None:
            step = max(1, _PAIRS_AT_ONCE // batch.candidates.shape[1])
            blocks = []
            for start in range(0, len(batch), step):
                rows = slice(start, start + step)
                vectors = self.item(batch.candidates[rows])
                blocks.append(block(rows, vectors, self.ple.project(task, ITEM, vectors)))
            return torch.cat(blocks)
        vectors = torch.split(self.item.weight, _ITEMS_AT_ONCE)
        projected = [self.ple.project(task, ITEM, part) for part in vectors]
        step = _PAIRS_AT_ONCE // _ITEMS_AT_ONCE
        rows_of = [slice(start, start + step) for start in range(0, len(batch), step)]
        return torch.cat(
            [
                torch.cat([block(rows, *part) for part in zip(vectors, projected, strict=True)], dim=1)
                for rows in rows_of
            ]
        )

    @override
    def loss(self, batch: Batch) -> Losses:
        """BCE of the task, both alignments of own-type with cross-type states, and queries with their clicks."""
        config = self.config
        fused, here, pooled = self.sides(batch)
        logits = self.logits(batch, fused, here)
        both = here[0].any(1) & here[1].any(1)
        query, clicked = self.query_click(batch)
        weight = 1.0 if batch.task == "recommend" else config.search_weight
        queries = self.mean_query(batch, query)
        parts = {
            f"bce_{batch.task}": target_loss(logits, "bce"),
            "align_feed": info_nce(pooled[0], pooled[1], config.align_temperature, both),
            "align_search": info_nce(pooled[2], pooled[3], config.align_temperature, both),
            "align_query": info_nce(
                queries,
                self.item(clicked),
                config.query_temperature,
                (query != 0) & (clicked != 0),
                _same(query, clicked),
            ),
        }
        weights = {
            f"bce_{batch.task}": weight,
            "align_feed": config.align_weight,
            "align_search": config.align_weight,
            "align_query": config.query_weight,
        }
        return Losses(parts, weights)

    def query_click(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """[B] a query (row of words) and an item clicked for it: the request's own, or the newest session's."""
        if batch.task == "search":
            return batch.query, batch.target
        newest = ((batch.search_query != 0).sum(1).clamp(min=1) - 1).long()
        row = torch.arange(len(batch), device=newest.device)
        return batch.search_query[row, newest], batch.search_click[row, newest, 0]

    def mean_query(self, batch: Batch, query: Tensor) -> Tensor:
        """Return query embeddings [B, D].

        Args:
            batch: with words.
            query: [B] rows of `batch.words`.
        """
        return mean_embedding(self.word, batch.words[query.long()])

    @override
    def score(self, batch: Batch) -> Tensor:
        fused, here, _ = self.sides(batch)
        return self.logits(batch, fused, here)


def merged_age(feed_time: Tensor, feed_here: Tensor, search_time: Tensor, search_here: Tensor) -> Tensor:
    """Return how many events of either kind are newer than each event [B, L + S]; 0 at padding.

    Args:
        feed_time: [B, L] times of feed clicks.
        feed_here: [B, L] where there is one.
        search_time: [B, S] times of search sessions.
        search_here: [B, S] where there is one.
    """
    time = torch.cat((feed_time, search_time), dim=1)
    here = torch.cat((feed_here, search_here), dim=1)
    order = torch.where(here, time, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)
    place = order.argsort(dim=1)
    return torch.where(here, here.sum(1, keepdim=True) - 1 - place, 0)


def _same(query: Tensor, clicked: Tensor) -> Tensor:
    """[B, B] pairs that share the query or the item, and so are no negatives of one another."""
    return (query[:, None] == query[None, :]) | (clicked[:, None] == clicked[None, :])
