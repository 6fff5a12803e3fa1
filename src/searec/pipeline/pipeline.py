"""Engine: a request becomes channels, a merged and ranked list, and a page of it with reasons. It knows nothing of HTTP."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searec.config import Count, Positive, Share, settings
from searec.data.ragged import Ints
from searec.errors import SearecError, SettingsError
from searec.interests.user_interests import UserInterests
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.pipeline.channels import Candidates, Channel, PopularChannel, RequestBatch
from searec.pipeline.executors import Executor, Pending, Skipped
from searec.pipeline.explanations import Explainer
from searec.pipeline.fusion import Fused, fuse, interleave
from searec.pipeline.histories import Histories, UserContext
from searec.pipeline.live_catalog import LiveCatalog
from searec.pipeline.paging import mark, read_token, token
from searec.pipeline.ranking import Ranker, diversify, fuse_scores
from searec.pipeline.suggestions import Suggester
from searec.pipeline.types import (
    MOST,
    InterestsView,
    ItemView,
    LeftOut,
    RankedItem,
    Request,
    Response,
    ServedRun,
    Suggestions,
    SuggestRequest,
    UserView,
)
from searec.pipeline.user_interests import InterestSource
from searec.pipeline.views import Views
from searec.retrieval.quota_pool import slots

INTEREST = "interest"
MOST_QUERIES = 100
_NOTHING: Ints = np.zeros(0, dtype=np.int64)


@settings
class PipelineSettings:
    """How the engine answers.

    Attributes:
        pool: items that enter the ranking of a feed, at most; search_pool: of a search.
        quota: share of the feed's places for interests.
        diversity: how far near-identical items of a feed are set apart, 0 to 1.
        search_diversity: the same of a search, where alike is often what is wanted.
        seconds: until an answer is due. look: share of it for reading events and interests; bring: until the channels must be back.
        window: places of a list, from the first, among which items may be set apart, and that interests leave to the usual channels.
        personal: weight of the ranker's order of a search beside each channel's.
        threads: of PyTorch within one operation.
    """

    pool: Count = 500
    search_pool: Count = 200
    quota: Share = 0.1
    diversity: Share = 0.3
    search_diversity: Share = 0.1
    seconds: Positive = 0.5
    lookup: Share = 0.3
    retrieve: Share = 0.75
    window: Count = 60
    personal: Positive = 0.5
    threads: Count = 1


@dataclass(frozen=True)
class Parts:
    """What an engine is made of.

    Attributes:
        feed, search: channels by what an answer calls them when they are left out.
        rank_feed, rank_search: rankers; the orders of several are fused.
        popular: for whom nothing is known.
        explainer, suggester, views: what their modules say.
    """

    feed: Mapping[str, Channel]
    search: Mapping[str, Channel]
    popular: PopularChannel
    explainer: Explainer
    suggester: Suggester
    views: Views
    rank_feed: Sequence[Ranker] = ()
    rank_search: Sequence[Ranker] = ()


@dataclass(frozen=True)
class _Looked:
    """What was looked up for requests: the catalogue, who asks, and what is missing of it."""

    catalog: CatalogSnapshot
    known: list[UserContext]
    interests: list[UserInterests]
    left_out: list[LeftOut]


@dataclass
class _Line:
    """The list of one request before it is cut into pages: items, scores, channel and interest of each; second: of the interest channel."""

    items: Ints
    score: NDArray[np.float64]
    channel: list[str]
    interest: Ints
    second: NDArray[np.bool_]

    def at(self, order: Ints) -> "_Line":
        channel = [self.channel[place] for place in order.tolist()]
        return _Line(self.items[order], self.score[order], channel, self.interest[order], self.second[order])


class Pipeline:
    """Answers requests over one dataset and its runs; threads share it.

    What one request does wrong is the error in its own place of the answer; what a part does wrong is that part left out.
    """

    def __init__(
        self,
        live_catalog: LiveCatalog,
        histories: Histories,
        interests: InterestSource,
        parts: Parts,
        settings: PipelineSettings | None = None,
    ) -> None:
        self.settings = settings or PipelineSettings()
        self.live_catalog, self.histories, self.interest_source, self.parts = live_catalog, histories, interests, parts
        names = ["events", "interests", *parts.feed, *parts.search]
        names += [ranker.name for ranker in (*parts.rank_feed, *parts.rank_search)]
        self.executors = {name: Executor(name) for name in dict.fromkeys(names)}
        self.ready = True
        """False once it is closed."""

    # --- lists ---

    def recommend(self, asks: Sequence[Request]) -> list[Response | SearecError]:
        """A page of the feed for each request."""
        return self._answer(asks, self._feed, search=False)

    def search(self, asks: Sequence[Request]) -> list[Response | SearecError]:
        """A page of results for each request, each with a query."""
        return self._answer(asks, self._search, search=True)

    def _answer(self, asks: Sequence[Request], lists: Any, *, search: bool) -> list[Response | SearecError]:
        started = time.monotonic()
        problems: dict[int, SearecError] = {}
        for row, ask in enumerate(asks):
            try:
                check(ask, search=search)
            except SearecError as error:
                problems[row] = error
        good = [row for row in range(len(asks)) if row not in problems]
        answers: dict[int, Response | SearecError] = dict(problems)
        if good:
            mine = [asks[row] for row in good]
            due = started + min(ask.seconds if ask.seconds is not None else self.settings.seconds for ask in mine)
            looked = self.lookup([ask.user for ask in mine], started, due)
            wanted, refused = self._wanted(mine, looked)
            answers.update({good[row]: error for row, error in refused.items()})
            found = lists(mine, wanted, started, due, looked.left_out)
            for place, row in enumerate(good):
                if place not in refused:
                    answers[row] = self._page(mine[place], wanted, place, found[place], looked.left_out, started)
        return [answers[row] for row in range(len(asks))]

    def lookup(self, users: Sequence[str | None], started: float, due: float) -> _Looked:
        """Events, catalogue and interests of users, read side by side."""
        names = [user for user in users if user is not None]
        limit = started + self.settings.lookup * (due - started)
        reading = self.executors["events"].submit(lambda: (self.histories.read(names), self.live_catalog.catalog()))
        longing = self.executors["interests"].submit(lambda: [self.interest_source.of(user) for user in users])
        left_out: list[LeftOut] = []
        try:
            events, catalog = reading.result(limit)
        except Skipped as skipped:
            left_out.append(LeftOut("events", skipped.why))
            events, catalog = self.histories.last_known(names), self.live_catalog.last
        try:
            interests = longing.result(limit)
        except Skipped as skipped:
            left_out.append(LeftOut("interests", skipped.why))
            interests = [UserInterests("none")] * len(users)
        known = [
            self.histories.known(user, events.get(user, ()) if user is not None else (), catalog) for user in users
        ]
        return _Looked(catalog, known, interests, left_out)

    def _wanted(self, asks: Sequence[Request], looked: _Looked) -> tuple[RequestBatch, dict[int, SearecError]]:
        refused: dict[int, SearecError] = {}
        allowed, barred = [], []
        for row, (ask, known) in enumerate(zip(asks, looked.known, strict=True)):
            try:
                allowed.append(looked.catalog.allowed(ask.filters))
            except SettingsError as error:
                refused[row] = error
                allowed.append(None)
            seen = ask.seen if ask.seen is not None else ask.query is not None
            own = looked.catalog.places(ask.exclude)
            barred.append(own if seen else np.concatenate((own, known.consumed)))
        queries = [ask.query for ask in asks if ask.query is not None]
        return RequestBatch(looked.catalog, looked.known, queries, allowed, barred, looked.interests), refused

    def _start(
        self, channels: Mapping[str, Channel], wanted: RequestBatch, k: int
    ) -> dict[str, Pending[dict[str, list[Candidates]]]]:
        def find(channel: Channel) -> Any:
            return lambda: channel.find(wanted, k)

        return {name: self.executors[name].submit(find(channel)) for name, channel in channels.items()}

    @staticmethod
    def _collect(
        work: Mapping[str, Pending[dict[str, list[Candidates]]]], due: float, left_out: list[LeftOut]
    ) -> dict[str, list[Candidates]]:
        found: dict[str, list[Candidates]] = {}
        for name, one in work.items():
            try:
                found |= one.result(due)
            except Skipped as skipped:
                left_out.append(LeftOut(name, skipped.why))
        return found

    def _feed(
        self, asks: Sequence[Request], wanted: RequestBatch, started: float, due: float, left_out: list[LeftOut]
    ) -> list[_Line]:
        config = self.settings
        work = self._start(self.parts.feed, wanted, config.pool)
        popular = self.parts.popular.find(wanted, config.pool)["popular"]
        found = self._collect(work, started + config.retrieve * (due - started), left_out)
        quotas = [ask.quota if ask.quota is not None else config.quota for ask in asks]
        served_runs = []
        for row, quota in enumerate(quotas):
            share = int(slots(config.pool, quota).sum())
            second = found[INTEREST][row].first(share) if INTEREST in found else Candidates(_NOTHING)
            room = config.pool - min(share, len(second.items))
            names = [name for name in found if name != INTEREST]
            usual = fuse([found[name][row].items for name in names])
            served_runs.append(_joined(names, usual, room, popular[row].items, second, shown=config.window))
        ranked = self._rank(self.parts.rank_feed, wanted, served_runs, due, left_out)
        out = []
        for pool, scores, quota in zip(served_runs, ranked, quotas, strict=True):
            line = pool
            if scores is not None:
                order = np.lexsort((-scores, pool.second))
                line = replace(pool.at(order), score=scores[order].astype(np.float64))
            usual_count = int((~line.second).sum())
            position, from_second = interleave(usual_count, len(line.items) - usual_count, quota)
            out.append(line.at(np.where(from_second, usual_count + position, position)))
        return out

    def _search(
        self, asks: Sequence[Request], wanted: RequestBatch, started: float, due: float, left_out: list[LeftOut]
    ) -> list[_Line]:
        config = self.settings
        work = self._start(self.parts.search, wanted, config.search_pool)
        found = self._collect(work, started + config.retrieve * (due - started), left_out)
        names = list(found)
        served_runs, lists = [], []
        for row in range(len(asks)):
            own = [found[name][row].items for name in names]
            fused = fuse(own)
            lists.append(own)
            served_runs.append(_joined(names, fused, config.search_pool, _NOTHING, Candidates(_NOTHING), shown=0))
        ranked = self._rank(self.parts.rank_search, wanted, served_runs, due, left_out)
        out = []
        for line, own, scores in zip(served_runs, lists, ranked, strict=True):
            out.append(line if scores is None else _personal(line, own, scores, config.personal))
        return out

    def _rank(
        self,
        rankers: Sequence[Ranker],
        wanted: RequestBatch,
        served_runs: Sequence[_Line],
        due: float,
        left_out: list[LeftOut],
    ) -> list[NDArray[np.floating[Any]] | None]:
        """The scores of each line's items, None for who has no history and where no ranker makes it; of several their fused order."""
        rows = [row for row, line in enumerate(served_runs) if wanted.histories[row] and len(line.items)]
        found: list[NDArray[np.floating[Any]] | None] = [None] * len(served_runs)
        if not rankers or not rows:
            return found
        queries = [wanted.queries[row] for row in rows] if wanted.queries else ()
        some = replace(wanted, known=[wanted.known[row] for row in rows], queries=queries)
        pools = [served_runs[row].items for row in rows]

        def rank(ranker: Ranker) -> Any:
            return lambda: ranker.score(some, pools)

        work = [(ranker.name, self.executors[ranker.name].submit(rank(ranker))) for ranker in rankers]
        scores = []
        for name, one in work:
            try:
                scores.append(one.result(due))
            except Skipped as skipped:
                left_out.append(LeftOut(name, skipped.why))
        if scores:
            for row, *own in zip(rows, *scores, strict=True):
                found[row] = own[0] if len(own) == 1 else fuse_scores(own)
        return found

    def _page(
        self, ask: Request, wanted: RequestBatch, row: int, line: _Line, left_out: Sequence[LeftOut], started: float
    ) -> Response:
        catalog, known = wanted.catalog, wanted.known[row]
        shown = read_token(ask.after) if ask.after is not None else set()
        if shown:
            names = catalog.items(line.items)
            line = line.at(
                np.array([place for place, name in enumerate(names) if mark(name) not in shown], dtype=np.int64)
            )
        most = min(len(line.items), MOST - len(shown))
        end = min(ask.offset + ask.k, most)
        usual = self.settings.diversity if ask.query is None else self.settings.search_diversity
        diversity = ask.diversity if ask.diversity is not None else usual
        window = min(len(line.items), max(self.settings.window, end))
        apart = diversify(catalog, line.items[:window], line.second[:window], diversity, first=end)
        page = line.at(apart[min(ask.offset, end) : end])
        reasons = (
            self.parts.explainer.search(wanted, row, page.items, page.channel)
            if ask.query is not None
            else self.parts.explainer.feed(wanted, row, page.items, page.channel, page.interest)
        )
        touched = catalog.touched(known.recent)
        novel = [bool(group) and not group & touched for group in catalog.groups(page.items)]
        names = catalog.items(line.items[apart[:end]])
        told = (names[min(ask.offset, end) :], catalog.titles(page.items), page.score.tolist(), page.channel, reasons)
        categories = map(catalog.categories, page.items.tolist())
        items = [RankedItem(*one) for one in zip(*told, categories, novel, strict=True)]
        passed = shown.union(map(mark, names))
        return Response(
            items=items,
            next=token(passed) if end < most else None,
            known=bool(known),
            interests=wanted.interests[row].source,
            left_out=tuple(left_out),
            seconds=time.monotonic() - started,
        )

    # --- queries ---

    def suggest(self, asked: Sequence[SuggestRequest]) -> list[Suggestions | SearecError]:
        """Queries to ask next for each request."""
        return [self._suggestions(one) for one in asked]

    def _suggestions(self, asked: SuggestRequest) -> Suggestions | SearecError:
        if not 1 <= asked.k <= MOST_QUERIES:
            return SettingsError("bad number of suggestions", got=asked.k, expected=f"1 to {MOST_QUERIES}")
        started = time.monotonic()
        due = started + (self.settings.seconds if asked.seconds is None else asked.seconds)
        looked = self.lookup([asked.user], started, due)
        left_out, written = list(looked.left_out), []
        suggester = self.parts.suggester
        if suggester.run is not None:
            work = self.executors[suggester.run.label].submit(lambda: suggester.written(looked.known[0], asked.k))
            try:
                written = work.result(due)
            except Skipped as skipped:
                left_out.append(LeftOut(suggester.run.label, skipped.why))
        found = suggester.suggest(written, looked.interests[0], asked.prefix, asked.k)
        return Suggestions(found, tuple(left_out), time.monotonic() - started)

    # --- views ---

    def user(self, user: str) -> UserView:
        """As `Views.user`."""
        return self.parts.views.user(user)

    def users(self, prefix: str, count: int) -> list[str]:
        """As `Views.users`."""
        return self.parts.views.users(prefix, count)

    def interests(self, user: str) -> InterestsView:
        """As `Views.interests`."""
        return self.parts.views.interests(user)

    def item(self, item: str) -> ItemView:
        """As `Views.item`."""
        return self.parts.views.item(item)

    def values(self) -> dict[str, list[str]]:
        """As `Views.values`."""
        return self.parts.views.values()

    def served_runs(self) -> list[ServedRun]:
        """As `Views.served_runs`."""
        return self.parts.views.served_runs()

    def close(self) -> None:
        """End the threads; stores stay open."""
        self.ready = False
        for lane in self.executors.values():
            lane.close()
        self.interest_source.close()


