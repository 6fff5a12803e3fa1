"""The pipeline: retrieve, fuse, rank, diversify and explain make a page of a request, online and offline."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from searec.data.events import EventWeights
from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.errors import SearecError, SettingsError
from searec.interests.user_interests import UserInterests
from searec.pipeline.catalog_snapshot import CatalogSnapshot, LiveCatalog
from searec.pipeline.channels import Candidates, Channel, PopularChannel, RequestBatch
from searec.pipeline.deployment import PipelineSettings
from searec.pipeline.executors import Executor, Runner, Skipped
from searec.pipeline.explanations import Explainer
from searec.pipeline.fusion import RankedList, add_ranking, diversify, fuse, join
from searec.pipeline.histories import Histories, UserContext
from searec.pipeline.paging import mark, read_token, token
from searec.pipeline.ranking import Ranker, Scores, fuse_scores
from searec.pipeline.suggestions import Suggester
from searec.pipeline.types import MOST, LeftOut, RankedItem, Request, Response, Suggestions, SuggestRequest
from searec.pipeline.user_interests import InterestSource
from searec.pipeline.views import Views
from searec.retrieval.quota_pool import interleave, slots

INTEREST = "interest"
MOST_QUERIES = 100
_NOTHING: Ints = np.zeros(0, dtype=np.int64)
Lists = dict[str, list[Candidates]]
"""Channel -> the candidates of each request."""


@dataclass(frozen=True)
class Parts:
    """The parts of a pipeline.

    Attributes:
        channels: of each task, by name.
        rankers: of each task; the orders of several are fused.
        weights: channel -> its weight in the fusion, 1 by default.
        popular: for users without history.
        explainer: gives the reasons.
        suggester: suggests queries.
        views: for people.
    """

    channels: Mapping[Task, Mapping[str, Channel]]
    rankers: Mapping[Task, Sequence[Ranker]]
    weights: Mapping[str, float]
    popular: PopularChannel
    explainer: Explainer
    suggester: Suggester
    views: Views


@dataclass(frozen=True)
class _Context:
    """What was looked up for requests; `left_out` collects the parts that fail on the way."""

    catalog: CatalogSnapshot
    users: list[UserContext]
    interests: list[UserInterests]
    left_out: list[LeftOut]


class Pipeline:
    """Answers requests over one dataset and its runs; threads share it.

    An error of one request is in its place of the result; a part that fails is left out of the responses.

    Args:
        catalog: the items.
        histories: of the users.
        interests: of the users.
        parts: channels, rankers and the rest.
        settings: of the deployment.
        executor: makes the runner of each part: a thread with deadlines, or `executors.Inline` for evaluation.
    """

    def __init__(
        self,
        catalog: LiveCatalog,
        histories: Histories,
        interests: InterestSource,
        parts: Parts,
        settings: PipelineSettings,
        executor: Callable[[str], Runner] = Executor,
    ) -> None:
        self.settings = settings
        self.catalog, self.histories, self.interest_source, self.parts = catalog, histories, interests, parts
        names = ["events", "interests", *(name for channels in parts.channels.values() for name in channels)]
        names += [ranker.name for rankers in parts.rankers.values() for ranker in rankers]
        if parts.suggester.run is not None:
            names.append(parts.suggester.run.label)
        self.executors = {name: executor(name) for name in dict.fromkeys(names)}
        self.views = parts.views
        self.ready = True
        """False once it is closed."""

    @property
    def event_weights(self) -> EventWeights:
        """What each event says of its item."""
        return self.histories.event_weights

    def recommend(self, requests: Sequence[Request]) -> list[Response | SearecError]:
        """Return a page of the feed for each request."""
        return self._respond(requests, "recommend")

    def search(self, requests: Sequence[Request]) -> list[Response | SearecError]:
        """Return a page of results for each request, each with a query."""
        return self._respond(requests, "search")

    def _respond(self, requests: Sequence[Request], task: Task) -> list[Response | SearecError]:
        started = time.monotonic()
        responses: list[Response | SearecError | None] = [validate(request, task) for request in requests]
        rows = [row for row, error in enumerate(responses) if error is None]
        if rows:
            valid = [requests[row] for row in rows]
            due = started + min(
                request.seconds if request.seconds is not None else self.settings.seconds for request in valid
            )
            context = self._lookup(valid, started, due)
            batch, refused = self._batch(valid, context)
            lists = self._retrieve(task, batch, started, due, context.left_out)
            fused = self._fuse_feed if task == "recommend" else self._fuse_search
            ranked = fused(valid, batch, lists, due, context.left_out)
            for place, row in enumerate(rows):
                responses[row] = refused.get(place) or self._page(
                    valid[place], batch, place, ranked[place], context.left_out, started
                )
        return responses  # type: ignore[return-value]  # each valid request has its response now

    def _lookup(self, requests: Sequence[Request | SuggestRequest], started: float, due: float) -> _Context:
        """Read events, catalog and interests at the same time."""
        users = [request.user for request in requests]
        times = [getattr(request, "time", None) for request in requests]
        names = [user for user in users if user is not None]
        limit = started + self.settings.lookup * (due - started)
        reading = self.executors["events"].submit(lambda: (self.histories.read(names), self.catalog.snapshot()))
        reading_interests = self.executors["interests"].submit(
            lambda: [self.interest_source.of(user, before) for user, before in zip(users, times, strict=True)]
        )
        left_out: list[LeftOut] = []
        try:
            events, catalog = reading.result(limit)
        except Skipped as skipped:
            left_out.append(LeftOut("events", skipped.why))
            events, catalog = self.histories.last_known(names), self.catalog.last
        try:
            interests = reading_interests.result(limit)
        except Skipped as skipped:
            left_out.append(LeftOut("interests", skipped.why))
            interests = [UserInterests()] * len(users)
        contexts = [
            self.histories.context(user, events.get(user, ()) if user is not None else (), catalog, before)
            for user, before in zip(users, times, strict=True)
        ]
        return _Context(catalog, contexts, interests, left_out)

    @staticmethod
    def _batch(requests: Sequence[Request], context: _Context) -> tuple[RequestBatch, dict[int, SearecError]]:
        """The batch, and the errors of requests with filters that do not exist."""
        refused: dict[int, SearecError] = {}
        allowed, excluded = [], []
        for row, (request, user) in enumerate(zip(requests, context.users, strict=True)):
            try:
                allowed.append(context.catalog.allowed(request.filters))
            except SettingsError as error:
                refused[row] = error
                allowed.append(None)
            is_seen_allowed = request.seen if request.seen is not None else request.query is not None
            of_user = user.disliked if is_seen_allowed else np.concatenate((user.consumed, user.disliked))
            if request.keep:
                of_user = of_user[~np.isin(of_user, context.catalog.indexes_of(request.keep))]
            excluded.append(np.concatenate((context.catalog.indexes_of(request.exclude), of_user)))
        queries = [request.query for request in requests if request.query is not None]
        return RequestBatch(context.catalog, context.users, queries, allowed, excluded, context.interests), refused

    def _retrieve(self, task: Task, batch: RequestBatch, started: float, due: float, left_out: list[LeftOut]) -> Lists:
        """The lists of all channels that answer in time."""
        k = self.settings.pool if task == "recommend" else self.settings.search_pool

        def retrieve(channel: Channel) -> Callable[[], Lists]:
            return lambda: channel.retrieve(batch, k)

        channels = self.parts.channels[task]
        work = {name: self.executors[name].submit(retrieve(channel)) for name, channel in channels.items()}
        lists = self.parts.popular.retrieve(batch, k) if task == "recommend" else {}
        for name, pending in work.items():
            try:
                lists |= pending.result(started + self.settings.retrieve * (due - started))
            except Skipped as skipped:
                left_out.append(LeftOut(name, skipped.why))
        return lists

    def _fuse_feed(
        self, requests: Sequence[Request], batch: RequestBatch, lists: Lists, due: float, left_out: list[LeftOut]
    ) -> list[RankedList]:
        """Fuse the channels, rank, and give the interest channel its share of the positions."""
        settings = self.settings
        quotas = [request.quota if request.quota is not None else settings.quota for request in requests]
        names = [name for name in lists if name not in (INTEREST, "popular")]
        weights = [self.parts.weights.get(name, 1.0) for name in names]
        pools = []
        for row, quota in enumerate(quotas):
            share = int(slots(settings.pool, quota).sum())
            second = lists[INTEREST][row].first(share) if INTEREST in lists else Candidates(_NOTHING)
            usual = fuse([lists[name][row].items for name in names], weights)
            room = settings.pool - min(share, len(second.items))
            popular = lists["popular"][row].items
            pools.append(join(names, usual, room, popular, second.items, second.interest, window=settings.window))
        ranked = []
        for pool, scores, quota in zip(
            pools, self._rank("recommend", batch, pools, due, left_out), quotas, strict=True
        ):
            by_rank = pool
            if scores is not None:
                order = np.lexsort((-scores, pool.second))
                by_rank = replace(pool.at(order), score=scores[order].astype(np.float64))
            first = int((~by_rank.second).sum())
            count = len(by_rank.items)
            [position], [from_second] = interleave(np.array([first]), np.array([count - first]), count, quota)
            ranked.append(by_rank.at(np.where(from_second, first + position, position)))
        return ranked

    def _fuse_search(
        self, requests: Sequence[Request], batch: RequestBatch, lists: Lists, due: float, left_out: list[LeftOut]
    ) -> list[RankedList]:
        """Fuse the channels, and then with the ranker's order."""
        names = list(lists)
        weights = [self.parts.weights.get(name, 1.0) for name in names]
        by_request = [[lists[name][row].items for name in names] for row in range(len(requests))]
        pools = [
            join(names, fuse(one, weights), self.settings.search_pool, _NOTHING, _NOTHING, _NOTHING, window=0)
            for one in by_request
        ]
        return [
            pool if scores is None else add_ranking(pool, one, weights, scores, self.settings.personal)
            for pool, one, scores in zip(
                pools, by_request, self._rank("search", batch, pools, due, left_out), strict=True
            )
        ]

    def _rank(
        self, task: Task, batch: RequestBatch, pools: Sequence[RankedList], due: float, left_out: list[LeftOut]
    ) -> list[Scores | None]:
        """The scores of each pool; None for users without history and where no ranker answers in time."""
        rankers = self.parts.rankers[task]
        rows = [row for row, pool in enumerate(pools) if batch.histories[row] and len(pool.items)]
        scores: list[Scores | None] = [None] * len(pools)
        if not rankers or not rows:
            return scores
        queries = [batch.queries[row] for row in rows] if batch.queries else ()
        ranked = replace(batch, users=[batch.users[row] for row in rows], queries=queries)
        items = [pools[row].items for row in rows]

        def rank(ranker: Ranker) -> Callable[[], list[Scores]]:
            return lambda: ranker.score(ranked, items)

        work = [(ranker.name, self.executors[ranker.name].submit(rank(ranker))) for ranker in rankers]
        by_ranker = []
        for name, pending in work:
            try:
                by_ranker.append(pending.result(due))
            except Skipped as skipped:
                left_out.append(LeftOut(name, skipped.why))
        for row, *values in zip(rows, *by_ranker, strict=True) if by_ranker else ():
            scores[row] = values[0] if len(values) == 1 else fuse_scores(values)
        return scores

    def _page(
        self,
        request: Request,
        batch: RequestBatch,
        row: int,
        ranked: RankedList,
        left_out: Sequence[LeftOut],
        started: float,
    ) -> Response:
        """Diversify, cut the page, and explain its items."""
        catalog, user = batch.catalog, batch.users[row]
        previous = read_token(request.after) if request.after is not None else set()
        if previous:
            names = catalog.items(ranked.items)
            ranked = ranked.at(
                np.array([place for place, name in enumerate(names) if mark(name) not in previous], dtype=np.int64)
            )
        most = min(len(ranked.items), MOST - len(previous))
        end = min(request.offset + request.k, most)
        default = self.settings.diversity if request.query is None else self.settings.search_diversity
        diversity = request.diversity if request.diversity is not None else default
        window = min(len(ranked.items), max(self.settings.window, end))
        order = diversify(catalog, ranked.items[:window], ranked.second[:window], diversity, first=end)
        start = min(request.offset, end)
        page = ranked.at(order[start:end])
        explainer = self.parts.explainer
        reasons = (
            explainer.search(batch, row, page.items, page.channel)
            if request.query is not None
            else explainer.feed(batch, row, page.items, page.channel, page.interest)
        )
        touched = catalog.touched(user.recent)
        novel = [bool(group) and not group & touched for group in catalog.groups(page.items)]
        names = catalog.items(ranked.items[order[:end]])
        columns = (names[start:], catalog.titles(page.items), page.score.tolist(), page.channel, reasons)
        categories = map(catalog.categories, page.items.tolist())
        return Response(
            items=[RankedItem(*values) for values in zip(*columns, categories, novel, strict=True)],
            next=token(previous.union(map(mark, names))) if end < most else None,
            known=bool(user),
            interests=batch.interests[row].source,
            left_out=tuple(left_out),
            seconds=time.monotonic() - started,
        )

    def suggest(self, requests: Sequence[SuggestRequest]) -> list[Suggestions | SearecError]:
        """Return the next queries for each request."""
        return [self._suggest(request) for request in requests]

    def _suggest(self, request: SuggestRequest) -> Suggestions | SearecError:
        if not 1 <= request.k <= MOST_QUERIES:
            return SettingsError("bad number of suggestions", got=request.k, expected=f"1 to {MOST_QUERIES}")
        started = time.monotonic()
        due = started + (self.settings.seconds if request.seconds is None else request.seconds)
        context = self._lookup([request], started, due)
        left_out, by_model = list(context.left_out), []
        suggester = self.parts.suggester
        if suggester.run is not None:
            name = suggester.run.label
            work = self.executors[name].submit(lambda: suggester.by_model(context.users[0], request.k))
            try:
                by_model = work.result(due)
            except Skipped as skipped:
                left_out.append(LeftOut(name, skipped.why))
        queries = suggester.suggest(by_model, context.interests[0], request.prefix, request.k)
        return Suggestions(queries, tuple(left_out), time.monotonic() - started)

    def close(self) -> None:
        """End the threads; stores stay open."""
        self.ready = False
        for executor in self.executors.values():
            executor.close()
        self.interest_source.close()


