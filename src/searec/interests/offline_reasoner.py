"""The reasoner that needs no model of language: queries to demands to categories that a learned model expects next."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import override

from searec.config import Count, NonNegative, Share, as_dict, configure, settings
from searec.data.ragged import Ints, Ragged
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.interests.category_index import NEAR, CategoryIndex, CategoryMatch, Encode
from searec.interests.interest_graph import Edge, InterestGraph, Signal, merge_edges
from searec.interests.novel_clicks import CategorySignals, CategoryStatistics, NovelClickModel
from searec.interests.profile import Profile, profiles
from searec.interests.reasoner import BuiltInReasoner, ReasoningResult
from searec.text.encoder import DEFAULT, Encoder

VERSION = "offline-2"
"""Changes with every change to what is said from the same input."""
_HOW = {"name": "named", "word": "named in it", "meaning": "near in meaning"}
_CANDIDATES = 3
"""Candidates for each interest of a graph, before the rule of novelty."""
_AT_ONCE = 256
_FOLDS = 4
_EXAMPLES = 4_000
"""Users whose last novel training click the model is fitted to, at most."""


@settings
class OfflineSettings:
    """What is read and how far it leads.

    Attributes:
        interests: in a graph at most, the most likely ones.
        meanings: categories that one query may mean.
        near: least cosine at which a query means a category that it does not name, and a demand leads to a category
            that nobody clicked with it.
        shrink: users by which shares are held back, so that a pair that few have clicked counts less.
        clicks: newest clicks whose categories are demands, where no query leads to an interest.
    """

    interests: Count = 8
    meanings: Count = 3
    near: Share = NEAR
    shrink: NonNegative = 10.0
    clicks: Count = 10


@dataclass(frozen=True)
class MeantCategory:
    """A query or a click, and a category that it means."""

    signal: str
    kind: Signal
    category: int
    confidence: float
    evidence: str
    time: int


_Step = tuple[int, bool, str]
"""Of a category: the demand that leads to it, whether it stands below that, and the evidence."""


class OfflineReasoner(BuiltInReasoner):
    """Two hops over the catalogue's categories, ranked by what users click next (`novel_clicks`).

    Hop 1: a query means the categories that were clicked after it (or that it names, or is near to); its demands stand
    above them. Hop 2: from each demand to the categories below it, or clicked by those who clicked something of it.
    Events are read from training alone, `split.cutoff` of `tasks`; the model is fitted to each user's last novel click
    in it, by statistics of other users.
    """

    name = "offline"

    def __init__(
        self, split: Split, encode: Encode, config: OfflineSettings | None = None, *, tasks: Sequence[Task] = TASKS
    ) -> None:
        self.config = config or OfflineSettings()
        self.catalogue = CategoryIndex(split.data, encode)
        self._after = _clicked_after(split, self.catalogue.taxonomy.narrow, tasks)
        self._query = split.data.queries.ids
        self._demand = self._demands()
        self._narrow, self._both = cache(self._narrow_of), cache(self._both_of)
        clicked = _clicked(split, self.catalogue.taxonomy.narrow, tasks)
        self.model = self._model(clicked)
        self.model = self.model.fitted(list(self._examples(split, clicked, tasks)))
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
        results = []
        for start in range(0, len(profiles), _AT_ONCE):
            block = profiles[start : start + _AT_ONCE]
            meant = self._meant(block)
            chances = self.model.chances(self._signals(block, meant))
            results += [
                ReasoningResult(profile, self._graph(profile, one, row))
                for profile, one, row in zip(block, meant, chances, strict=True)
            ]
        return results

    # --- hop 1 ---

    def _meant(self, profiles: Sequence[Profile]) -> list[list[MeantCategory]]:
        queries = dict.fromkeys(one.text for profile in profiles for one in profile.queries)
        texts = [text for text in queries if not self._clicks_after(text)]
        matches = self.catalogue.find(texts, near=self.config.near, most=self.config.meanings)
        meanings = dict(zip(texts, matches, strict=True))
        return [
            [one for one in self._meant_by(profile, meanings) if self._demand[one.category]] for profile in profiles
        ]

    def _meant_by(self, profile: Profile, meanings: Mapping[str, list[CategoryMatch]]) -> Iterator[MeantCategory]:
        """What each query means, and what was clicked."""
        taxonomy = self.catalogue.taxonomy
        for one in profile.queries:
            if clicked := self._clicks_after(one.text):
                total = sum(clicked.values())
                for category, count in clicked.most_common(self.config.meanings):
                    evidence = f"{count} of {total} clicks after it"
                    yield MeantCategory(one.text, "query", category, count / total, evidence, one.time)
            for meaning in meanings.get(one.text, ()):
                evidence = f"{taxonomy.name(meaning.category)}: {_HOW[meaning.matched_by]}"
                yield MeantCategory(one.text, "query", meaning.category, meaning.sureness, evidence, one.time)
        for click in profile.clicks[: self.config.clicks]:
            narrow, _ = self._narrow(click.categories)
            for category in narrow:
                title = click.title.strip() or taxonomy.name(category)
                yield MeantCategory(title, "click", category, 1 / len(narrow), "its category", click.time)

    def _signals(self, profiles: Sequence[Profile], meant: Sequence[Sequence[MeantCategory]]) -> CategorySignals:
        """What the model reads of each profile."""
        shape = (len(profiles), len(self._demand))
        clicks, last, queried, demands = (np.zeros(shape) for _ in range(4))
        barred = np.zeros(shape, dtype=bool)
        barred[:] = ~self.catalogue.usable
        for row, (profile, signals) in enumerate(zip(profiles, meant, strict=True)):
            for place, click in enumerate(profile.clicks):
                narrow, touched = self._narrow(click.categories)
                clicks[row, narrow] += 1
                last[row, narrow] += place == 0
                barred[row, touched] = True
            for one in signals:
                if one.kind == "query":
                    queried[row, one.category] += one.confidence / len(profile.queries)
                    demands[row, self._demand[one.category]] += one.confidence / len(profile.queries)
        return CategorySignals(clicks, last, queried, demands, barred)

    # --- hop 2 ---

    def _graph(self, profile: Profile, meant: Sequence[MeantCategory], chances: NDArray[np.float64]) -> InterestGraph:
        taxonomy = self.catalogue.taxonomy
        by_kind: dict[Signal, dict[int, MeantCategory]] = {"query": {}, "click": {}}
        for one in meant:
            sure, demand = by_kind[one.kind], int(self._demand[one.category])
            if demand not in sure or one.confidence > sure[demand].confidence:
                sure[demand] = one
        steps = self._steps([list(sure) for sure in by_kind.values()], chances)
        sure = {**by_kind["click"], **by_kind["query"]}
        leads = {demand for _, (demand, _, _) in steps}
        up = merge_edges(
            Edge(
                source=one.signal,
                target=taxonomy.name(self._demand[one.category]),
                relation="hypernym",
                signal=one.kind,
                evidence=one.evidence,
                confidence=one.confidence,
                time=one.time,
            )
            for one in meant
            if one.kind == "query"
            or not by_kind["query"]
            or (self._demand[one.category] in leads and self._demand[one.category] not in by_kind["query"])
        )
        origin = {"reasoner": self.name, "version": self.version}
        graph = InterestGraph(
            profile.user, profile.at, (*up, *merge_edges(self._widened(sure, steps, chances))), origin
        )
        return graph.novel(profile).top(self.config.interests)

    def _steps(self, demands: Sequence[Sequence[int]], chances: NDArray[np.float64]) -> list[tuple[int, _Step]]:
        """The likeliest categories that a demand leads to, and how; demands of queries before those of clicks."""
        count = _CANDIDATES * self.config.interests
        steps = []
        for category in np.argsort(-chances, kind="stable")[: 2 * count].tolist():
            ways = [way for part in demands if (way := self._step(part, category)) is not None]
            strong = [way for way in ways if way[1]]
            if chances[category] > 0 and ways:
                steps.append((category, (strong or ways)[0][0]))
            if len(steps) == count:
                break
        return steps

    def _widened(
        self, sure: Mapping[int, MeantCategory], steps: Sequence[tuple[int, _Step]], chances: NDArray[np.float64]
    ) -> list[Edge]:
        """Edges from the demands to the likeliest categories; confidence of a path falls as the chance does."""
        if not steps:
            return []
        least = min(sure[demand].confidence for _, (demand, _, _) in steps)
        highest = max(chances[category] for category, _ in steps)
        taxonomy = self.catalogue.taxonomy
        return [
            Edge(
                source=taxonomy.name(demand),
                target=taxonomy.name(category),
                relation="hyponym" if is_below else "co-hyponym",
                evidence=evidence,
                confidence=min(1.0, float(least * chances[category] / highest / sure[demand].confidence)),
                time=sure[demand].time,
            )
            for category, (demand, is_below, evidence) in steps
        ]

    def _step(self, demands: Sequence[int], category: int) -> tuple[_Step, bool] | None:
        """The step from one of the demands to a category, and whether the demand says anything of it.

        It does if the category stands below it, if those who clicked something of the demand click the category more
        often than others, or if their names are near. None if nothing leads to the category.
        """
        demands = [demand for demand in demands if demand != category]
        if not demands:
            return None
        statistics, taxonomy = self.model.statistics, self.catalogue.taxonomy
        both = {demand: self._both(demand).get(category, 0) for demand in demands}
        above = [one for one in self._ancestors(category) if one in both]
        best = above[0] if above else max(both, key=lambda one: both[one] / (statistics.demand_users[one] + 1))
        name, users = taxonomy.name(best), int(statistics.demand_users[best])
        evidence = f"{both[best]:,} of {users:,} who clicked something of {name}" if both[best] else f"a kind of {name}"
        if above:
            return (best, True, evidence), True
        cosine = self.catalogue.vectors[demands] @ self.catalogue.vectors[category]
        if both[best]:
            is_lifted = both[best] * statistics.total > users * statistics.users[category]
            return (best, False, evidence), bool(is_lifted or cosine.max() >= self.config.near)
        if cosine.max() >= self.config.near:
            return (demands[int(cosine.argmax())], False, "near in meaning"), True
        return None

    # --- categories ---

    def _demands(self) -> Ints:
        """[C + 1] the nearest usable category above each one, else itself; 0 if its name is not usable."""
        demands = np.zeros(len(self.catalogue) + 1, dtype=np.int64)
        for category in range(1, len(demands)):
            usable = (place for place in (*self._ancestors(category), category) if self.catalogue.usable[place])
            demands[category] = next(usable, 0)
        return demands

    def _ancestors(self, category: int) -> list[int]:
        """Return the ancestors of a category, upwards."""
        line, above = [], int(self.catalogue.taxonomy.parent[category])
        while above:
            line.append(above)
            above = int(self.catalogue.taxonomy.parent[above])
        return line

    def _narrow_of(self, names: tuple[str, ...]) -> tuple[list[int], list[int]]:
        """The narrow categories of those named, and all of them with what stands above."""
        named = {category for name in names if (category := self.catalogue.named(name))}
        above = {one for category in named for one in self._ancestors(category)}
        return sorted(named - above), sorted(named | above)

    def _both_of(self, demand: int) -> dict[int, int]:
        """Users who clicked something of a demand and each category."""
        both = self.model.statistics.both
        span = slice(both.indptr[demand], both.indptr[demand + 1])
        return dict(zip(both.indices[span].tolist(), both.data[span].astype(int).tolist(), strict=True))

    def _clicks_after(self, query: str) -> Counter[int]:
        """Clicks after a query in training, by narrow category."""
        row = self._query.find(query)
        span = slice(self._after.indptr[row], self._after.indptr[row + 1])
        return Counter(dict(zip(self._after.indices[span].tolist(), self._after.data[span].tolist(), strict=True)))

    # --- learning ---

    def _model(self, clicked: csr_array) -> NovelClickModel:
        statistics = CategoryStatistics.of(clicked, self._demand, self.config.shrink)
        return NovelClickModel(statistics, self.catalogue.taxonomy.parent, self.catalogue.vectors)

    def _examples(
        self, split: Split, clicked: csr_array, tasks: Sequence[Task]
    ) -> Iterator[tuple[NovelClickModel, CategorySignals, Ints]]:
        """Novel training clicks by fold of their users, with statistics of the other folds."""
        user, time, category = _last_novel_clicks(split, self.catalogue.taxonomy.narrow, tasks)
        chosen = np.sort(np.random.default_rng(0).permutation(len(user))[:_EXAMPLES])
        user, time, category = user[chosen], time[chosen], category[chosen]
        fold_of_user = np.random.default_rng(1).integers(_FOLDS, size=clicked.shape[0])
        for fold in range(_FOLDS):
            model = self._model(csr_array(clicked.multiply((fold_of_user != fold)[:, None])))
            rows = np.flatnonzero(fold_of_user[user] == fold)
            for start in range(0, len(rows), _AT_ONCE):
                part = rows[start : start + _AT_ONCE]
                block = list(profiles(split.data, user[part], time[part]))
                signals = self._signals(block, self._meant(block))
                is_new = ~signals.barred[np.arange(len(part)), category[part]]
                yield model, signals.at(is_new), category[part][is_new]


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


def _clicked(split: Split, narrow: Ragged, tasks: Sequence[Task]) -> csr_array:
    """[U + 1, C + 1] 1 where a user clicked a narrow category in training."""
    user, item, _ = split.train_clicks(tasks)
    category, click = narrow.take(item)
    sizes = split.data.sizes
    where = (user[click], category)
    clicked = csr_array((np.ones(len(category)), where), shape=(sizes.users + 1, sizes.categories + 1))
    clicked.sum_duplicates()
    clicked.data[:] = 1
    return clicked


def _last_novel_clicks(split: Split, narrow: Ragged, tasks: Sequence[Task]) -> tuple[Ints, Ints, Ints]:
    """User, time and first narrow category of each user's last training click of which no category was touched."""
    history = split.data.click_history
    user = np.repeat(np.arange(len(history.offsets) - 1), np.diff(history.offsets))
    old = np.flatnonzero(history.time < split.cutoff(tasks)[user])
    category, click = narrow.take(history.item[old])
    place = old[click]
    width = split.data.sizes.categories + 1
    _, first = np.unique(user[place].astype(np.int64) * width + category, return_index=True)
    is_first = np.zeros(len(place), dtype=bool)
    is_first[first] = True
    known = np.bincount(click, ~is_first, minlength=len(old)) > 0
    has_category = np.bincount(click, minlength=len(old)) > 0
    begins = history.time[old] > history.time[history.offsets[user[old]]]
    novel = old[~known & has_category & begins]
    last = novel[np.flatnonzero(np.diff(user[novel], append=-1))]
    return (
        user[last],
        np.asarray(history.time[last]),
        np.array([narrow.row(int(item))[0] for item in history.item[last]]),
    )