def _joined(names: Sequence[str], usual: Fused, room: int, rest: Ints, second: Candidates, *, shown: int) -> _Line:
    """The usual items, up to `room` of them with what fills up, then those of interests.

    Of what both bring, the first `shown` of the usual ones stay usual: interests get places for what would not be shown without them.
    """
    new = ~np.isin(second.items, usual.items[:shown])
    interesting, interest = second.items[new], second.interest[new]
    mine = ~np.isin(usual.items, interesting)
    items = usual.items[mine][:room]
    rest = rest[~np.isin(rest, np.concatenate((items, interesting)))][: room - len(items)]
    channel = (
        [names[place] for place in usual.source[mine][:room].tolist()]
        + ["popular"] * len(rest)
        + [INTEREST] * len(interesting)
    )
    scores = np.concatenate((usual.score[mine][:room], np.zeros(len(rest) + len(interesting))))
    wishes = np.concatenate((np.full(len(items) + len(rest), -1), interest))
    joined = np.concatenate((items, rest, interesting))
    return _Line(joined, scores, channel, wishes, np.arange(len(joined)) >= len(items) + len(rest))


def _personal(line: _Line, lists: Sequence[Ints], scores: NDArray[np.floating[Any]], weight: float) -> _Line:
    """The results of a search with the ranker's order as one more list; what it cannot score is not in that list."""
    by_ranker = line.items[np.argsort(-scores, kind="stable")][: int(np.isfinite(scores).sum())]
    fused = fuse([*lists, by_ranker], [*[1.0] * len(lists), weight])
    some = np.isin(fused.items, line.items)
    order = np.argsort(line.items)
    place = order[np.searchsorted(line.items[order], fused.items[some])]
    return replace(line.at(place), score=fused.score[some])


def check(ask: Request, *, search: bool) -> None:
    """Refuse what no answer can be given to.

    Raises:
        SettingsError: naming it.
    """
    if search and not (ask.query or "").strip():
        raise SettingsError("empty query", got=repr(ask.query), expected="text")
    if not 1 <= ask.k <= MOST or ask.offset < 0 or ask.offset + ask.k > MOST:
        raise SettingsError(
            "no such page",
            got=f"k {ask.k}, offset {ask.offset}",
            expected=f"k from 1, offset from 0, together at most {MOST}",
        )
    if ask.after is not None:
        if ask.offset:
            raise SettingsError(
                "an offset and a token of the page before", got=f"offset {ask.offset}", expected="one of them"
            )
        read_token(ask.after)
    for name, value in (("quota", ask.quota), ("diversity", ask.diversity)):
        if value is not None and not 0 <= value <= 1:
            raise SettingsError(f"{name} out of range", got=value, expected="0 to 1")
    if ask.seconds is not None and not 0 < ask.seconds <= 60:
        raise SettingsError("no such deadline", got=f"{ask.seconds} s", expected="above 0, at most 60 s")
