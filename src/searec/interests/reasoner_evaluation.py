"""Judging: how good a reasoner's thoughts are, whoever reasons: novel, like the teacher's, in the catalogue, and how fast."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.errors import DataError
from searec.interests.novelty import KNOWN, NEAR, NOVEL, grades, stems
from searec.interests.profile import Profile
from searec.interests.reasoner import Reasoner, ReasoningResult

RAW, TOKENS = "raw", "tokens"
"""Keys of an object of a thought's transcript: its interests before the rule of novelty, and how many tokens were written."""
GRADES = (KNOWN, NEAR, NOVEL)
CLOSE = 0.6
"""Cosine of an interest to a category from which on it counts as grounded."""
_RESAMPLES = 1000
_LEVEL = 0.95

Floats = NDArray[np.float64]
Encode = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts [n] to unit vectors [n, D]."""


@dataclass(frozen=True)
class Estimate:
    """A share or a mean, with the interval that holds 95 % of what users drawn with replacement give; NaN where there is nothing."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """JSON-ready; null for NaN."""
        return {
            name: None if math.isnan(one) else one
            for name, one in (("value", self.value), ("low", self.low), ("high", self.high))
        }


@dataclass(frozen=True)
class ReasoningMetrics:
    """Figures of one reasoner's thoughts.

    Attributes:
        profiles: how many were thought about.
        figures: by name:
            answered: share of profiles with a graph, be it empty.
            interests: a profile, after the rule; none where there is no graph.
            raw.0, raw.1, raw.2: share of interests of each grade of novelty before the rule; NaN where transcripts do not tell.
            after.0, after.1, after.2: the same of what the rule left.
            precision, recall, f1: of interests against the teacher's, by stems, a mean over the profiles for which the teacher has some;
                precision over those with an answer to be precise about.
            soft.precision, soft.recall, soft.f1: the same with each interest's highest cosine to one of the other's, in place of 0 or 1.
            grounded: share of interests, after the rule, that the catalogue has a place for.
        problems: how many profiles each named problem left without a graph.
        seconds, tokens: of thinking; None where not known.
    """

    profiles: int
    figures: Mapping[str, Estimate]
    problems: Mapping[str, int]
    seconds: float | None = None
    tokens: int | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        seconds = self.seconds or None
        return {
            "profiles": self.profiles,
            "figures": {name: figure.as_json() for name, figure in self.figures.items()},
            "problems": dict(self.problems),
            "seconds": self.seconds,
            "profiles_per_second": None if seconds is None else self.profiles / seconds,
            "tokens_per_second": None if seconds is None or self.tokens is None else self.tokens / seconds,
        }


@dataclass(frozen=True)
class Categories:
    """Names of categories, by which an interest is seen to have a place in a catalogue."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, data: Dataset) -> "Categories":
        """Every category of a dataset's items; none where they have no categories."""
        if "categories" not in data.item_table.columns:
            return cls(())
        return cls(
            tuple(
                data.item_table.select(pl.col("categories").explode().drop_nulls().unique().sort())[
                    "categories"
                ].to_list()
            )
        )

    def holds(self, interests: Iterable[str], encode: Encode | None = None, close: float = CLOSE) -> dict[str, bool]:
        """For each interest, whether all its words stand in one category's name, or some category is at least as near as `close`.

        >>> Categories(("Camping Stoves & Fuel", "Tents")).holds(["camping stove", "tent pegs"])
        {'camping stove': True, 'tent pegs': False}
        """
        having: dict[str, set[int]] = defaultdict(set)
        for number, name in enumerate(self.names):
            for word in stems(name):
                having[word].add(number)
        texts = list(dict.fromkeys(interests))
        found = {
            text: bool(words := stems(text)) and bool(set.intersection(*(having[word] for word in words)))
            for text in texts
        }
        rest = [text for text in texts if not found[text]]
        if encode is not None and rest and self.names:
            nearest = (encode(rest) @ encode(self.names).T).max(axis=1)
            found |= {text: bool(cosine >= close) for text, cosine in zip(rest, nearest, strict=True)}
        return found


def infer_timed(reasoner: Reasoner, profiles: Sequence[Profile]) -> tuple[list[ReasoningResult], float]:
    """A reasoner's thoughts, and the seconds they took."""
    start = time.perf_counter()
    thoughts = reasoner.infer(profiles)
    return thoughts, time.perf_counter() - start