def validate(request: Request, task: Task) -> SettingsError | None:
    """Return the error of a request that cannot be answered, or None.

    Args:
        request: to check.
        task: it is for.
    """
    if task == "search" and not (request.query or "").strip():
        return SettingsError("empty query", got=repr(request.query), expected="text")
    if not 1 <= request.k <= MOST or request.offset < 0 or request.offset + request.k > MOST:
        return SettingsError(
            "no such page",
            got=f"k {request.k}, offset {request.offset}",
            expected=f"k from 1, offset from 0, together at most {MOST}",
        )
    if request.after is not None and request.offset:
        return SettingsError(
            "an offset and the token of a page", got=f"offset {request.offset}", expected="one of them"
        )
    try:
        read_token(request.after or token(()))
    except SettingsError as error:
        return error
    shares = {"quota": request.quota, "diversity": request.diversity}
    if wrong := [name for name, value in shares.items() if value is not None and not 0 <= value <= 1]:
        return SettingsError(f"{wrong[0]} out of range", got=shares[wrong[0]], expected="0 to 1")
    is_deadline = request.seconds is None or 0 < request.seconds <= 60
    return (
        None
        if is_deadline
        else SettingsError("no such deadline", got=f"{request.seconds} s", expected="above 0, at most 60 s")
    )
