"""unisar: transitions within and between search and recommendation (arXiv 2404.09520)."""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from searec.config import Count, DropoutRate, NonNegative, Positive, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Sizes
from searec.data.schema import TASKS, Task
from searec.models.base import ItemEmbeddings, Model, Preset
from searec.models.search_space import DROPOUT, LEARNING_RATE, Choice, Range
from searec.nn.attention import DecoderLayer, EncoderLayer, TargetAttention
from searec.nn.contrast import info_nce
from searec.nn.event_vectors import embed_events
from searec.nn.experts import TaskExperts, mlp
from searec.nn.losses import Losses, target_loss
from searec.nn.pooling import age, masked_mean, mean_embedding

_PAIRS_AT_ONCE, _ITEMS_AT_ONCE = 4096, 512
"""Pairs of request and candidate scored together: as many as the cache holds the experts' outputs of."""
REC, SRC, ITEM, ASKED = range(4)
"""Input parts of the experts: recommendation interest, search interest, candidate, query and user."""


class UniSAR(ItemEmbeddings, Model):
    """Three encoders (rec->rec, src->src, and across), fused on each side, pooled by the candidate, scored through PLE."""

    name = "unisar"
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    learns = "loss"
    role = "ranker"
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
    class Config:
        """rec, src: newest events read; negatives a positive; weights and temperatures as in the paper."""

        width: Count = 64
        heads: Count = 2
        inner: Count = 64
        dropout: DropoutRate = 0.1
        attention_dropout: DropoutRate = 0.0
        init: Positive = 0.02
        rec: Count = 30
        src: Count = 30
        src_clicks: Count = 5
        words: Count = 8
        negatives: Count = 4
        search_weight: NonNegative = 0.1
        align_weight: NonNegative = 0.1
        align_temperature: Positive = 0.1
        query_weight: NonNegative = 0.001
        query_temperature: Positive = 0.5
        experts: Count = 4
        user: bool = True
        tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = TASKS

    presets: ClassVar[dict[Preset, dict[str, Any]]] = {"small": {}, "paper": {"attention_dropout": 0.1}}
    train_presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "small": {"epochs": 6, "batch": 512, "patience": 2, "lr": 3e-3},
        "paper": {"epochs": 100, "batch": 1024, "patience": 5, "weight_decay": 1e-5},
    }

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        width = config.width
        layer: dict[str, Any] = {
            "heads": config.heads,
            "inner": config.inner,
            "dropout": config.dropout,
            "attention_dropout": config.attention_dropout,
        }
        self.item = nn.Embedding(sizes.items + 1, width, padding_idx=0)
        self.word = nn.Embedding(sizes.words + 1, width, padding_idx=0)
        self.user = nn.Embedding(sizes.users + 1 if config.user else 1, width)
        self.position = nn.Embedding(config.rec + config.src, width)
        self.no_query = nn.Parameter(torch.zeros(width))
        self.within = nn.ModuleList(EncoderLayer(width, **layer) for _ in TASKS)
        self.across = EncoderLayer(width, **layer)
        self.fuse = nn.ModuleList(DecoderLayer(width, **layer) for _ in TASKS)
        self.pool = nn.ModuleList(TargetAttention(width) for _ in TASKS)
        self.ple = TaskExperts(4, width, tasks=len(TASKS), shared=config.experts, own=config.experts, out=64)
        self.towers = nn.ModuleList(
            nn.Sequential(mlp(64, 128, 64, last_activation=True), mlp(64, 200, 80, 1)) for _ in TASKS
        )
        for table in (self.item, self.word, self.user, self.position):
            nn.init.normal_(table.weight, std=config.init)
        with torch.no_grad():
            self.item.weight[0] = 0
            self.word.weight[0] = 0

    @property
    def needs(self) -> Needs:
        config = self.config
        return Needs(rec=config.rec, src=config.src, src_clicks=config.src_clicks, words=config.words)

    @property
    def train_tasks(self) -> tuple[Task, ...]:
        tasks: tuple[Task, ...] = self.config.tasks
        return tasks

    @property
    def negatives(self) -> int:
        return int(self.config.negatives)

    def sides(self, batch: Batch) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Embedded events, their presence and their pooled cross states; rec first, then src.

        Returns:
            fused states [B, L, D] and [B, S, D]; presence [B, L] and [B, S]; pooled pairs (own, across), each [B, D].
        """
        queries = mean_embedding(self.word, batch.words)  # (Q, D): each distinct query once
        events, here = embed_events(batch, self.item, queries)
        rec_here, src_here = here
        # The cross mask looks at types only, so the merged sequence need not be laid out: an event's place in the
        # merged order is its position, and reading the other type is one attention each way with the same weights.
        merged = merged_age(batch.rec_time, rec_here, batch.src_time, src_here)
        places = [merged[:, : rec_here.shape[1]], merged[:, rec_here.shape[1] :]]
        own_x = [
            x + self.position(age(present, self.position.num_embeddings))
            for x, present in zip(events, here, strict=True)
        ]
        cross_x = [x + self.position(place) for x, place in zip(events, places, strict=True)]
        fused, pooled = [], []
        for side in (0, 1):
            present, other = here[side][:, None, :], here[1 - side][:, None, :]
            own = self.within[side](own_x[side], present)
            crossed = self.across(cross_x[side], other, cross_x[1 - side])
            fused.append(self.fuse[side](own, present, crossed, present))
            pooled += [masked_mean(own, here[side]), masked_mean(crossed, here[side])]
        return fused, here, pooled

    def asked(self, batch: Batch) -> Tensor:
        """[B, D] what is asked: the query, or the learned stand-in for recommendation; plus the user."""
        if batch.task == "search":
            vector = mean_embedding(self.word, batch.words[batch.query.long()])
        else:
            vector = self.no_query.expand(len(batch), -1)
        return vector + self.user(batch.user) if self.config.user else vector

    def logits(self, batch: Batch, fused: list[Tensor], here: list[Tensor]) -> Tensor:
        """[B, N] scores, or [B, I + 1] over the catalogue, a block of requests and candidates at a time."""
        task = TASKS.index(batch.task)
        asked = self.ple.project(task, ASKED, self.asked(batch))[:, None]
        # Pooling is linear, so the experts' map is applied to the L states and not to the N pooled vectors; what is asked
        # joins them as one more state, of weight 1, and one product sums all parts.
        mapped = torch.cat([*(self.ple.project(task, side, fused[side]) for side in (REC, SRC)), asked], dim=1)

        def block(rows: slice, vectors: Tensor, projected: Tensor) -> Tensor:
            weights = [self.pool[side](fused[side][rows], here[side][rows], vectors) for side in (REC, SRC)]
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

    def loss(self, batch: Batch) -> Losses:
        """BCE of the task, both alignments of own-type with cross-type states, and queries with their clicks."""
        config = self.config
        fused, here, pooled = self.sides(batch)
        logits = self.logits(batch, fused, here)
        both = here[0].any(1) & here[1].any(1)
        query, clicked = self.query_click(batch)
        weight = 1.0 if batch.task == "recommend" else config.search_weight
        asks = self.mean_query(batch, query)
        parts = {
            f"bce_{batch.task}": target_loss(logits, "bce"),
            "align_rec": info_nce(pooled[0], pooled[1], config.align_temperature, both),
            "align_src": info_nce(pooled[2], pooled[3], config.align_temperature, both),
            "align_query": info_nce(
                asks, self.item(clicked), config.query_temperature, (query != 0) & (clicked != 0), _same(query, clicked)
            ),
        }
        weights = {
            f"bce_{batch.task}": weight,
            "align_rec": config.align_weight,
            "align_src": config.align_weight,
            "align_query": config.query_weight,
        }
        return Losses(parts, weights)

    def query_click(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """[B] a query (row of words) and an item clicked for it: the request's own, or the newest session's."""
        if batch.task == "search":
            return batch.query, batch.target
        newest = ((batch.src_query != 0).sum(1).clamp(min=1) - 1).long()
        row = torch.arange(len(batch), device=newest.device)
        return batch.src_query[row, newest], batch.src_click[row, newest, 0]

    def mean_query(self, batch: Batch, query: Tensor) -> Tensor:
        """[B, D] query embeddings by row of `batch.words`."""
        return mean_embedding(self.word, batch.words[query.long()])

    def score(self, batch: Batch) -> Tensor:
        fused, here, _ = self.sides(batch)
        return self.logits(batch, fused, here)


def merged_age(rec_time: Tensor, rec_here: Tensor, src_time: Tensor, src_here: Tensor) -> Tensor:
    """[B, L + S] how many events of either kind are newer than each event; 0 at padding."""
    time = torch.cat((rec_time, src_time), dim=1)
    here = torch.cat((rec_here, src_here), dim=1)
    order = torch.where(here, time, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)
    place = order.argsort(dim=1)
    return torch.where(here, here.sum(1, keepdim=True) - 1 - place, 0)


def _same(query: Tensor, clicked: Tensor) -> Tensor:
    """[B, B] pairs that share the query or the item, and so are no negatives of one another."""
    return (query[:, None] == query[None, :]) | (clicked[:, None] == clicked[None, :])
