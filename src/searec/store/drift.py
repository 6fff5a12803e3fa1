"""Finds users whose new queries their stored graph does not explain, so that they are refreshed early."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from searec.config import Count, settings
from searec.errors import DataError
from searec.interests.interest_graph import InterestGraph
from searec.interests.profile import ProfileQuery
from searec.store.store import Store

Vectors = NDArray[np.floating[Any]]
Encode = Callable[[Sequence[str]], Vectors]
"""Texts -> [n, E] unit vectors."""


@settings
class DriftSettings:
    """When a user has drifted.

    Attributes:
        newest: how many of the newest queries are compared.
        least: new queries below which nothing is concluded.
        threshold: mean cosine below which they are not explained. The right value depends on the encoder.
    """

    newest: Count = 5
    least: Count = 2
    threshold: Annotated[float, Field(ge=-1, le=1)] = 0.5


@dataclass(frozen=True)
class Drift:
    """How well a graph explains new queries.

    Attributes:
        explained: mean over the queries of the highest cosine to a text of the graph; -1 where the graph has none.
        queries: how many were compared.
        drifted: whether `explained` is below the threshold.
    """

    explained: float
    queries: int
    drifted: bool


def explained(queries: Vectors, texts: Vectors) -> NDArray[np.float64]:
    """Return for each query the highest cosine to any of the texts, [n]; -1 where there are none.

    Args:
        queries: [n, E] unit vectors.
        texts: [m, E] unit vectors.

    >>> explained(np.eye(3)[:2], np.array([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]])).tolist()
    [1.0, 0.8]
    """
    if len(texts) == 0:
        return np.full(len(queries), -1.0)
    cosines: NDArray[np.float64] = np.asarray(queries @ texts.T, dtype=np.float64)
    return np.max(cosines, axis=1)  # type: ignore[no-any-return]


def graph_texts(graph: InterestGraph) -> list[str]:
    """Return the texts that a graph explains: its signals, demands and interests, each once."""
    return list(dict.fromkeys((*graph.signals, *graph.demands, *(one.text for one in graph.interests()))))


def drift(
    graph: InterestGraph, queries: Sequence[ProfileQuery], encode: Encode, settings: DriftSettings | None = None
) -> Drift | None:
    """Return how well the graph explains the newest queries since it was made; None if there are too few.

    Args:
        graph: the stored interests of a user.
        queries: of the user in any order, older ones included; equal ones count once.
        encode: texts to unit vectors.
        settings: when a user has drifted.
    """
    settings = settings or DriftSettings()
    new = sorted((one for one in queries if one.time >= graph.at), key=lambda one: one.time, reverse=True)
    texts_of_queries = list(dict.fromkeys(one.text for one in new))[: settings.newest]
    if len(texts_of_queries) < settings.least:
        return None
    texts = graph_texts(graph)
    vectors = encode([*texts_of_queries, *texts])
    mean = float(explained(vectors[: len(texts_of_queries)], vectors[len(texts_of_queries) :]).mean())
    return Drift(mean, len(texts_of_queries), mean < settings.threshold)


class Watcher:
    """Enqueues users who have drifted, outside of requests."""

    def __init__(self, store: Store, encode: Encode, settings: DriftSettings | None = None) -> None:
        self._store = store
        self._encode = encode
        self._settings = settings or DriftSettings()

    def note(self, user: str, queries: Sequence[ProfileQuery]) -> Drift | None:
        """Mark a user stale and enqueue them if their latest queries have drifted; return how far.

        A user without a graph that can be read is enqueued as missing, one whose value is stale as stale; for neither
        anything is encoded.

        Args:
            user: the user id.
            queries: of the user.

        Raises:
            StorageError: the store fails.
        """
        stored = self._store.interests.read(user)
        try:
            graph = self._store.interests.read_graph(user) if stored is not None and not stored.stale else None
        except DataError:
            graph, stored = None, None
        if graph is None:
            self._store.jobs.enqueue([user], "missing" if stored is None else "stale")
            return None
        drifted = drift(graph, queries, self._encode, self._settings)
        if drifted is not None and drifted.drifted:
            self._store.interests.mark_stale([user])
            self._store.jobs.enqueue([user], "drift")
        return drifted
