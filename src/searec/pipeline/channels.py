"""Channels: the ways items enter a pool. Each wraps one run (or nothing but counts) and has a lane of its own."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.data.split import Split
from searec.data.user_history import UserHistory, batch_of, padded
from searec.files import cache_folder
from searec.interests.user_interests import UserInterests
from searec.models.dense import Dense
from searec.models.gensar.model import GenSAR
from searec.models.serendipity.model import Serendipity
from searec.pipeline.catalog_snapshot import CatalogSnapshot, item_words
from searec.pipeline.histories import UserContext
from searec.pipeline.run import Run
from searec.pipeline.user_interests import InterestEncoder
from searec.retrieval.vector_index import VectorIndex
from searec.text.encoder import Encoder

Mask = NDArray[np.bool_]
_LEFT_OUT = 500
"""Items that a model is told to leave out, the newest consumed ones; the rest is filtered from what it brings."""
_QUERIES = 20_000
_AHEAD = 5_000
_PROBES = 64
"""Of a thousand cells of a million vectors: sentences lie close together, and the first results are what counts."""
_ENUMERATED = 50_000


@dataclass(frozen=True)
class RequestBatch:
    """What B requests want of the channels.

    Attributes:
        known: who asks. queries: what for; empty for the feed.
        allowed: [N + 1] items that pass a request's filters, None without filters.
        barred: places that a request must not get, gone ones aside.
        longings: the interests of each user.
    """

    catalog: CatalogSnapshot
    known: Sequence[UserContext]
    queries: Sequence[str] = ()
    allowed: Sequence[Mask | None] = ()
    barred: Sequence[Ints] = ()
    interests: Sequence[UserInterests] = ()

    def __len__(self) -> int:
        return len(self.known)

    @property
    def histories(self) -> list[UserHistory]:
        return [one.past for one in self.known]

    @property
    def task(self) -> Task:
        return "search" if self.queries else "recommend"

    def exclude(self) -> Tensor:
        """[B, E] internal ids that models leave out; not those that a new item stands behind."""
        known, followers = self.catalog.base.data.sizes.items, self.catalog.followers
        rows = []
        for barred in self.barred:
            own = barred[barred <= known][-_LEFT_OUT:]
            rows.append(np.array([item for item in own.tolist() if item not in followers]) if followers else own)
        return torch.from_numpy(padded(rows))

    def clean(self, row: int, items: Ints) -> Ints:
        """What a model brought for a request, with new items, without gone, barred and filtered ones."""
        items = self.catalog.expand(items[items > 0])
        allowed = self.allowed[row]
        some = ~self.catalog.gone[items] if allowed is None else allowed[items]
        if len(self.barred[row]):
            some &= ~np.isin(items, self.barred[row])
        return items[some]


@dataclass(frozen=True)
class Candidates:
    """What a channel brings for one request.

    items: places, best first. interest: of the interest channel, what brought each of them, by its place among the user's interests.
    """

    items: Ints
    interest: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def first(self, count: int) -> "Candidates":
        """The first so many."""
        return Candidates(self.items[:count], self.interest[:count])


class Channel(Protocol):
    """One way in. `find` runs in the channel's lane; the answer has a list for each of its names and each request."""

    @property
    def names(self) -> Sequence[str]: ...

    def find(self, wanted: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        """Up to k items, and somewhat more where new ones stand in between, for each request."""
        ...


class PopularChannel:
    """What is clicked most, for whom nothing else is known, and to fill a filter's pool."""

    names = ("popular",)

    def __init__(self, split: Split) -> None:
        counts = np.bincount(split.train_clicks(("recommend",))[1], minlength=split.data.sizes.items + 1)
        self._order = np.argsort(-counts[1:], kind="stable") + 1

    def find(self, wanted: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        return {"popular": [Candidates(self._one(wanted, row, k)) for row in range(len(wanted))]}

    def _one(self, wanted: RequestBatch, row: int, k: int) -> Ints:
        """The first k that may be shown; new items that nothing stands in for come last."""
        found: list[Ints] = []
        start, step = 0, 2 * k
        while start < len(self._order) and sum(map(len, found)) < k:
            found.append(wanted.clean(row, self._order[start : start + step]))
            start, step = start + step, 2 * step  # a strict filter passes few of the first
        return np.concatenate((*found, wanted.clean(row, wanted.catalog.unlike)))[:k]


class ModelChannel:
    """Any model that retrieves: sasrec, itemknn, gensar, tiger, for the task of the request. Nothing for the feed of who has no history."""

    def __init__(self, run: Run, *, most: int | None = None) -> None:
        self.names = (run.label,)
        self._run = run
        self._device = run.model.device
        self._most = most if most is not None else run.model.config.beam if isinstance(run.model, GenSAR) else None

    def find(self, wanted: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        model = self._run.model
        k = min(k, self._most or k)
        batch = batch_of(self._run.data, wanted.histories, model.needs, wanted.task, wanted.queries).to(self._device)
        ids, _ = model.retrieve(batch, k, wanted.exclude().to(self._device))
        rows = ids.cpu().numpy()
        some = [bool(wanted.queries) or bool(past) for past in wanted.histories]
        nothing = np.zeros(0, dtype=np.int64)
        return {
            self.names[0]: [
                Candidates(wanted.clean(row, rows[row]) if some[row] else nothing) for row in range(len(wanted))
            ]
        }


class SerendipityChannel:
    """The two channels of a serendipity run: by behaviour, and by interests that the user has not acted on."""

    names = ("behaviour", "interest")

    def __init__(self, run: Run, interest_encoder: InterestEncoder) -> None:
        assert isinstance(run.model, Serendipity)
        self._run, self._model, self._wording = run, run.model, interest_encoder
        self._device = run.model.device

    def find(self, wanted: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        device = self._device
        batch = batch_of(self._run.data, wanted.histories, self._model.needs, "recommend").to(device)
        wishes, places = self._wording.wishes(wanted.interests)
        found = self._model.channels(batch, k, wanted.exclude().to(device), interests=wishes)
        usual, second, interest = (part.cpu().numpy() for part in (found.usual, found.interesting, found.interest))
        behaviour, interesting = [], []
        for row in range(len(wanted)):
            nothing = np.zeros(0, dtype=np.int64)
            behaviour.append(Candidates(wanted.clean(row, usual[row]) if wanted.histories[row] else nothing))
            some = second[row] > 0
            which = dict(zip(second[row][some].tolist(), interest[row][some].tolist(), strict=True))
            items = wanted.clean(row, second[row])
            at = [places[row][which[int(wanted.catalog.proxy[item])]] for item in items.tolist()]
            interesting.append(Candidates(items, np.array(at, dtype=np.int64)))
        return {"behaviour": behaviour, "interest": interesting}


class LexicalChannel:
    """bm25 over the words of items, new ones too."""

    names = ("bm25",)

    def find(self, wanted: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        catalog = wanted.catalog
        lexicon, known = catalog.base.lexicon, catalog.base.data.sizes.items
        out = []
        for row, query in enumerate(wanted.queries):
            allowed = wanted.allowed[row]
            allowed = ~catalog.gone if allowed is None else allowed
            items, scores = lexicon.best(lexicon.words(query), k + len(wanted.barred[row]), allowed)
            if catalog.new:
                places = np.flatnonzero(allowed[known + 1 :]) + known + 1
                fresh = np.array(
                    [lexicon.score_new(query, item_words(catalog.about(place))) for place in places.tolist()]
                )
                items, scores = np.concatenate((items, places[fresh > 0])), np.concatenate((scores, fresh[fresh > 0]))
                items = items[np.argsort(-scores, kind="stable")]
            if len(wanted.barred[row]):
                items = items[~np.isin(items, wanted.barred[row])]
            out.append(Candidates(items[:k]))
        return {"bm25": out}


class DenseChannel:
    """A dense run: the nearest items to the query by a sentence encoder, new ones too. Exact up to `retrieval.index.EXACT_UP_TO` items."""

    names = ("dense",)

    def __init__(self, run: Run) -> None:
        assert isinstance(run.model, Dense)
        self._vectors: Tensor = run.model.vectors
        self._encoder = Encoder(run.model.config.encoder)
        self._index = VectorIndex(self._vectors, probes=_PROBES, keep=cache_folder() / "indexes")
        self._kept: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._new: dict[str, NDArray[np.float32]] = {}
        queries = run.data.searches.query
        often = np.argsort(-np.bincount(queries, minlength=1)[1:], kind="stable")[:_AHEAD] if len(queries) else queries
        texts = run.data.queries.texts.gather(
            often.astype(np.int64)
        ).to_list()  # what is asked most need not be encoded in a request
        self._kept.update(zip(texts, self._encoder.encode(texts), strict=True))

    def find(self, wanted: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        queries = torch.from_numpy(self._encoded(wanted.queries)).to(self._vectors.device)
        fresh = self._fresh(wanted.catalog)
        known = len(self._vectors) - 1
        out = []
        for row, query in enumerate(queries):
            allowed = wanted.allowed[row]
            few = allowed is not None and int(allowed[: known + 1].sum()) <= _ENUMERATED
            if allowed is not None and few:
                items = torch.from_numpy(np.flatnonzero(allowed[: known + 1])).to(query.device)
                scores = self._vectors[items] @ query
                best = scores.topk(min(k, len(items)))
                items, scores = items[best.indices], best.values
            else:
                found, products = self._index.search(query[None], k + len(wanted.barred[row]))
                items, scores = found[0], products[0]
            if fresh is not None:
                items = torch.cat((items, torch.arange(known + 1, known + 1 + len(fresh), device=items.device)))
                scores = torch.cat((scores, torch.from_numpy(fresh).to(query.device) @ query))
                items = items[scores.argsort(descending=True, stable=True)]
            places = items.cpu().numpy()
            places = places[places > 0]
            some = ~wanted.catalog.gone[places] if allowed is None else allowed[places]
            if len(wanted.barred[row]):
                some &= ~np.isin(places, wanted.barred[row])
            out.append(Candidates(places[some][:k]))
        return {"dense": out}

    def _encoded(self, queries: Sequence[str]) -> NDArray[np.float32]:
        missing = [query for query in dict.fromkeys(queries) if query not in self._kept]
        if missing:
            self._kept.update(zip(missing, self._encoder.encode_now(missing), strict=True))
        found = np.stack([self._kept[query] for query in queries])
        for query in queries:
            self._kept.move_to_end(query)
        while len(self._kept) > _QUERIES:
            self._kept.popitem(last=False)
        return found

    def _fresh(self, catalog: CatalogSnapshot) -> NDArray[np.float32] | None:
        """[n, E] vectors of the new items."""
        if not catalog.new:
            return None
        texts = [item_words(one.about) for one in catalog.new]
        if missing := [text for text in dict.fromkeys(texts) if text not in self._new]:
            self._new.update(zip(missing, self._encoder.encode_now(missing), strict=True))
        return np.stack([self._new[text] for text in texts])
