"""Evaluate a reasoner: novelty, agreement with a teacher, grounding in the catalogue, and speed."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.errors import DataError
from searec.interests.novelty import KNOWN, NEAR, NOVEL, grades, stems
from searec.interests.profile import Profile
from searec.interests.reasoner import Reasoner, ReasoningResult

RAW, TOKENS = "raw", "tokens"
"""Keys of an entry of a transcript: interests before the rule of novelty, and the number of generated tokens."""
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
    """A share or a mean with its 95 % bootstrap interval over users; NaN without data."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """Return it JSON-ready; null for NaN."""
        return {name: None if math.isnan(one) else one for name, one in asdict(self).items()}


@dataclass(frozen=True)
class ReasoningMetrics:
    """Metrics of one reasoner's results.

    Attributes:
        profiles: how many were read.
        figures: by name:
            answered: share of profiles with a graph, be it empty.
            interests: a profile, after the rule; none where there is no graph.
            raw.0, raw.1, raw.2: share of interests of each grade of novelty before the rule; NaN without transcripts.
            after.0, after.1, after.2: the same of what the rule left.
            precision, recall, f1: of interests against the teacher's, by stems; means over profiles where the teacher
                has interests, precision over those with an answer.
            soft.precision, soft.recall, soft.f1: the same with each interest's highest cosine instead of 0 or 1.
            grounded: share of interests, after the rule, that are in the catalogue.
        problems: how many profiles each named problem left without a graph.
        seconds: of inference; None where not known.
        tokens: generated; None where not known.
    """

    profiles: int
    figures: Mapping[str, Estimate]
    problems: Mapping[str, int]
    seconds: float | None = None
    tokens: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it JSON-ready."""
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
    """Names of categories, for grounding interests in a catalogue."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, data: Dataset) -> "Categories":
        """Return every category of a dataset's items."""
        if "categories" not in data.item_table.columns:
            return cls(())
        return cls(tuple(data.item_table["categories"].explode().drop_nulls().unique().sort().to_list()))

    def holds(self, interests: Iterable[str], encode: Encode | None = None, close: float = CLOSE) -> dict[str, bool]:
        """Return for each interest whether one category's name has all its words, or is near in meaning.

        Args:
            interests: texts.
            encode: a sentence encoder; words alone without it.
            close: least cosine of a near category.

        >>> Categories(("Camping Stoves & Fuel", "Tents")).holds(["camping stove", "tent pegs"])
        {'camping stove': True, 'tent pegs': False}
        """
        having: dict[str, set[int]] = defaultdict(set)
        for number, name in enumerate(self.names):
            for word in stems(name):
                having[word].add(number)
        texts = list(dict.fromkeys(interests))
        result = {
            text: bool(words := stems(text)) and bool(set.intersection(*(having[word] for word in words)))
            for text in texts
        }
        rest = [text for text in texts if not result[text]]
        if encode is not None and rest and self.names:
            nearest = (encode(rest) @ encode(self.names).T).max(axis=1)
            result |= {text: bool(cosine >= close) for text, cosine in zip(rest, nearest, strict=True)}
        return result


def infer_timed(reasoner: Reasoner, profiles: Sequence[Profile]) -> tuple[list[ReasoningResult], float]:
    """Return a reasoner's results, and the seconds it took.

    Args:
        reasoner: to be timed.
        profiles: to be read.
    """
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
    """Compute the metrics of a reasoner's results.

    Args:
        thoughts: the results.
        teacher: results of the same profiles in the same order, to agree with.
        catalogue: for grounding.
        encode: for soft agreement and grounding by meaning; words alone without it.
        close: least cosine for grounding.
        seconds: of inference.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        DataError: the teacher's results are of other profiles.
    """
    if teacher is not None and [one.profile for one in teacher] != [one.profile for one in thoughts]:
        expected = f"{len(thoughts)} in the same order"
        raise DataError("the teacher's results are of other profiles", got=len(teacher), expected=expected)
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
    tokens = [said[TOKENS] for one in thoughts for said in _said(one) if isinstance(said.get(TOKENS), int)]
    return ReasoningMetrics(
        len(thoughts),
        _figures(columns, np.random.default_rng(seed), resamples),
        dict(Counter(one.problem or "no reason given" for one in thoughts if one.graph is None).most_common()),
        seconds,
        sum(tokens) if tokens else None,
    )


def _interests(thought: ReasoningResult) -> list[str]:
    return [] if thought.graph is None else [one.text for one in thought.graph.interests()]


def _said(thought: ReasoningResult) -> list[Mapping[str, Any]]:
    return [one for one in thought.transcript if isinstance(one, Mapping)]


def _raw(thought: ReasoningResult) -> list[str]:
    return next((list(said[RAW]) for said in reversed(_said(thought)) if RAW in said), [])


def _counts(texts: Sequence[Sequence[str]]) -> Floats:
    return np.array([float(len(interests)) for interests in texts])


def _novelty(
    name: str, thoughts: Sequence[ReasoningResult], texts: Sequence[Sequence[str]]
) -> dict[str, tuple[Floats, Floats]]:
    result = [grades(one.profile, interests) for one, interests in zip(thoughts, texts, strict=True)]
    return {
        f"{name}.{grade}": (np.array([float(interests.count(grade)) for interests in result]), _counts(texts))
        for grade in GRADES
    }


def _agreement(
    ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]], encode: Encode | None
) -> dict[str, tuple[Floats, Floats]]:
    left, right = (
        [{stems(text) for text in interests} for interests in ours],
        [{stems(text) for text in interests} for interests in theirs],
    )
    shared = np.array([float(len(one & other)) for one, other in zip(left, right, strict=True)])
    count, goal = np.array([float(len(one)) for one in left]), np.array([float(len(one)) for one in right])
    columns = _scores(shared / np.maximum(count, 1), shared / np.maximum(goal, 1), count, goal)
    if encode is not None:
        texts = list(dict.fromkeys(text for interests in (*ours, *theirs) for text in interests))
        vectors = dict(zip(texts, encode(texts), strict=True)) if texts else {}
        soft = np.array([_soft(one, other, vectors) for one, other in zip(ours, theirs, strict=True)]).reshape(-1, 2)
        columns |= {f"soft.{name}": column for name, column in _scores(soft[:, 0], soft[:, 1], count, goal).items()}
    return columns


def _scores(precision: Floats, recall: Floats, count: Floats, goal: Floats) -> dict[str, tuple[Floats, Floats]]:
    """Return sums and counts of both and of their harmonic mean, over profiles where the teacher has interests."""
    has_goal = (goal > 0).astype(np.float64)
    answered = has_goal * (count > 0)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return {
        "precision": (precision * answered, answered),
        "recall": (recall * has_goal, has_goal),
        "f1": (f1 * has_goal, has_goal),
    }


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
    """Return the ratio of sums of each column, with percentiles over users drawn with replacement."""
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
    estimates = {}
    for column, name in enumerate(columns):
        whole = below[:, column].sum()
        drawn = counts[:, column] > 0
        if not whole or not drawn.any():
            estimates[name] = Estimate(math.nan, math.nan, math.nan)
            continue
        low, high = np.quantile(sums[drawn, column] / counts[drawn, column], [tail, 1 - tail])
        estimates[name] = Estimate(float(above[:, column].sum() / whole), float(low), float(high))
    return estimates
