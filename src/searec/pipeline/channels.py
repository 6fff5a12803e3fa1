"""Channels: the ways in which items enter the candidate pool, one class for each kind that a model declares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.feedback import train_weights
from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.data.split import Split
from searec.data.user_history import UserHistory, batch_of, padded
from searec.interests.user_interests import UserInterests
from searec.models.capabilities import RetrievesByInterest, supports
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.pipeline.histories import UserContext
from searec.pipeline.new_items import NewItemScorer
from searec.pipeline.user_interests import InterestEncoder
from searec.plugins import Registry
from searec.search.intent import Intent
from searec.search.query import SearchQuery
from searec.search.typed_forms import accented_words, typed_form_scores

if TYPE_CHECKING:
    from searec.pipeline.run import Run

Mask = NDArray[np.bool_]
_EXCLUDED = 500
"""The newest consumed items, which a model leaves out; the rest is filtered from its list."""
_NOTHING: Ints = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class RequestBatch:
    """B requests as the channels and rankers read them.

    Attributes:
        catalog: the items at the time of the requests.
        users: the history of each user.
        queries: [B] query texts; empty for the feed.
        allowed: [B] of [N + 1] items that pass a request's filters, None without filters.
        excluded: [B] item indexes that a request must not get, besides unavailable ones.
        interests: [B] the interests of each user.
        parsed: [B] the queries as the lexical index reads them; empty for the feed.
        intent: what queries can name; None for what needs no search by words.
    """

    catalog: CatalogSnapshot
    users: Sequence[UserContext]
    queries: Sequence[str] = ()
    allowed: Sequence[Mask | None] = ()
    excluded: Sequence[Ints] = ()
    interests: Sequence[UserInterests] = ()
    parsed: Sequence[SearchQuery] = ()
    intent: Intent | None = None

    def __len__(self) -> int:
        return len(self.users)

    @property
    def histories(self) -> list[UserHistory]:
        """[B] the users' histories."""
        return [user.history for user in self.users]

    @property
    def task(self) -> Task:
        """Search if there are queries."""
        return "search" if self.queries else "recommend"

    def bonus(self, row: int, items: Ints) -> NDArray[np.float32]:
        """Return what items [n] gain over the scores of words: for accents as typed, categories and attributes.

        Args:
            row: of the request.
            items: [n] item indexes.
        """
        query, bonus = self.parsed[row], np.zeros(len(items), dtype=np.float32)
        if self.intent is not None:
            bonus += self.intent.scores(query, items, self.catalog.since_dataset)
        if words := accented_words(query):
            bonus += typed_form_scores(words, self.catalog.titles(items))
        return bonus

    def excluded_ids(self, most: int | None = _EXCLUDED) -> Tensor:
        """[B, E] internal ids that models leave out; an item that is the proxy of a new one stays.

        Args:
            most: of each request, the newest; None for all.
        """
        known, followers = self.catalog.base.data.sizes.items, self.catalog.followers
        rows = []
        for excluded in self.excluded:
            newest = excluded[excluded <= known][-(most or len(excluded)) :]
            rows.append(np.array([item for item in newest.tolist() if item not in followers]) if followers else newest)
        return torch.from_numpy(padded(rows))

    def with_new_items(self, row: int, items: Ints) -> Ints:
        """Return a model's list for a request with new items, without unavailable, excluded and filtered ones.

        Args:
            row: of the request.
            items: internal ids, best first, 0 for none.
        """
        return self.permitted(row, self.catalog.expand(items[items > 0]))

    def permitted(self, row: int, items: Ints) -> Ints:
        """Return the items of a list that a request may get.

        Args:
            row: of the request.
            items: item indexes.
        """
        return items[self.is_permitted(row, items)]

    def is_permitted(self, row: int, items: Ints) -> NDArray[np.bool_]:
        """Return which items of a list a request may get.

        Args:
            row: of the request.
            items: [n] item indexes.
        """
        allowed = self.allowed[row]
        is_permitted = ~self.catalog.unavailable[items] if allowed is None else allowed[items]
        if len(self.excluded[row]):
            is_permitted &= ~np.isin(items, self.excluded[row])
        return is_permitted


