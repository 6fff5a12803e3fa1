"""The reasoner that needs no model: it walks the catalogue.

Up and down its hierarchy, and from category to category by meaning and by who clicks both.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from typing_extensions import override

from searec.config import Count, NonNegative, Share, as_dict, configure, settings
from searec.data.ragged import Ragged
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.interests.category_index import NEAR, CategoryIndex, CategoryMatch, Encode
from searec.interests.interest_graph import Edge, InterestGraph, Signal, merge_edges
from searec.interests.profile import Profile
from searec.interests.reasoner import BuiltInReasoner, ReasoningResult
from searec.text.encoder import DEFAULT, Encoder

VERSION = "offline-1"
"""Changes with every change to what is said from the same input."""
_HOW = {"name": "named", "word": "named in it", "meaning": "near in meaning"}
_ROWS_AT_ONCE = 1024
_CANDIDATES = 3
"""Candidates for each interest of a graph, before the rule of novelty."""


@settings
class OfflineSettings:
    """How far the walk goes.

    Attributes:
        interests: in a graph at most, the most confident ones.
        meanings: categories that one query may mean.
        near: least cosine at which a query means a category that it does not name.
        neighbours: categories reached from one category.
        behaviour: weight of who clicks both, the rest is that of meaning.
        shrink: users by which the former is held back, so that a pair that few have clicked counts less.
        clicks: newest clicks, used where there is no query.
    """

    interests: Count = 8
    meanings: Count = 3
    near: Share = NEAR
    neighbours: Count = 40
    behaviour: Share = 0.7
    shrink: NonNegative = 10.0
    clicks: Count = 10


@dataclass(frozen=True)
class _Meant:
    """A signal and a category it means."""

    signal: str
    kind: Signal
    category: int
    confidence: float
    evidence: str
    time: int


class OfflineReasoner(BuiltInReasoner):
    """From queries to the categories clicked after them (or named, or meant), up to demands, down to new categories.

    Events are read from training alone, `split.cutoff` of `tasks`.
    """

    name = "offline"

    def __init__(
        self, split: Split, encode: Encode, config: OfflineSettings | None = None, *, tasks: Sequence[Task] = TASKS
    ) -> None:
        self.config = config or OfflineSettings()
        self.catalogue = CategoryIndex(split.data, encode)
        self._after = _clicked_after(split, self.catalogue.taxonomy.narrow, tasks)
        self._query = split.data.queries.ids
        self._near = self._neighbours(split, tasks)
        digested = json.dumps(
            [
                VERSION,
                split.data.fingerprint,
                list(split.bounding(tasks)),
                split.unseen,
                split.split_at,
                as_dict(self.config),
            ],
            sort_keys=True,
        )
        self._version = hashlib.blake2b(digested.encode(), digest_size=8).hexdigest()

    @property
    @override
    def version(self) -> str:
        return self._version

    @classmethod
    @override
    def open(cls, split: Split, tasks: Sequence[Task], options: Mapping[str, str]) -> Self:
        values = dict(options)
        encode = Encoder(values.pop("encoder", DEFAULT)).encode
        return cls(split, encode, configure(OfflineSettings, values, where="offline reasoner"), tasks=tasks)

    @override
    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        queries = dict.fromkeys(one.text for profile in profiles for one in profile.queries)
        texts = [text for text in queries if not self._clicks_after(text)]
        matches = self.catalogue.find(texts, near=self.config.near, most=self.config.meanings)
        meanings = dict(zip(texts, matches, strict=True))
        return [ReasoningResult(profile, self._graph(profile, meanings)) for profile in profiles]

    def _graph(self, profile: Profile, meanings: Mapping[str, list[CategoryMatch]]) -> InterestGraph:
        meant = [one for one in self._meant(profile, meanings) if self._demand(one.category)]
        up = merge_edges(
            Edge(
                source=one.signal,
                target=self._demand(one.category),
                relation="hypernym",
                signal=one.kind,
                evidence=one.evidence,
                confidence=one.confidence,
                time=one.time,
            )
            for one in meant
        )
        origin = {"reasoner": self.name, "version": self.version}
        graph = InterestGraph(profile.user, profile.at, (*up, *merge_edges(self._widened(profile, meant))), origin)
        return graph.novel(profile).top(self.config.interests)

    def _meant(self, profile: Profile, meanings: Mapping[str, list[CategoryMatch]]) -> Iterator[_Meant]:
        """What each query means; where no query means anything, what was clicked."""
        any_match = False
        taxonomy = self.catalogue.taxonomy
        for one in profile.queries:
            if clicked := self._clicks_after(one.text):
                total = sum(clicked.values())
                for category, count in clicked.most_common(self.config.meanings):
                    any_match = True
                    evidence = f"{count} of {total} clicks after it"
                    yield _Meant(one.text, "query", category, count / total, evidence, one.time)
            for meaning in meanings.get(one.text, ()):
                any_match = True
                evidence = f"{taxonomy.name(meaning.category)}: {_HOW[meaning.matched_by]}"
                yield _Meant(one.text, "query", meaning.category, meaning.sureness, evidence, one.time)
        if not any_match:
            for click in profile.clicks[: self.config.clicks]:
                clicked_on = [self.catalogue.named(name) for name in click.categories]
                narrow = [
                    c
                    for c in clicked_on
                    if c and not any(c in self._ancestors(other) for other in clicked_on if other != c)
                ]
                for category in narrow:
                    title = click.title.strip() or taxonomy.name(category)
                    yield _Meant(title, "click", category, 1 / len(narrow), "its category", click.time)

    def _widened(self, profile: Profile, meant: Sequence[_Meant]) -> list[Edge]:
        """Return edges from each demand to near categories that the user has not touched, the surest."""
        taxonomy = self.catalogue.taxonomy
        touched = {self.catalogue.named(name) for click in profile.clicks for name in click.categories}
        touched |= {one.category for one in meant}
        touched |= {above for category in touched for above in self._ancestors(category)}
        # By demand and category: the confidence of the whole path and of the step.
        best: dict[tuple[str, int], tuple[float, float, _Meant]] = {}
        for one in meant:
            demand = self._demand(one.category)
            span = slice(self._near.indptr[one.category], self._near.indptr[one.category + 1])
            for category, near in zip(self._near.indices[span].tolist(), self._near.data[span].tolist(), strict=True):
                if category not in touched and near * one.confidence > best.get((demand, category), (0.0,))[0]:
                    best[demand, category] = (near * one.confidence, near, one)
        surest = sorted(best.items(), key=lambda entry: (-entry[1][0], entry[0]))[: _CANDIDATES * self.config.interests]
        return [
            Edge(
                source=demand,
                target=taxonomy.name(category),
                relation="hyponym" if self.catalogue.named(demand) in self._ancestors(category) else "co-hyponym",
                evidence=f"near {taxonomy.name(one.category)}",
                confidence=near,
                time=one.time,
            )
            for (demand, category), (_, near, one) in surest
            if self.catalogue.usable[category]
        ]

    def _demand(self, category: int) -> str:
        """Return the name of the nearest ancestor that has a usable one, else the category's, "" if it has none."""
        usable = (place for place in (*self._ancestors(category), category) if self.catalogue.usable[place])
        place = next(usable, 0)
        return self.catalogue.taxonomy.name(place) if place else ""

    def _ancestors(self, category: int) -> list[int]:
        """Return the ancestors of a category, upwards."""
        line, above = [], int(self.catalogue.taxonomy.parent[category])
        while above:
            line.append(above)
            above = int(self.catalogue.taxonomy.parent[above])
        return line

    def _clicks_after(self, query: str) -> Counter[int]:
        """Clicks after a query in training, by narrow category."""
        row = self._query.find(query)
        span = slice(self._after.indptr[row], self._after.indptr[row + 1])
        return Counter(dict(zip(self._after.indices[span].tolist(), self._after.data[span].tolist(), strict=True)))

    def _neighbours(self, split: Split, tasks: Sequence[Task]) -> csr_array:
        """[C + 1, C + 1] how near each category's nearest ones are, in (0, 1]."""
        config, count = self.config, len(self.catalogue) + 1
        both = _clicked_by_the_same(split, self.catalogue.taxonomy.narrow, count, tasks, config.shrink)
        parts = [csr_array((0, count))]
        for start in range(0, count, _ROWS_AT_ONCE):
            rows = slice(start, min(start + _ROWS_AT_ONCE, count))
            near = config.behaviour * both[rows].toarray()
            if config.behaviour < 1:
                vectors = self.catalogue.vectors
                near += (1 - config.behaviour) * np.clip(vectors[rows] @ vectors.T, 0, 1)
            near[:, 0] = 0
            near[np.arange(len(near)), np.arange(rows.start, rows.stop)] = 0
            parts.append(_largest(near, config.neighbours))
        return csr_array(vstack(parts, format="csr"))


