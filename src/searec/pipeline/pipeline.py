"""The pipeline: retrieve, pool, rank, diversify and explain make a page of a request, online and offline."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from searec.data.events import EventWeights
from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.errors import SearecError, SettingsError
from searec.interests.user_interests import UserInterests
from searec.pipeline.catalog_snapshot import CatalogSnapshot, LiveCatalog
from searec.pipeline.channels import Candidates, Channel, PopularChannel, RequestBatch
from searec.pipeline.dense_channel import DenseChannel
from searec.pipeline.deployment import PipelineSettings
from searec.pipeline.executors import Executor, Runner, Skipped
from searec.pipeline.explanations import Explainer
from searec.pipeline.fusion import RankedList, fuse, join
from searec.pipeline.fusion_features import Features, ItemStatistics, novel_items
from searec.pipeline.histories import Histories, UserContext
from searec.pipeline.learned_fusion import FusionModel
from searec.pipeline.nonsense import without_nonsense
from searec.pipeline.pages import PageMaker
from searec.pipeline.ranking import Scorer, Scores, fuse_scores
from searec.pipeline.request_checks import check_columns, validate
from searec.pipeline.results import matches_of, sorted_matches
from searec.pipeline.suggestions import Suggester
from searec.pipeline.types import LeftOut, Request, Response, Suggestions, SuggestRequest
from searec.pipeline.user_interests import InterestSource
from searec.pipeline.views import Views
from searec.retrieval.novelty import chances, novelty_order
from searec.retrieval.quota_pool import interleave, slots
from searec.search.understanding import Understanding

INTEREST = "interest"
INTEREST_CANDIDATES = 100
"""Items of the interest channel that compete in a pool where it has no quota."""
MOST_QUERIES = 100
_NOTHING: Ints = np.zeros(0, dtype=np.int64)
Lists = dict[str, list[Candidates]]
"""Channel -> the candidates of each request."""


LeftOuts = list[LeftOut]


@dataclass(frozen=True)
class LearnedRanking:
    """How a task is ranked by a learned fusion: what scores the pools, the features of that, and the model of them.

    Attributes:
        scorers: of the pools.
        features: of the scores and of the items.
        model: of the features.
        novelty: premium on novel items, in chances of a click.
    """

    scorers: Sequence[Scorer]
    features: Features
    model: FusionModel
    novelty: float = 0.0


@dataclass(frozen=True)
class Pooled:
    """What B requests are ranked from: the lists of the channels, the pools, and the scores of each pool by scorer."""

    batch: RequestBatch
    lists: Lists
    pools: list[RankedList]
    scores: dict[str, list[Scores | None]]


@dataclass(frozen=True)
class Parts:
    """The parts of a pipeline.

    Attributes:
        channels: of each task, by name.
        scorers: of each task, all that a learned fusion can read.
        rankers: of each task without a learned fusion; the orders of several are fused.
        learned: of each task with a learned fusion.
        weights: channel -> its weight in the fusion, 1 by default.
        statistics: of the items.
        popular: for users without history.
        understanding: reads the queries.
        explainer: gives the reasons.
        suggester: suggests queries.
        views: for people.
    """

    channels: Mapping[Task, Mapping[str, Channel]]
    scorers: Mapping[Task, Sequence[Scorer]]
    rankers: Mapping[Task, Sequence[Scorer]]
    learned: Mapping[Task, LearnedRanking]
    weights: Mapping[str, float]
    statistics: ItemStatistics
    popular: PopularChannel
    understanding: Understanding
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
        names += [
            scorer.name for part in (parts.scorers, parts.rankers) for scorers in part.values() for scorer in scorers
        ]
        if parts.suggester.run is not None:
            names.append(parts.suggester.run.label)
        self.executors = {name: executor(name) for name in dict.fromkeys(names)}
        self.views = parts.views
        self._pages = PageMaker(settings, parts.explainer)
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
        responses: list[Response | SearecError | None] = [_refusal(request, task) for request in requests]
        rows = [row for row, error in enumerate(responses) if error is None]
        for is_sorted in (False, True):
            alike = [row for row in rows if (requests[row].sort != "relevance") == is_sorted]
            if alike:
                answered = self._answered([requests[row] for row in alike], task, is_sorted, started)
                for row, response in zip(alike, answered, strict=True):
                    responses[row] = response
        return responses  # type: ignore[return-value]  # each valid request has its response now

    def _answered(
        self, requests: Sequence[Request], task: Task, is_sorted: bool, started: float
    ) -> list[Response | SearecError]:
        """The responses to valid requests that are all ranked, or all sorted."""
        seconds = (one.seconds if one.seconds is not None else self.settings.seconds for one in requests)
        due = started + min(seconds)
        context = self._lookup(requests, started, due)
        batch, refused = self._batch(requests, context)
        matches = {
            row: matches_of(batch, row, batch.allowed[row])
            for row, request in enumerate(requests)
            if row not in refused and (is_sorted or task == "search" or request.facets or request.filters)
        }
        if is_sorted:
            statistics = self.parts.statistics
            ranked = {
                row: sorted_matches(batch, row, one.is_match, requests[row].sort, statistics)
                for row, one in matches.items()
            }
        else:
            lists = self._retrieve(task, batch, started, due, context.left_out)
            if task == "search":
                channels = self.parts.channels[task].values()
                dense = [channel for channel in channels if isinstance(channel, DenseChannel)]
                lists = without_nonsense(batch, lists, dense)
            pools = self._pools(requests, task, lists, is_scored=task in self.parts.learned)
            scores = self._rank(task, batch, pools, lists, due, context.left_out)
            ranked = {
                row: self._ordered(task, batch, row, pools[row], scores[row], quota)
                for row, quota in enumerate(self._quotas(requests))
            }
        return [
            refused.get(row)
            or self._pages.page(request, batch, row, ranked[row], matches.get(row), context.left_out, started)
            for row, request in enumerate(requests)
        ]

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

    def _batch(self, requests: Sequence[Request], context: _Context) -> tuple[RequestBatch, dict[int, SearecError]]:
        """The batch, and the errors of requests with filters, facets or a sort of columns that do not exist."""
        refused: dict[int, SearecError] = {}
        allowed, excluded = [], []
        for row, (request, user) in enumerate(zip(requests, context.users, strict=True)):
            try:
                allowed.append(context.catalog.allowed(request.filters))
                check_columns(request, context.catalog)
            except SettingsError as error:
                refused[row] = error
                allowed[row:] = [None]
            is_seen_allowed = request.seen if request.seen is not None else request.query is not None
            of_user = user.disliked if is_seen_allowed else np.concatenate((user.consumed, user.disliked))
            if request.keep:
                of_user = of_user[~np.isin(of_user, context.catalog.indexes_of(request.keep))]
            excluded.append(np.concatenate((context.catalog.indexes_of(request.exclude), of_user)))
        parsed = [
            self.parts.understanding.parse(
                context.catalog.lexical,
                request.query,
                context.catalog.columns,
                spelling=request.spelling,
                prefix=request.prefix,
            )
            for request in requests
            if request.query is not None
        ]
        queries = [query.text for query in parsed]
        intent = self.parts.understanding.intent
        batch = RequestBatch(
            context.catalog, context.users, queries, allowed, excluded, context.interests, parsed, intent
        )
        return batch, refused

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

    def _pools(self, requests: Sequence[Request], task: Task, lists: Lists, *, is_scored: bool) -> list[RankedList]:
        """The candidates of each request: the channels fused by rank, filled up by popularity, the interest channel."""
        settings = self.settings
        size, window = (settings.pool, settings.window) if task == "recommend" else (settings.search_pool, 0)
        names = [name for name in lists if name not in (INTEREST, "popular")]
        weights = [self.parts.weights.get(name, 1.0) for name in names]
        pools = []
        for row, quota in enumerate(self._quotas(requests)):
            competes = is_scored and not quota
            share = INTEREST_CANDIDATES if competes else int(slots(size, quota).sum())
            second = lists[INTEREST][row].first(share) if INTEREST in lists else Candidates(_NOTHING)
            usual = fuse([lists[name][row].items for name in names], weights)
            room = size - min(share, len(second.items))
            popular = lists["popular"][row].items if "popular" in lists else _NOTHING
            pool = join(names, usual, room, popular, second.items, second.interest, window=window)
            pools.append(replace(pool, second=np.zeros_like(pool.second)) if competes else pool)
        return pools

    def _quotas(self, requests: Sequence[Request]) -> list[float]:
        return [request.quota if request.quota is not None else self.settings.quota for request in requests]

    def _ordered(
        self,
        task: Task,
        batch: RequestBatch,
        row: int,
        pool: RankedList,
        scores: NDArray[np.floating] | None,
        quota: float,
    ) -> RankedList:
        """The pool by its scores, if it has any, with the premium on novelty.

        The interest channel's items are in its share of the positions, if it has one.
        """
        if scores is not None:
            order = np.lexsort((-scores, pool.second))
            learned = self.parts.learned.get(task)
            if learned is not None and learned.novelty and task == "recommend":
                usual = order[~pool.second[order]]
                novel = novel_items(batch.catalog, batch.users[row].recent, pool.items[usual])
                chance = chances(scores[usual], learned.model.sharpness)
                order[: len(usual)] = usual[novelty_order(chance, novel, learned.novelty)]
            pool = replace(pool.at(order), score=scores[order].astype(np.float64))
        first, count = int((~pool.second).sum()), len(pool.items)
        [position], [from_second] = interleave(np.array([first]), np.array([count - first]), count, quota)
        return pool.at(np.where(from_second, first + position, position))

    def _rank(
        self, task: Task, batch: RequestBatch, pools: Sequence[RankedList], lists: Lists, due: float, left_out: LeftOuts
    ) -> Sequence[NDArray[np.floating] | None]:
        """The scores of each pool: of the learned fusion, else of the rankers of the feed, fused by rank.

        None where the order of the pool stays: in the feed of users without history, and where no ranker answers.
        """
        learned = self.parts.learned.get(task)
        scorers = self.parts.rankers[task] if learned is None else learned.scorers
        by_scorer = self._scores(scorers, batch, [pool.items for pool in pools], due, left_out)
        if learned is not None:
            matrix = learned.features.matrix(batch, [pool.items for pool in pools], by_scorer, lists)
            scores = np.split(learned.model.scores(matrix), np.cumsum([len(pool.items) for pool in pools])[:-1])
            is_ranked = [bool(user) or task == "search" for user in batch.users]
            return [one if is_one else None for one, is_one in zip(scores, is_ranked, strict=True)]
        rows = ([one for one in row if one is not None] for row in zip(*by_scorer.values(), strict=True))
        return [_fused(row) for row in rows] or [None] * len(pools)

    def _scores(
        self, scorers: Sequence[Scorer], batch: RequestBatch, pools: Sequence[Ints], due: float, left_out: LeftOuts
    ) -> dict[str, list[Scores | None]]:
        """The scores of the scorers that answer in time, by name."""

        def score(scorer: Scorer) -> Callable[[], list[Scores | None]]:
            return lambda: scorer.score(batch, pools)

        work = [(scorer.name, self.executors[scorer.name].submit(score(scorer))) for scorer in scorers]
        by_scorer = {}
        for name, pending in work:
            try:
                by_scorer[name] = pending.result(due)
            except Skipped as skipped:
                left_out.append(LeftOut(name, skipped.why))
        return by_scorer

    def candidates(self, requests: Sequence[Request], task: Task, scorers: Sequence[Scorer]) -> "Pooled":
        """Return what requests are ranked from, without deadlines; for learning a fusion.

        Args:
            requests: B valid requests.
            task: of all of them.
            scorers: that score the pools.

        Raises:
            SearecError: a part fails.
        """
        started, due = time.monotonic(), math.inf
        context = self._lookup(requests, started, due)
        batch, refused = self._batch(requests, context)
        if refused:
            raise next(iter(refused.values()))
        lists = self._retrieve(task, batch, started, due, context.left_out)
        pools = self._pools(requests, task, lists, is_scored=True)
        return Pooled(
            batch, lists, pools, self._scores(scorers, batch, [pool.items for pool in pools], due, context.left_out)
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
            work = self.executors[name].submit(lambda: suggester.by_model(context.users[0], request.prefix, request.k))
            try:
                by_model = work.result(due)
            except Skipped as skipped:
                left_out.append(LeftOut(name, skipped.why))
        user, interests = context.users[0], context.interests[0]
        queries = suggester.suggest(user, by_model, interests, context.catalog, request.prefix, request.k)
        return Suggestions(queries, tuple(left_out), time.monotonic() - started)

    def close(self) -> None:
        """End the threads; stores stay open."""
        self.ready = False
        for executor in self.executors.values():
            executor.close()
        self.interest_source.close()


def _refusal(request: Request, task: Task) -> SettingsError | None:
    try:
        validate(request, task)
    except SettingsError as error:
        return error
    return None


def _fused(scores: Sequence[Scores]) -> NDArray[np.floating] | None:
    return None if not scores else scores[0] if len(scores) == 1 else fuse_scores(scores)
