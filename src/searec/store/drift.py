"""Drift: a user asks for what the kept graph does not explain, and is refreshed before the value has aged."""

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
from searec.store.interest_store import Store

Vectors = NDArray[np.floating[Any]]
Encode = Callable[[Sequence[str]], Vectors]
"""Texts -> [n, E] unit vectors."""


@settings
class DriftSettings:
    """When a user has drifted.

    Attributes:
        newest: so many of the newest queries are looked at.
        least: fewer new ones than this say nothing.
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
        queries: how many were looked at.
        drifted: whether that is too little.
    """

    explained: float
    queries: int
    drifted: bool


def explained(queries: Vectors, texts: Vectors) -> NDArray[np.float64]:
    """[n] for each query the highest cosine to any of the texts; -1 where there are none.

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
    """What a graph explains: its signals, demands and interests, each once."""
    return list(dict.fromkeys((*graph.signals, *graph.demands, *(one.text for one in graph.interests()))))


def drift(
    graph: InterestGraph, queries: Sequence[ProfileQuery], encode: Encode, settings: DriftSettings | None = None
) -> Drift | None:
    """How well the graph explains queries asked since it was made, the newest of them; None if there are too few.

    Args:
        queries: in any order, older ones among them; equal ones count once.
    """
    settings = settings or DriftSettings()
    new = sorted((one for one in queries if one.time >= graph.at), key=lambda one: one.time, reverse=True)
    asked = list(dict.fromkeys(one.text for one in new))[: settings.newest]
    if len(asked) < settings.least:
        return None
    texts = graph_texts(graph)
    vectors = encode([*asked, *texts])
    mean = float(explained(vectors[: len(asked)], vectors[len(asked) :]).mean())
    return Drift(mean, len(asked), mean < settings.threshold)


class Watcher:
    """Watches the queries of users, beside the requests, and has those refreshed who have drifted."""

    def __init__(self, store: Store, encode: Encode, settings: DriftSettings | None = None) -> None:
        self._store = store
        self._encode = encode
        self._settings = settings or DriftSettings()

    def note(self, user: str, queries: Sequence[ProfileQuery]) -> Drift | None:
        """Look at a user's latest queries; who has drifted is marked stale and enqueued.

        A user without a graph that can be read is enqueued as missing, one whose value is stale as stale; for neither anything is encoded.

        Raises:
            StorageError: the store fails.
        """
        kept = self._store.read(user)
        try:
            graph = self._store.read_graph(user) if kept is not None and not kept.stale else None
        except DataError:
            graph, kept = None, None
        if graph is None:
            self._store.enqueue([user], "missing" if kept is None else "stale")
            return None
        found = drift(graph, queries, self._encode, self._settings)
        if found is not None and found.drifted:
            self._store.mark_stale([user])
            self._store.enqueue([user], "drift")
        return found
