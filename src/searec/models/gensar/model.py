"""gensar: search and recommendation by one model that writes item identifiers, on the event trunk."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, Natural, NonNegative, settings
from searec.data.batch import Batch
from searec.data.counts import Counts
from searec.data.dataset import Dataset, Sizes
from searec.data.schema import TASKS, Task
from searec.errors import SettingsError
from searec.models.event_transformer import EventTransformer
from searec.models.gensar.code_heads import CodeHeads, CodeWriter
from searec.models.gensar.coded_items import CodedItemVectors, NewCodedItems
from searec.models.growth import Growth, Rows
from searec.models.search_space import Range
from searec.models.timeline_read import TimelineRead
from searec.nn.event_trunk import SEARCH, Timeline
from searec.nn.item_vectors import NewItems
from searec.nn.losses import Losses
from searec.nn.sets import is_first, is_in
from searec.semantic_ids import beam
from searec.semantic_ids.code_config import IdentifierSettings
from searec.semantic_ids.identifiers import Identifiers
from searec.semantic_ids.trie import Trie
from searec.semantic_ids.user_code_table import SIDES
from searec.semantic_ids.warm_codes import warm

_CELLS_AT_ONCE = 1 << 22
_SLACK = 16
"""Identifiers that there is room for in a shared code, for each item."""


@dataclass(frozen=True)
class KnownQueries:
    """Queries to suggest from: [n, D] vectors, and [n] the logarithm of how often each is searched."""

    vectors: Tensor
    log_count: Tensor


class GenSAR(EventTransformer):
    """event-transformer that reads items by the codes of their identifiers, and writes the next item's code by code.

    Beam search over the identifiers that exist finds candidates, in search beside the best by words. All are scored by
    the state and the item's vector, and log p(identifier) with a weight that validation chooses.
    """

    spec: Tensor  # JSON as bytes
    codes: Tensor  # [2, I + 1, K] uint8 or int16
    log_p_weight: Tensor  # [tasks]
    items: CodedItemVectors
    heads: CodeHeads

    name = "gensar"
    paper_form = "gensar-paper"
    artifact = "item_identifiers"
    enumerates = False
    phases: ClassVar[tuple[str, ...]] = ("text_choice", "second_phase", "code_weight", "neighbours")
    rows: ClassVar[Mapping[str, Rows]] = {**EventTransformer.rows, "codes": Rows("items", dim=1, new="zero")}
    search_space: ClassVar = {**EventTransformer.search_space, "code_weight": Range(0.1, 10.0, log=True)}

    @settings
    class Config(EventTransformer.Config, IdentifierSettings):
        """As event-transformer, then the identifiers (`IdentifierSettings`), and how they are learned and written.

        Attributes:
            item_head: items are also scored by the state and their vectors; without, by log p(identifier) alone.
            ids: items have embeddings of their own beside those of their codes.
            warm_codes: embeddings of codes start where the RQ-VAE put the codes, not at random.
            beam: identifiers in each step of a search.
            lexical: candidates by words in search, and by neighbours.
            log_p: how much log p(identifier) counts in the scores; "auto" for the best by validation.
            code_weight: of the loss of identifiers, beside that of items, 1.
            query_weight: of the loss of the next query.
            identify_weight: of the loss of identifiers by the texts of items.
            identify_items, identify_every: items drawn for it, in one step of that number.
        """

        scheme: Literal["joint", "semantic", "collaborative", "bi-encoder"] = "joint"
        quantiser: Literal["rq-vae", "k-means"] = "k-means"
        shared: Natural = 1
        specific: Natural = 2
        codes: Annotated[int, Field(ge=2, le=1 << 15)] = 64
        shared_codes: Natural = 32
        sinkhorn_rounds: Natural = 0
        apart: Literal["code", "nearest"] = "nearest"
        item_head: bool = True
        ids: bool = True
        warm_codes: bool = True
        beam: Count = 100
        lexical: Natural = 50
        log_p: NonNegative | Literal["auto"] = "auto"
        code_weight: NonNegative = 1.0
        query_weight: NonNegative = 0.1
        identify_weight: NonNegative = 0.1
        identify_items: Count = 128
        identify_every: Count = 4

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.items = CodedItemVectors(sizes.items, config.width, config.id_dropout, has_ids=config.ids)
        self.next_query = nn.Linear(config.width, config.width, bias=False) if "search" in config.tasks else None
        self.match.requires_grad_("search" in config.tasks)
        self.register_buffer("spec", None)
        self.register_buffer("codes", None)
        self.register_buffer(
            "log_p_weight", torch.full((len(TASKS),), 0.25 if config.log_p == "auto" else config.log_p)
        )
        self._tries: list[Trie] = []
        self._blocks: list[list[slice]] = []
        self._code_vectors: Tensor | None = None

    @classmethod
    @override
    def sized(cls, counts: Counts) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return what event-transformer does, and codebooks of which the specific ones have something to decide."""
        model, training = super().sized(counts)
        shared = min(64, max(8, 2 ** round(math.log2(max(2, counts.items)) / 3)))
        codes = 2 ** math.ceil(math.log2(max(4.0, (_SLACK * counts.items / shared) ** 0.5)))
        return {**model, "shared_codes": shared, "codes": codes}, training

    @property
    @override
    def candidate_limit(self) -> int:
        """The beam; items beyond it are found by chance."""
        return int(self.config.beam)

    # --- identifiers and state ---

    def load_artifacts(self, identifiers: Identifiers, vectors: Tensor) -> None:
        """Load the identifiers, and draw the weights that write them (from PyTorch's generator).

        Args:
            identifiers: of all items.
            vectors: [T, E] where each code is among the RQ-VAE's latents, as `warm_codes` reads them.

        Raises:
            SettingsError: identifiers of other items.
        """
        if identifiers.items != self.sizes.items:
            raise SettingsError(
                "identifiers do not fit the data",
                got=f"{identifiers.items} items",
                expected=f"{self.sizes.items} items",
            )
        self._code_vectors = vectors
        self._read(identifiers)
        assert self.items.code is not None
        if self.config.warm_codes:
            warm(self.items.code.weight, vectors, identifiers.books)

    def _read(self, identifiers: Identifiers) -> None:
        """Make all that follows from the identifiers: buffers, tries, and modules of the right sizes."""
        spec = {"sizes": identifiers.sizes, "shared": identifiers.shared, "one": identifiers.one}
        small = torch.uint8 if max(identifiers.sizes) <= 1 << 8 else torch.int16
        device = self.bias.device
        self.spec = torch.frombuffer(bytearray(json.dumps(spec).encode()), dtype=torch.uint8).to(device)
        self.codes = torch.from_numpy(identifiers.codes.astype(np.int32)).to(small).to(device)
        self.items.encode(identifiers)
        self.heads = CodeHeads(self.config.width, self.config.inner, identifiers.depth, identifiers.tokens).to(device)
        self._tries = [identifiers.trie(side) for side in range(1 if identifiers.one else len(SIDES))]
        firsts = identifiers.blocks(0).tolist()
        self._blocks = [
            [slice(first, first + size) for first, size in zip(row, identifiers.sizes, strict=True)] for row in firsts
        ]

    @property
    def identifiers(self) -> Identifiers:
        """The identifiers of all items."""
        return _identifiers(self.spec, self.codes)

    @property
    def identifier_length(self) -> int:
        """Codes of an identifier."""
        return len(self._blocks[0])

    def trie(self, task: Task) -> Trie:
        """Return the identifiers of a task."""
        side = 0 if len(self._tries) == 1 else SIDES.index(task)
        if self._tries[side].items.device != self.device:
            self._tries[side] = self._tries[side].to(self.device)
        return self._tries[side]

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if "spec" in state and "codes" in state:
            self._read(_identifiers(state["spec"], state["codes"]))
        super().load_state(state)

    @override
    def without_text(self, data: Dataset, seed: int) -> "GenSAR":
        other = super().without_text(data, seed)
        assert isinstance(other, GenSAR) and self._code_vectors is not None
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            other.load_artifacts(self.identifiers, self._code_vectors)
        return other

    @override
    def grown_state(self, growth: Growth, described: Any = None) -> dict[str, Tensor]:
        """Return the state for data that has grown; new items have the identifiers [2, n, K] `described`."""
        state = super().grown_state(growth)
        new = growth.new("items")
        if described is not None and len(new):
            state["codes"][:, torch.from_numpy(new).to(self.device)] = torch.from_numpy(described).to(state["codes"])
        return state

    # --- learning ---

    @override
    def target_losses(self, batch: Batch, read: TimelineRead, states: Tensor) -> Losses:
        """Return the losses of event-transformer, of the targets' identifiers, of next queries and of items' texts."""
        config, parts, weights = self.config, dict[str, Tensor](), dict[str, float]()
        if config.item_head or not read.targets:
            items = super().target_losses(batch, read, states)
            parts, weights = dict(items.parts), dict(items.weights)
        for task, target in read.targets.items() if config.code_weight else ():
            parts[f"codes.{task}"] = self._code_loss(states[target.row, target.place], target.item, task)
            weights[f"codes.{task}"] = config.code_weight * (config.search_weight if task == "search" else 1.0)
        if self.next_query is not None and read.texts is not None:
            row, place = torch.nonzero(read.timeline.kind == SEARCH, as_tuple=True)
            if config.query_weight and len(row):
                parts["query"] = self._query_loss(states[row, place], read.timeline.query[row, place], read.texts)
                weights["query"] = config.query_weight
            if config.identify_weight and torch.rand(()) * config.identify_every < 1:
                parts["identify"], weights["identify"] = self._identify_loss(), config.identify_weight
        return Losses(parts, weights)

    def _code_loss(self, states: Tensor, items: Tensor, task: Task) -> Tensor:
        """The mean of -log p(identifier | state) of items [n] after states [n, D]."""
        assert self.items.code is not None
        blocks = self._blocks[SIDES.index(task)]
        return self.heads.cross_entropy(states, items, self.items.code.weight, blocks, self.trie(task))

    def _query_loss(self, states: Tensor, queries: Tensor, texts: Tensor) -> Tensor:
        """The cross-entropy of the next query among those of the batch, which are there as often as they are searched.

        So the product says how much likelier than usual a query is, and `suggest` adds how usual it is.
        """
        assert self.next_query is not None
        distinct, which = torch.unique(queries, return_inverse=True)
        return F.cross_entropy(self.next_query(states) @ self._query_vectors(texts[distinct.long()]).T, which)

    def _query_vectors(self, texts: Tensor) -> Tensor:
        assert self.query is not None
        vectors: Tensor = self.query(self.items.standardised(texts))
        return vectors

    def _identify_loss(self) -> Tensor:
        """The loss of the identifiers of items drawn, each searched by its own text by a user without history."""
        assert self.items.text is not None
        drawn = torch.randint(1, self.sizes.items + 1, (self.config.identify_items, 1), device=self.device)
        one = torch.ones_like(drawn)
        timeline = Timeline(0 * one, one, SEARCH * one, 0 * one, one.float(), one)
        content = self._query_vectors(self.items.text[drawn])
        return self._code_loss(self.trunk_states(content, timeline)[:, 1], drawn[:, 0], "search")

    # --- scoring and retrieval ---

    @override
    def score(self, batch: Batch) -> Tensor:
        if self.config.item_head:
            return super().score(batch)
        state, read = self._request_states(batch)
        return self.added_scores(batch, read, state)

    @override
    def added_scores(self, batch: Batch, read: TimelineRead, state: Tensor) -> Tensor:
        items = batch.candidates
        if items is None:
            items = torch.arange(self.codes.shape[1], device=self.device).expand(len(batch), -1)
        return self._log_p_scores(state, items.long(), batch.task)

    def _writer(self, state: Tensor, task: Task) -> CodeWriter:
        assert self.items.code is not None
        return CodeWriter(self.heads, state, self.items.code.weight, self._blocks[SIDES.index(task)])

    def _log_p_scores(self, state: Tensor, items: Tensor, task: Task) -> Tensor:
        """The weighted log-probability [B, N] of the identifiers of items [B, N] after states [B, D]; 0 at padding."""
        weight = self._weight(task)
        if not weight or not items.shape[1]:
            return torch.zeros(items.shape, device=items.device)
        most = max(block.stop - block.start for block in self._blocks[0])
        step = max(1, _CELLS_AT_ONCE // (items.shape[1] * most))
        parts = [
            beam.score(self._writer(rows, task), self.trie(task), those)
            for rows, those in zip(torch.split(state, step), torch.split(items, step), strict=True)
        ]
        return weight * torch.cat(parts).masked_fill(items == 0, 0.0)

    def _weight(self, task: Task) -> Tensor:
        """How much the log-probability counts, []."""
        weight = self.log_p_weight[TASKS.index(task)]
        return weight if self.config.item_head else torch.ones_like(weight)

    @override
    @torch.no_grad()
    def retrieve(self, batch: Batch, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the k best of the candidates by beam search, by words and by neighbours; see `Model.retrieve`."""
        state, read = self._request_states(batch)
        task, k = batch.task, min(k, self.codes.shape[1] - 1)
        exclude = None if exclude is None or not exclude.shape[1] else exclude.long()
        items, log_p = beam.search(self._writer(state, task), self.trie(task), max(self.config.beam, k), exclude)
        scores = self._weight(task) * log_p if self._weight(task) else torch.zeros_like(log_p)
        if self.config.item_head:
            added = self._remembered(batch, read)
            more = self._more_candidates(added, items, exclude)
            scores = torch.cat((scores, self._log_p_scores(state, more, task)), dim=1)
            items = torch.cat((items, more), dim=1)
            scores = scores + self._item_scores(batch, state, added, items)
        best, order = scores.masked_fill(items == 0, -torch.inf).topk(min(k, items.shape[1]), dim=1)
        short = (0, k - order.shape[1])
        ranked = torch.where(best.isneginf(), 0, items.gather(1, order))
        return F.pad(ranked, short), F.pad(best, short, value=-torch.inf)

    def _more_candidates(self, added: Sequence[Tensor], items: Tensor, exclude: Tensor | None) -> Tensor:
        """The best items [B, n] by each part of the scores [B, I + 1], 0 for those that are excluded or there already.

        Args:
            added: parts of the scores.
            items: [B, K] that are there already.
            exclude: [B, E] not to give.
        """
        more = [items[:, :0]]
        for part in added if self.config.lexical else ():
            best, by_part = part.topk(min(self.config.lexical, part.shape[1]), dim=1)
            more.append(torch.where(best > 0, by_part, 0))
        candidates = torch.cat(more, dim=1)
        known = items if exclude is None else torch.cat((items, exclude), dim=1)
        return torch.where(is_first(candidates) & ~is_in(candidates, known), candidates, 0)

    @override
    @torch.no_grad()
    def describe_items(self, texts: Sequence[str], category_ids: Tensor) -> NewCodedItems:
        return self.items.coded(super().describe_items(texts, category_ids))

    @override
    @torch.no_grad()
    def score_new(self, batch: Batch, items: NewItems) -> Tensor:
        assert isinstance(items, NewCodedItems)
        state, _ = self._request_states(batch)
        log_p = self._log_p_scores(state, items.like.expand(len(batch), -1), batch.task)
        return super().score_new(batch, items) + log_p if self.config.item_head else log_p

    def weigh_codes(self, weights: Mapping[Task, float]) -> None:
        """Set how much log p(identifier) counts in the scores.

        Args:
            weights: task -> weight; 0 for none.
        """
        for task, weight in weights.items():
            self.log_p_weight[TASKS.index(task)] = weight

    # --- next queries ---

    @property
    def suggests_queries(self) -> bool:
        """Whether it has learned which query comes next, by the texts of queries."""
        return self.query is not None and self.next_query is not None and self.config.query_weight > 0

    @torch.no_grad()
    def index_queries(self, counts: Mapping[str, int]) -> KnownQueries:
        """Return queries to choose from in `suggest`, by their texts and how often each is searched."""
        assert self.query is not None
        texts = torch.from_numpy(self._texts.of(list(counts), self.query.in_features)).to(self.device)
        return KnownQueries(self._query_vectors(texts), torch.log(torch.tensor([*counts.values()], device=self.device)))

    @torch.no_grad()
    def suggest(self, batch: Batch, queries: KnownQueries, k: int) -> tuple[Tensor, Tensor]:
        """Return the k likeliest next queries of each user.

        Args:
            batch: B requests of any task; queries of searches are not read.
            queries: what `index_queries` returned.
            k: queries per user.

        Returns:
            Positions [B, k] in the queries, from 1, best first; log-probabilities [B, k].
        """
        assert self.next_query is not None
        read = self.read_requests(replace(batch, task="recommend"))
        state = read.states[torch.arange(len(batch)), read.timeline.present.sum(1)]
        scores = (self.next_query(state) @ queries.vectors.T + queries.log_count).log_softmax(1)
        best, place = scores.topk(min(k, scores.shape[1]), dim=1)
        short = (0, k - place.shape[1])
        return F.pad(place + 1, short), F.pad(best, short, value=-torch.inf)


def _identifiers(spec: Tensor, codes: Tensor) -> Identifiers:
    """The identifiers that buffers hold."""
    about = json.loads(spec.cpu().numpy().tobytes().decode())
    return Identifiers(codes.cpu().numpy().astype(np.int32), tuple(about["sizes"]), about["shared"], about["one"])