@dataclass(frozen=True)
class Candidates:
    """What a channel retrieves for one request.

    Attributes:
        items: item indexes, best first.
        interest: of the interest channel, the position among the user's interests of the one that each item matches.
        score: of a run's list by itself, the model's scores.
    """

    items: Ints
    interest: Ints = field(default_factory=lambda: _NOTHING)
    score: NDArray[np.floating] | None = None

    def first(self, count: int) -> "Candidates":
        """Return the first `count` of them."""
        return Candidates(self.items[:count], self.interest[:count])


class Channel(Protocol):
    """A way to retrieve items. The result has a list for each of its names and each request."""

    @property
    def names(self) -> Sequence[str]:
        """The channels that items come from, as responses name them."""
        ...

    def retrieve(self, requests: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        """Retrieve up to k items for each request, and somewhat more where new items follow their proxies.

        Args:
            requests: B requests.
            k: items of each.
        """
        ...


class PopularChannel:
    """The most clicked items, each click by its weight: for unknown users, and to fill the pool of a strict filter."""

    names = ("popular",)

    def __init__(self, split: Split) -> None:
        self.split = split
        item, weight = split.train_clicks(("recommend",))[1], train_weights(split, ("recommend",))
        weighted = np.bincount(item, weight, minlength=split.data.sizes.items + 1)
        self._order = np.argsort(-weighted[1:], kind="stable") + 1

    def retrieve(self, requests: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        """As `Channel.retrieve`; new items without a proxy come last.

        Args:
            requests: B requests.
            k: items of each.
        """
        return {"popular": [Candidates(self._first(requests, row, k)) for row in range(len(requests))]}

    def _first(self, requests: RequestBatch, row: int, k: int) -> Ints:
        parts: list[Ints] = []
        start, step = 0, 2 * k
        while start < len(self._order) and sum(map(len, parts)) < k:
            parts.append(requests.with_new_items(row, self._order[start : start + step]))
            start, step = start + step, 2 * step  # a strict filter passes few of the first
        return np.concatenate((*parts, requests.with_new_items(row, requests.catalog.without_proxy)))[:k]


class ModelChannel:
    """Whatever a run's model retrieves for the task of the requests; nothing for the feed of a user without history."""

    def __init__(self, run: "Run", encoder: InterestEncoder | None = None) -> None:
        self.names: tuple[str, ...] = (run.label,)
        self._run, self._new = run, NewItemScorer(run)

    def retrieve(self, requests: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        """As `Channel.retrieve`.

        Args:
            requests: B requests.
            k: items of each.
        """
        model = self._run.model
        batch = batch_of(self._run.data, requests.histories, model.needs, requests.task, requests.queries)
        batch, excluded = batch.to(model.device), requests.excluded_ids().to(model.device)
        retrieved = model.retrieve(batch, min(k, model.candidate_limit or k), excluded)
        if self._new.applies(requests.catalog):
            lists = [items[:k] for items, _ in self._new.merged(requests, batch, *retrieved)]
        else:
            lists = [requests.with_new_items(row, items) for row, items in enumerate(retrieved[0].cpu().numpy())]
        has_request = [bool(requests.queries) or bool(history) for history in requests.histories]
        return {
            self.names[0]: [
                Candidates(items if is_served else _NOTHING)
                for items, is_served in zip(lists, has_request, strict=True)
            ]
        }


class RunChannel:
    """A run's list as its model gives it, with its scores, for users without history too: `Run.recommend` and `search`.

    Of a model that retrieves by interest, `Candidates.interest` is -1 for items of the behaviour channel.
    """

    def __init__(self, run: "Run") -> None:
        self.names = (run.label,)
        self._run, self._new = run, NewItemScorer(run)

    def retrieve(self, requests: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        """As `Channel.retrieve`.

        Args:
            requests: B requests.
            k: items of each.
        """
        model = self._run.model
        batch = batch_of(self._run.data, requests.histories, model.needs, requests.task, requests.queries)
        batch, excluded = batch.to(model.device), requests.excluded_ids(None).to(model.device)
        if self._new.applies(requests.catalog):
            lists = self._new.merged(requests, batch, *model.retrieve(batch, k, excluded))
            return {self.names[0]: [Candidates(items[:k], score=scores[:k]) for items, scores in lists]}
        if supports(model, RetrievesByInterest):
            pool = model.pool(batch, k, excluded)
            ids, scores, interest = pool.pool.items, pool.score, pool.interest
        else:
            ids, scores = model.retrieve(batch, k, excluded)
            interest = torch.full_like(ids, -1)
        if model.channel == "lexical":  # a score of 0 is an item without any word of the query
            ids = torch.where(scores > 0, ids, 0)
        rows = zip(*(part.cpu().numpy() for part in (ids, interest, scores)), strict=True)
        return {self.names[0]: [Candidates(*(part[row[0] > 0] for part in row)) for row in rows]}


class InterestChannel:
    """Both channels of a model that retrieves by interest: by behaviour, and by interests not yet acted on."""

    names = ("behaviour", "interest")

    def __init__(self, run: "Run", encoder: InterestEncoder) -> None:
        self._run, self._encoder = run, encoder
        self._model: Any = run.model

    def retrieve(self, requests: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        """As `Channel.retrieve`.

        Args:
            requests: B requests.
            k: items of each.
        """
        model = self._model
        batch = batch_of(self._run.data, requests.histories, model.needs, "recommend").to(model.device)
        interests, positions = self._encoder.encode(requests.interests)
        lists = model.channels(batch, k, requests.excluded_ids().to(model.device), interests=interests)
        usual, second, interest = (part.cpu().numpy() for part in (lists.usual, lists.interesting, lists.interest))
        behaviour, interesting = [], []
        for row in range(len(requests)):
            behaviour.append(
                Candidates(requests.with_new_items(row, usual[row]) if requests.histories[row] else _NOTHING)
            )
            is_item = second[row] > 0
            matched = dict(zip(second[row][is_item].tolist(), interest[row][is_item].tolist(), strict=True))
            items = requests.with_new_items(row, second[row])
            at = [positions[row][matched[int(requests.catalog.proxy[item])]] for item in items.tolist()]
            interesting.append(Candidates(items, np.array(at, dtype=np.int64)))
        return {"behaviour": behaviour, "interest": interesting}


class LexicalChannel:
    """The lexical index over the words of items as they are now.

    Args:
        prior: [I + 1] added to the scores of items that have a word of the query; none by default.
    """

    names = ("bm25",)

    def __init__(self, prior: NDArray[np.float32] | None = None) -> None:
        self._prior = prior

    def retrieve(self, requests: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        """As `Channel.retrieve`.

        Args:
            requests: B requests.
            k: items of each.
        """
        catalog = requests.catalog
        lists = []
        for row, query in enumerate(requests.parsed):
            allowed = catalog.available if requests.allowed[row] is None else requests.allowed[row]
            items, scores = catalog.lexical.best(query, k + len(requests.excluded[row]), allowed, self._prior)
            items = items[np.argsort(-scores - requests.bonus(row, items), kind="stable")]
            lists.append(Candidates(requests.permitted(row, items)[:k]))
        return {"bm25": lists}


_HERE = "searec.pipeline.channels"
KINDS: Mapping[str, str] = {
    "behaviour": f"{_HERE}:ModelChannel",
    "interest": f"{_HERE}:InterestChannel",
    "dense": "searec.pipeline.dense_channel:DenseChannel",
}
"""The kinds of `Model.channel` that become a channel of their run; lexical and popular channels are always there."""
CHANNELS = Registry("channel", KINDS, group="searec.channels")