def _largest(rows: NDArray[np.floating], keep: int) -> csr_array:
    """The `keep` largest values of each row that are above 0, largest first."""
    best = np.argsort(-rows, axis=1, kind="stable")[:, :keep]
    values = np.take_along_axis(rows, best, axis=1)
    positive = values > 0
    offsets = np.concatenate(([0], np.cumsum(positive.sum(axis=1))))
    return csr_array((np.clip(values[positive], 1e-6, 1.0), best[positive], offsets), shape=rows.shape)


def _clicked_after(split: Split, narrow: Ragged, tasks: Sequence[Task]) -> csr_array:
    """[Q + 1, C + 1] training clicks after each query, by narrow category of the item."""
    searches, sizes = split.data.searches, split.data.sizes
    asker = np.repeat(np.arange(len(searches.offsets) - 1), np.diff(searches.offsets))
    old = np.flatnonzero(searches.time < split.cutoff(tasks)[asker])
    item, session = searches.clicks.take(old)
    category, click = narrow.take(item)
    where = (searches.query[old][session[click]], category)
    shape = (sizes.queries + 1, sizes.categories + 1)
    clicks = csr_array((np.ones(len(category), dtype=np.int64), where), shape=shape)
    clicks.sum_duplicates()
    return clicks


def _clicked_by_the_same(split: Split, narrow: Ragged, count: int, tasks: Sequence[Task], shrink: float) -> csr_array:
    """[C + 1, C + 1] cosine of the sets of users who clicked each category in training, held back by `shrink` users."""
    user, item, _ = split.train_clicks(tasks)
    category, click = narrow.take(item)
    clicked = csr_array((np.ones(len(category)), (user[click], category)), shape=(split.data.sizes.users + 1, count))
    clicked.sum_duplicates()
    clicked.data[:] = 1
    users = np.asarray(clicked.sum(axis=0))
    both = (clicked.T @ clicked).tocoo()
    a, b = both.coords
    return csr_array((both.data / (np.sqrt(users[a] * users[b]) + shrink), (a, b)), shape=(count, count))