def evaluate_reasoning(
    thoughts: Sequence[ReasoningResult],
    *,
    teacher: Sequence[ReasoningResult] | None = None,
    catalogue: Categories | None = None,
    encode: Encode | None = None,
    close: float = CLOSE,
    seconds: float | None = None,
    seed: int = 0,
    resamples: int = _RESAMPLES,
) -> ReasoningMetrics:
    """Judge thoughts.

    Args:
        teacher: thoughts of the same profiles in the same order, to agree with.
        catalogue: where interests have their place.
        encode: for soft agreement, and for interests that no category's name holds; without it there are words alone.
        seconds: how long the thinking took.
        seed: of the bootstrap.

    Raises:
        DataError: the teacher thought of other profiles.
    """
    if teacher is not None and [one.profile for one in teacher] != [one.profile for one in thoughts]:
        raise DataError(
            "the teacher's thoughts are of other profiles",
            got=len(teacher),
            expected=f"{len(thoughts)} in the same order",
        )
    columns: dict[str, tuple[Floats, Floats]] = {}
    after = [_interests(one) for one in thoughts]
    everybody = np.ones(len(thoughts))
    columns["answered"] = np.array([float(one.graph is not None) for one in thoughts]), everybody
    columns["interests"] = np.array([float(len(texts)) for texts in after]), everybody
    columns |= _novelty("raw", thoughts, [_raw(one) for one in thoughts])
    columns |= _novelty("after", thoughts, after)
    if teacher is not None:
        columns |= _agreement(after, [_interests(one) for one in teacher], encode)
    if catalogue is not None:
        held = catalogue.holds((text for texts in after for text in texts), encode, close)
        columns["grounded"] = np.array([float(sum(held[text] for text in texts)) for texts in after]), _counts(after)
    told = [said[TOKENS] for one in thoughts for said in _said(one) if isinstance(said.get(TOKENS), int)]
    return ReasoningMetrics(
        len(thoughts),
        _figures(columns, np.random.default_rng(seed), resamples),
        dict(Counter(one.problem or "no reason given" for one in thoughts if one.graph is None).most_common()),
        seconds,
        sum(told) if told else None,
    )


def _interests(thought: ReasoningResult) -> list[str]:
    return [] if thought.graph is None else [one.text for one in thought.graph.interests()]


def _said(thought: ReasoningResult) -> list[Mapping[str, Any]]:
    return [one for one in thought.transcript if isinstance(one, Mapping)]


def _raw(thought: ReasoningResult) -> list[str]:
    return next((list(said[RAW]) for said in reversed(_said(thought)) if RAW in said), [])


def _counts(texts: Sequence[Sequence[str]]) -> Floats:
    return np.array([float(len(some)) for some in texts])


def _novelty(
    name: str, thoughts: Sequence[ReasoningResult], texts: Sequence[Sequence[str]]
) -> dict[str, tuple[Floats, Floats]]:
    found = [grades(one.profile, some) for one, some in zip(thoughts, texts, strict=True)]
    return {
        f"{name}.{grade}": (np.array([float(some.count(grade)) for some in found]), _counts(texts)) for grade in GRADES
    }


def _agreement(
    ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]], encode: Encode | None
) -> dict[str, tuple[Floats, Floats]]:
    mine, others = (
        [{stems(text) for text in some} for some in ours],
        [{stems(text) for text in some} for some in theirs],
    )
    shared = np.array([float(len(one & other)) for one, other in zip(mine, others, strict=True)])
    count, goal = np.array([float(len(one)) for one in mine]), np.array([float(len(one)) for one in others])
    told = _scores(shared / np.maximum(count, 1), shared / np.maximum(goal, 1), count, goal)
    if encode is not None:
        texts = list(dict.fromkeys(text for some in (*ours, *theirs) for text in some))
        vectors = dict(zip(texts, encode(texts), strict=True)) if texts else {}
        soft = np.array([_soft(one, other, vectors) for one, other in zip(ours, theirs, strict=True)]).reshape(-1, 2)
        told |= {f"soft.{name}": column for name, column in _scores(soft[:, 0], soft[:, 1], count, goal).items()}
    return told


def _scores(precision: Floats, recall: Floats, count: Floats, goal: Floats) -> dict[str, tuple[Floats, Floats]]:
    """Sums and counts of both and of their harmonic mean, over profiles for which the teacher has something."""
    asked = (goal > 0).astype(np.float64)
    answered = asked * (count > 0)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return {"precision": (precision * answered, answered), "recall": (recall * asked, asked), "f1": (f1 * asked, asked)}


def _soft(
    ours: Sequence[str], theirs: Sequence[str], vectors: Mapping[str, NDArray[np.float32]]
) -> tuple[float, float]:
    if not ours or not theirs:
        return 0.0, 0.0
    cosines = np.stack([vectors[text] for text in ours]) @ np.stack([vectors[text] for text in theirs]).T
    cosines = np.clip(cosines, 0.0, 1.0)
    return float(cosines.max(axis=1).mean()), float(cosines.max(axis=0).mean())


def _figures(
    columns: Mapping[str, tuple[Floats, Floats]], generator: np.random.Generator, resamples: int
) -> dict[str, Estimate]:
    """Sum over sum of each column, with percentiles of the same over users drawn with replacement; one set of draws for all."""
    above = np.stack([one for one, _ in columns.values()], axis=1)  # [U, C]
    below = np.stack([one for _, one in columns.values()], axis=1)
    users = len(above)
    times = (
        generator.multinomial(users, np.full(users, 1 / users), size=resamples).astype(np.float64)
        if users
        else np.zeros((resamples, 0))
    )
    sums, counts = times @ above, times @ below  # [R, C]
    tail = (1 - _LEVEL) / 2
    found = {}
    for column, name in enumerate(columns):
        whole = below[:, column].sum()
        some = counts[:, column] > 0
        if not whole or not some.any():
            found[name] = Estimate(math.nan, math.nan, math.nan)
            continue
        low, high = np.quantile(sums[some, column] / counts[some, column], [tail, 1 - tail])
        found[name] = Estimate(float(above[:, column].sum() / whole), float(low), float(high))
    return found
