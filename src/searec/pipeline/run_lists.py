"""Lists of one run by itself: the pipeline's retrieval without fusion, ranking or diversity, as tables."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from searec.artifacts.new_users import best_for_new_users
from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.errors import SettingsError
from searec.interests.interest_table import read_graphs
from searec.interests.user_interests import UserInterests, true_reason
from searec.metrics.base import Floats
from searec.models.capabilities import ColdStartUsers, RetrievesByInterest, SuggestsQueries, supports
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.pipeline.channels import Candidates, RequestBatch, RunChannel
from searec.pipeline.histories import Histories, UserContext
from searec.pipeline.run_folder import ARTIFACTS
from searec.pipeline.similar_items import similar_items
from searec.pipeline.suggestions import model_suggestions, queries_of_several

if TYPE_CHECKING:
    from searec.pipeline.run import Run

_REQUESTS_AT_ONCE = 256
_LIKE_CLICKED = "like what you clicked before"
_NEW = "of a category that is new to you"


def best_items(
    run: "Run", users: Sequence[str | None], queries: Sequence[str] | None, k: int, *, seen: bool
) -> pl.DataFrame:
    """Return the k items that the run's model retrieves for each user, or for each query.

    Args:
        run: whose model answers.
        users: external ids; None for nobody, who has no history.
        queries: one for each user; None for the feed.
        k: items of each.
        seen: also return what the user has clicked.

    Returns:
        user_id, query with queries, rank, item_id, score; of a model that retrieves by interest channel and reason.

    Raises:
        SettingsError: the model does not support the task, or k is below 1.
        UnknownIdError: a user the dataset does not hold.
    """
    task: Task = "recommend" if queries is None else "search"
    if task not in run.model.train_tasks:
        raise SettingsError(f"{run.model.name} does not support {task}", expected=", ".join(run.model.train_tasks))
    _refuse_none(k)
    catalog, removed = run.catalog(), np.array(sorted(run.removed), dtype=np.int64)
    channel, lists = RunChannel(run), list[Candidates]()
    for contexts, start in _contexts(run, users, catalog):
        excluded = [
            np.concatenate((removed, user.disliked) if seen else (removed, user.consumed, user.disliked))
            for user in contexts
        ]
        texts = queries[start : start + len(contexts)] if queries is not None else ()
        batch = RequestBatch(catalog, contexts, texts, [None] * len(contexts), excluded)
        lists += channel.retrieve(batch, k)[run.label]
    table = _table(catalog, {"user_id": users} | ({"query": queries} if queries is not None else {}), lists)
    return table.with_columns(_reasons(run, users, lists)) if supports(run.model, RetrievesByInterest) else table


def best_for_newcomers(run: "Run", records: Sequence[Mapping[str, Any]], k: int, *, seen: bool) -> pl.DataFrame:
    """Return the k best items for users who came after training; as `Run.recommend_newcomers`.

    Args:
        run: whose model answers.
        records: of the users.
        k: items of each.
        seen: also return what a record holds.
    """
    if not supports(run.model, ColdStartUsers):
        raise SettingsError(f"{run.model.name} cannot score new users", expected="a run of a model that can (gserec)")
    _refuse_none(k)
    ids, scores = best_for_new_users(run.model, run.artifact(), run.data, records, k, seen=seen)
    return _table(run.catalog(), {"record": range(len(records))}, _candidates(ids.cpu().numpy(), scores.cpu().numpy()))


def best_queries(run: "Run", users: Sequence[str], k: int, min_users: int) -> pl.DataFrame:
    """Return the k likeliest next queries of each user; as `Run.suggest`.

    Args:
        run: whose model answers.
        users: external ids.
        k: queries of each.
        min_users: who must have searched a query.
    """
    model = run.model
    if not supports(model, SuggestsQueries) or not model.suggests_queries:
        expected = "a gensar run that has learnt to search, and reads texts"
        raise SettingsError(f"{model.name} cannot suggest queries", expected=expected)
    _refuse_none(k)
    queries, counts = queries_of_several(run.data, min_users)
    texts: list[str] = queries.to_list()
    rows: list[tuple[str, int, str, float]] = []
    batches = _contexts(run, users, run.catalog())
    known = model.index_queries(dict(zip(texts, counts.tolist(), strict=True))) if texts else None
    for contexts, start in batches:
        if known is None:
            break
        numbers, scores = model_suggestions(model, run.data, [user.history for user in contexts], known, k)
        row, place = np.nonzero(numbers)
        rows += [
            (users[start + at], rank + 1, texts[numbers[at, rank] - 1], float(scores[at, rank]))
            for at, rank in zip(row.tolist(), place.tolist(), strict=True)
        ]
    schema = {"user_id": pl.String, "rank": pl.Int64, "query": pl.String, "score": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def most_similar(run: "Run", items: Sequence[str], k: int) -> pl.DataFrame:
    """Return the k items most similar to each item; as `Run.similar`.

    Args:
        run: whose model answers.
        items: external ids.
        k: items of each.
    """
    best = similar_items(run.model, run.data.items.to_internal(items), k, run.removed)
    return _table(run.catalog(), {"similar_to": items}, _candidates(*best))


def _refuse_none(k: int) -> None:
    if k < 1:
        raise SettingsError("k is too small", got=k, expected="1 or more")


def _contexts(run: "Run", users: Sequence[str | None], catalog: CatalogSnapshot) -> list[tuple[list[UserContext], int]]:
    """The users in groups, each with the position of its first user.

    Raises:
        UnknownIdError: a user the dataset does not hold.
    """
    run.data.users.to_internal([user for user in users if user is not None])
    needs = run.model.needs
    histories = Histories(run.data, newest=max(needs.feed, needs.searches, needs.clicks))
    return [
        ([histories.context(user, (), catalog) for user in users[start : start + _REQUESTS_AT_ONCE]], start)
        for start in range(0, len(users), _REQUESTS_AT_ONCE)
    ]


def _candidates(ids: Ints, scores: Floats) -> list[Candidates]:
    return [Candidates(row[row > 0], score=value[row > 0]) for row, value in zip(ids, scores, strict=True)]


def _table(catalog: CatalogSnapshot, about: Mapping[str, Sequence[Any]], lists: Sequence[Candidates]) -> pl.DataFrame:
    """What each list is about, then rank, item_id and score of its items."""
    lengths = np.array([len(one.items) for one in lists], dtype=np.int64)
    row = np.repeat(np.arange(len(lists)), lengths)
    items = np.concatenate([*(one.items for one in lists), np.zeros(0, dtype=np.int64)]).astype(np.int64)
    scores = np.concatenate([*(one.score for one in lists if one.score is not None), np.zeros(0)]).astype(np.float64)
    ranks = np.concatenate([*(np.arange(1, length + 1) for length in lengths.tolist()), np.zeros(0, dtype=np.int64)])
    kinds = {"record": pl.Int64}
    columns = {
        name: pl.Series(list(values), dtype=kinds.get(name, pl.String)).gather(row) for name, values in about.items()
    }
    return pl.DataFrame(columns).with_columns(
        rank=pl.Series(ranks, dtype=pl.Int64),
        item_id=pl.Series(catalog.items(items), dtype=pl.String),
        score=pl.Series(scores, dtype=pl.Float64),
    )


def _reasons(run: "Run", users: Sequence[str | None], lists: Sequence[Candidates]) -> list[pl.Series]:
    """The channel of each item and the reason for it."""
    graphs = read_graphs(run.folder / ARTIFACTS, [user for user in users if user is not None])
    interests = {user: UserInterests.from_graph(graph).interests for user, graph in graphs.items()}
    catalog = run.catalog()
    channels, reasons = [], []
    for user, one in zip(users, lists, strict=True):
        for item, place in zip(one.items.tolist(), one.interest.tolist(), strict=True):
            channels.append("behaviour" if place < 0 else "interest")
            known = interests.get(user, ()) if user is not None and place >= 0 else ()
            reasons.append(
                true_reason(known, place, catalog.categories(item)) or (_LIKE_CLICKED if place < 0 else _NEW)
            )
    return [pl.Series("channel", channels, dtype=pl.String), pl.Series("reason", reasons, dtype=pl.String)]
