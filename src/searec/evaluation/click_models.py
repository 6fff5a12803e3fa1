"""Click models of search: how likely each position of a result page is looked at, and what is relevant given that.

A user clicks a result if it was examined and is relevant. In the position-based model (Craswell, Zoeter, Taylor and
Ramsey, WSDM 2008) the chance of examination depends on the position alone. `harvest` estimates it from the same result
of the same query at several positions; `expectation_maximisation` fits it together with the relevance of every result;
`CascadeModel` is the alternative in which users read on until they are satisfied.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from searec.data.click_log import ClickLog, click_log
from searec.data.ragged import Ints
from searec.data.split import Split
from searec.errors import DataError

Floats = NDArray[np.float64]
FEWEST = 50
"""Clicks on results seen at several positions that a group of positions needs."""
FLOOR = 0.1
"""The lowest chance of examination that a click is weighted by: clips weights at 1 / FLOOR."""
_PRIOR = 1.0
_DEEPEST = 100  # positions from here on are one
_ROUNDS = 100
_REMEDY = (
    "show a small share of pages in a varied order (randomise neighbours, or serve two rankings side by side), or wait "
    "for more clicks"
)


@dataclass(frozen=True)
class Examination:
    """Chance that a position is examined, relative to the first group of positions.

    Attributes:
        first: [G] first position of each group of positions, ascending from 1; the last group has no end.
        chance: [G] chance of examination over that of the first group.
        error: [G] standard error of `chance`; 0 for the first group, which is 1 by definition.
        clicks: [G] clicks that it is estimated from.
        searches: with a result page.
    """

    first: Ints
    chance: Floats
    error: Floats
    clicks: Ints
    searches: int

    def group(self, position: Ints) -> Ints:
        """Return the group of each position (from 1)."""
        return np.searchsorted(self.first, position, side="right") - 1

    def weights(self, position: Ints, floor: float = FLOOR) -> Floats:
        """Return 1 / chance of examination of clicks; a click without a position has the mean weight of the others.

        Args:
            position: [R] from 1, 0 where there is none.
            floor: chances below are raised to it.
        """
        is_known = position > 0
        weights = 1 / np.maximum(self.chance[self.group(np.maximum(position, 1))], floor)
        weights[~is_known] = weights[is_known].mean() if is_known.any() else 1.0
        return weights

    def as_json(self) -> dict[str, Any]:
        """Return the groups with their chances, JSON-ready."""
        rows = zip(self.first.tolist(), self.chance.tolist(), self.error.tolist(), self.clicks.tolist(), strict=True)
        names = ("from position", "examination", "standard error", "clicks")
        return {
            "searches": self.searches,
            "floor": FLOOR,
            "groups": [dict(zip(names, row, strict=True)) for row in rows],
        }


def position_bias(split: Split) -> Examination:
    """Return the examination of positions as estimated from the training searches of a split.

    Args:
        split: searches from its cut-off for search on are not read.

    Raises:
        DataError: there are no result pages, or the examination cannot be separated from relevance.
    """
    searches = split.data.searches
    user = np.repeat(np.arange(len(searches.offsets) - 1), np.diff(searches.offsets))
    return harvest(click_log(split.data, searches.time < split.cutoff(("search",))[user]))


def harvest(log: ClickLog, fewest: int = FEWEST) -> Examination:
    """Return the examination of positions from results that one query has shown at several of them.

    Intervention harvesting (Agarwal, Zaitsev, Wang, Li, Najork and Joachims, WSDM 2019): of one query and item the
    relevance is the same at each position, so that its clicks are spread by examination alone. Each pair's relevance is
    conditioned out, as in a Poisson regression with fixed effects: of its clicks, position k gets the share
    n_k chance_k / sum_j n_j chance_j, for n_k times shown there. That needs the mean of the clicks alone
    to be right (Wooldridge, Journal of Econometrics 1999). Errors are robust, with queries as clusters. It fails where
    rankings are personal and good: an item is then higher for users who like it.

    Args:
        log: of searches.
        fewest: clicks that a group of positions must have; positions with fewer join their neighbours.

    Raises:
        DataError: too few results were seen at several positions, or positions are not linked by any.
    """
    position = np.minimum(log.position, _DEEPEST)
    clicks = _informative(log, position)[1]
    first = _groups(clicks.sum(axis=0), fewest)
    shown, clicks, query = _informative(log, np.searchsorted(first, position, side="right"))
    _check_identified(first, shown, clicks, fewest)
    beta, variance = _fixed_effects(shown, clicks, query)
    chance = np.exp(beta)
    return Examination(first, chance, chance * np.sqrt(variance), clicks.sum(axis=0).astype(np.int64), log.searches)


def _informative(log: ClickLog, group: Ints) -> tuple[Floats, Floats, Ints]:
    """Times shown [P', G], clicks [P', G] and query [P'] of the pairs that have clicks and were in several groups.

    Args:
        log: of searches.
        group: [N] of each result, from 1.
    """
    nearest, deepest = np.full(log.pairs, _DEEPEST), np.zeros(log.pairs, dtype=np.int64)
    np.minimum.at(nearest, log.pair, group)
    np.maximum.at(deepest, log.pair, group)
    is_used = (nearest < deepest) & (np.bincount(log.pair, log.is_clicked, log.pairs) > 0)
    rows = is_used[log.pair]
    shape = (int(is_used.sum()), int(group.max()))
    cell = (np.cumsum(is_used) - 1)[log.pair[rows]] * shape[1] + group[rows] - 1
    shown = np.bincount(cell, minlength=shape[0] * shape[1]).astype(np.float64).reshape(shape)
    clicks = np.bincount(cell, log.is_clicked[rows], shape[0] * shape[1]).astype(np.float64).reshape(shape)
    query = np.zeros(log.pairs, dtype=np.int64)
    query[log.pair] = log.query
    return shown, clicks, query[is_used]


def _groups(clicks: Floats, fewest: int) -> Ints:
    """The first position of each group: neighbours join until they have enough clicks, the rest joins the last."""
    first, count = [1], 0.0
    for position, more in enumerate(clicks.tolist(), start=1):
        count += more
        if count >= fewest:
            first.append(position + 1)
            count = 0.0
    return np.array(first[:-1] if len(first) > 1 else first)


def _check_identified(first: Ints, shown: Floats, clicked: Floats, fewest: int) -> None:
    what = "the position bias cannot be separated from relevance"
    if len(first) < 2 or not len(shown):
        got = f"{clicked.sum():.0f} clicks on results that one query has shown at several positions"
        raise DataError(what, got=got, expected=f"{fewest} for each of two positions", remedy=_REMEDY)
    links = (clicked > 0).T.astype(np.int64) @ (shown > 0)
    count, part = scipy.sparse.csgraph.connected_components(links, directed=True, connection="strong")
    if count > 1:
        apart = ", ".join(str(position) for position in first[part != part[0]].tolist())
        expected = "results that were shown at both, with clicks at each"
        got = f"nothing links the positions from {apart} on to position 1"
        raise DataError(what, got=got, expected=expected, remedy=_REMEDY)


def _fixed_effects(shown: Floats, clicked: Floats, cluster: Ints) -> tuple[Floats, Floats]:
    """Logarithm of the chance of each group [G], 0 for the first, and its variance [G]."""
    total, beta = clicked.sum(axis=1), np.zeros(shown.shape[1])
    for _ in range(_ROUNDS):
        share = shown * np.exp(beta)
        share /= share.sum(axis=1, keepdims=True)
        expected = total[:, None] * share
        hessian = (np.diag(expected.sum(axis=0)) - expected.T @ share)[1:, 1:]
        step = np.linalg.solve(hessian, (clicked - expected).sum(axis=0)[1:])
        beta[1:] += np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-10:
            break
    number = np.unique(cluster, return_inverse=True)[1]
    scores = np.stack([np.bincount(number, column) for column in (clicked - expected).T[1:]], axis=1)
    bread = np.linalg.inv(hessian)
    return beta, np.concatenate(([0.0], np.diag(bread @ scores.T @ scores @ bread)))


def relevance(log: ClickLog, examination: Examination) -> Floats:
    """Return [P] the relevance of each pair: clicks over examined times shown, drawn towards the mean of all pairs.

    Args:
        log: of searches.
        examination: of its positions.
    """
    chance = examination.chance[examination.group(log.position)]
    clicks, seen = np.bincount(log.pair, log.is_clicked, log.pairs), np.bincount(log.pair, chance, log.pairs)
    mean = clicks.sum() / seen.sum()
    return np.asarray(np.minimum((clicks + _PRIOR * mean) / (seen + _PRIOR), 1.0))


def expectation_maximisation(log: ClickLog, first: Ints, rounds: int = _ROUNDS) -> Floats:
    """Return [G] the chance of examination, over the first, by maximum likelihood of the position-based model.

    Where a query and item are shown seldom, the likelihood fits each pair's relevance to a handful of clicks and the
    result is biased (Wang, Golbandi, Bendersky, Metzler and Najork, WSDM 2018); `harvest` is not.

    Args:
        log: of searches.
        first: [G] first position of each group.
        rounds: of expectation and maximisation.
    """
    group = np.searchsorted(first, log.position, side="right") - 1
    n_group, n_pair = np.bincount(group, minlength=len(first)), np.bincount(log.pair, minlength=log.pairs)
    chance, relevant = 1 / np.arange(1.0, len(first) + 1), np.full(log.pairs, 0.5)
    for _ in range(rounds):
        p, r = chance[group], relevant[log.pair]
        none = 1 - p * r
        examined = np.where(log.is_clicked, 1.0, p * (1 - r) / none)
        is_relevant = np.where(log.is_clicked, 1.0, r * (1 - p) / none)
        chance = (np.bincount(group, examined, len(first)) / n_group).clip(1e-6, 1 - 1e-6)
        relevant = (np.bincount(log.pair, is_relevant, log.pairs) / np.maximum(n_pair, 1)).clip(1e-6, 1 - 1e-6)
    return np.asarray(chance / chance[0])


@dataclass(frozen=True)
class CascadeModel:
    """The simplified dynamic Bayesian network (Chapelle and Zhang, WWW 2009), with cascades as its special case.

    Users read from the top; an attractive result is clicked; after a click they may be satisfied and stop.

    Attributes:
        attractive: [P] chance of a click on an examined result.
        satisfying: [P] chance that a user who has clicked it stops.
    """

    attractive: Floats
    satisfying: Floats

    @classmethod
    def fit(cls, log: ClickLog) -> "CascadeModel":
        """Return the model of a log, in closed form: all down to the last click, or without one all, is examined."""
        last = np.zeros(log.searches, dtype=np.int64)
        np.maximum.at(last, log.search, np.where(log.is_clicked, log.position, 0))
        is_seen = (log.position <= last[log.search]) | (last[log.search] == 0)
        clicks, seen = np.bincount(log.pair, log.is_clicked, log.pairs), np.bincount(log.pair, is_seen, log.pairs)
        stops = np.bincount(log.pair, log.is_clicked & (log.position == last[log.search]), log.pairs)
        mean, stop = clicks.sum() / seen.sum(), stops.sum() / max(1.0, clicks.sum())
        return cls((clicks + _PRIOR * mean) / (seen + _PRIOR), (stops + _PRIOR * stop) / (clicks + _PRIOR))

    def examination(self, log: ClickLog) -> Floats:
        """Return [N] the chance that each result is examined."""
        goes_on = np.log1p(-np.minimum(self.attractive * self.satisfying, 1 - 1e-9))[log.pair]
        before = np.cumsum(goes_on) - goes_on
        return np.asarray(np.exp(before - before[np.searchsorted(log.search, log.search)]))


def perplexity(chance: Floats, log: ClickLog) -> float:
    """Return 2 to the mean negative log2 likelihood of clicks: 1 is perfect, 2 is a coin.

    Args:
        chance: [N] of a click on each result.
        log: of searches.
    """
    chance = chance.clip(1e-6, 1 - 1e-6)
    return float(2 ** -np.mean(np.log2(np.where(log.is_clicked, chance, 1 - chance))))


def perplexities(log: ClickLog) -> dict[str, float]:
    """Return the perplexity of a fifth of the searches by models of the others: "none", "position", "cascade".

    "none" is the control: relevance by clicks over times shown, all positions examined alike.

    Args:
        log: of searches.

    Raises:
        DataError: as `harvest`.
    """
    is_held = np.random.default_rng(0).random(log.searches) < 0.2
    train, test = log.where(~is_held), log.where(is_held)
    alike = Examination(np.array([1]), np.ones(1), np.zeros(1), np.zeros(1, dtype=np.int64), train.searches)
    chances = {
        name: one.chance[one.group(test.position)] * relevance(train, one)[test.pair]
        for name, one in {"none": alike, "position": harvest(train)}.items()
    }
    cascade = CascadeModel.fit(train)
    chances["cascade"] = cascade.examination(test) * cascade.attractive[test.pair]
    return {name: perplexity(chance, test) for name, chance in chances.items()}
