"""Novelty against NDCG: a feed with a premium on novelty beside controls that show as much that is novel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from searec.data.ragged import Ints, group
from searec.data.schema import Part
from searec.data.split import Requests, Split
from searec.data.taxonomy import Level
from searec.errors import SettingsError
from searec.evaluation.exposure import Touched
from searec.evaluation.protocol import chosen
from searec.evaluation.replay import Difference, Shown, replay
from searec.evaluation.slices import is_repeat
from searec.nn.sets import is_first, is_in
from searec.pipeline.fusion_features import novel_items
from searec.pipeline.pipeline import INTEREST, Pipeline
from searec.pipeline.types import Request
from searec.progress import progress
from searec.reports.paired_replay import SHOWN, Source, lists, seen_items
from searec.retrieval.novelty import chances, novelty_order, premium_for
from searec.retrieval.quota_pool import slots

GAINS = (0.05, 0.08, 0.12, 0.2)
"""What is added to the share of novel items by default."""
OWN, POPULAR, RANDOM, QUOTA = "own novel tail", "popular categories", "random novel", "quota merge"
_CATEGORIES = 8
"""The most clicked untouched categories, of which `POPULAR` shows items in turn."""
_AT_ONCE = 64
_DEEP = 200
"""Candidates of a request, the most likely first."""
_TRIES = 20
"""Items drawn for each that is needed, so that enough are novel."""
_RESAMPLES = 2_000

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Frontier:
    """Lists with as much that is novel: by the premium, and by each control.

    Attributes:
        gain: what the premium adds to the share of novel items.
        premium: by which it does, in chances of a click.
        lists: with the premium.
        beside: these against the base list, by figure.
        controls: lists of each control.
        against: the lists with the premium against each control, by figure.
    """

    gain: float
    premium: float
    lists: Shown
    beside: dict[str, Difference]
    controls: dict[str, Shown]
    against: dict[str, dict[str, Difference]]


@dataclass(frozen=True)
class Exposure:
    """What a feed shows: without a premium on novelty, with the one it is served with, and the frontier.

    Attributes:
        base: by the chance of a click alone.
        served: with the premium that it has; None without one.
        others: lists of other runs and deployments, and random items.
        frontier: for each gain.
        about: source, requests, list length, level and window.
    """

    base: Shown
    served: Shown | None
    others: list[Shown]
    frontier: list[Frontier]
    about: dict[str, Any] = field(default_factory=dict)

    def rows(self) -> list[Shown]:
        """Everything shown but the controls, in order."""
        served = [] if self.served is None else [self.served]
        return [*self.others, self.base, *served, *(one.lists for one in self.frontier)]

    def as_json(self) -> dict[str, Any]:
        """Figures and differences."""

        def as_dicts(differences: dict[str, Difference]) -> dict[str, Any]:
            return {name: vars(one) for name, one in differences.items()}

        return {
            "about": self.about,
            "figures": {shown.label: shown.figures() for shown in self.rows()},
            "frontier": [
                {
                    "gain": one.gain,
                    "premium": one.premium,
                    "beside_base": as_dicts(one.beside),
                    "controls": {name: shown.figures() for name, shown in one.controls.items()},
                    "against": {name: as_dicts(differences) for name, differences in one.against.items()},
                }
                for one in self.frontier
            ],
        }


@dataclass(frozen=True)
class _Pools:
    """Candidates of R requests, the most likely first: items [R, N], 0 for none, chance and novel; of channels too."""

    items: Ints
    chance: NDArray[np.float64]
    novel: Bools
    served_novel: Bools
    interest: Ints

    def with_premium(self, premium: float, novel: Bools) -> Ints:
        """[R, 10] the positions shown."""
        rows = zip(self.chance, novel, strict=True)
        return np.stack([novelty_order(chance, row, premium)[:SHOWN] for chance, row in rows])


def exposure(
    pipeline: Pipeline,
    label: str,
    others: Sequence[Source] = (),
    *,
    gains: Sequence[float] = GAINS,
    part: Part = "test",
    requests: int | None = None,
    level: Level = "narrow",
    days: float | None = None,
    seed: int = 0,
) -> Exposure:
    """Replay held-out choices on new targets against a feed with rising premiums on novelty, and against controls.

    A premium, and how often a control has its way, are found by exposure alone: no click is read for it. Controls take
    the places of the last items that are not novel; the quota merge takes those of the interest channel's quota.

    Args:
        pipeline: of a deployment with a learned fusion of the feed.
        label: its name in tables.
        others: runs and deployments of the same data to show beside it.
        gains: what is to be added to the share of novel items, 0 to 1.
        part: of the held-out requests.
        requests: only this many, drawn with a fixed seed.
        level: whose categories count, as in `Touched.of`.
        days: of the window, as in `Touched.of`.
        seed: of what is drawn at random, and of the intervals.

    Raises:
        SettingsError: the feed has no learned fusion, or a gain is outside 0 to 1.
    """
    if "recommend" not in pipeline.parts.learned:
        raise SettingsError(
            f"{label} has no learned fusion of the feed, so that chances of a click are unknown",
            expected="a deployment that was learned on at least 100 validation requests",
            remedy="'searec deploy DATA RUN ...' learns one",
        )
    if bad := [gain for gain in gains if not 0 < gain <= 1]:
        raise SettingsError("bad gain of novelty", got=bad[0], expected="above 0, at most 1")
    split = pipeline.parts.popular.split
    held_out = _new_targets(split, part)
    held_out = held_out[chosen(len(held_out), requests, seed)]
    touched = Touched.of(split.data, held_out, level=level, days=days)
    generator = np.random.default_rng(seed)
    pools = _pools(pipeline, held_out, touched)
    target = np.asarray(held_out.target)

    def shown(name: str, top: Ints) -> Shown:
        return Shown(name, top, touched.novel_lists(top) & (top > 0), target)

    def at(positions: Ints) -> Ints:
        return np.take_along_axis(pools.items, positions, axis=1)

    base = shown(f"{label} without premium", pools.items[:, :SHOWN])
    premium = pipeline.parts.learned["recommend"].novelty
    served = None
    if premium:
        served = shown(f"{label} as served", at(pools.with_premium(premium, pools.served_novel)))
    sources = {
        OWN: _novel_tail(pools),
        POPULAR: _popular_items(split, held_out, touched),
        RANDOM: _random_items(split, held_out, touched, SHOWN, generator),
    }
    if (pools.interest > 0).any():
        sources[QUOTA] = np.where(touched.novel_lists(pools.interest), pools.interest, 0)
    share = generator.random(len(held_out))
    frontier = []
    for gain in gains:
        goal = float(base.novel.mean()) + gain
        worth = premium_for(lambda value: _enr(pools.novel, pools.with_premium(value, pools.novel)), goal)
        ours = shown(f"+{100 * gain:g} points", at(pools.with_premium(worth, pools.novel)))
        controls = {
            name: shown(name, _matched(pools, source, goal, share, touched, is_quota=name == QUOTA))
            for name, source in sources.items()
        }
        compare = _comparison(held_out.user, seed)
        against = {name: compare(control, ours) for name, control in controls.items()}
        frontier.append(Frontier(gain, worth, ours, compare(base, ours), controls, against))
    anything = shown("random", generator.integers(1, split.data.sizes.items + 1, size=base.top.shape))
    rows = [anything, *(shown(other.label, lists(other, held_out)) for other in others)]
    about = {"feed": label, "requests": len(held_out), "shown": SHOWN, "level": level, "days": days, "part": part}
    return Exposure(base, served, rows, frontier, about)


def _comparison(users: Ints, seed: int) -> Callable[[Shown, Shown], dict[str, Difference]]:
    return lambda a, b: dict(replay(a, b, users, seed=seed, resamples=_RESAMPLES))


def _new_targets(split: Split, part: Part) -> Requests:
    held_out = split.held_out("recommend", part)
    return held_out[~is_repeat(split.data, held_out)]


def _enr(novel: Bools, positions: Ints) -> float:
    return float(np.take_along_axis(novel, positions, axis=1).mean())


def _pools(pipeline: Pipeline, held_out: Requests, touched: Touched) -> _Pools:
    """What the pipeline ranks for each request, and how."""
    data, learned = pipeline.catalog.last.base.data, pipeline.parts.learned["recommend"]
    count = len(held_out)
    items, served_novel = np.zeros((count, _DEEP), dtype=np.int64), np.zeros((count, _DEEP), dtype=bool)
    chance, interest = np.full((count, _DEEP), -1.0), np.zeros((count, SHOWN * 2), dtype=np.int64)
    users, targets = data.users.to_external(held_out.user), data.items.to_external(held_out.target)
    with progress("pools", count) as advance:
        for start in range(0, count, _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, count))
            requests = [Request(user=users[row], time=int(held_out.time[row]), keep=(targets[row],)) for row in rows]
            pooled = pipeline.candidates(requests, "recommend", learned.scorers)
            pools = [pool.items for pool in pooled.pools]
            matrix = learned.features.matrix(pooled.batch, pools, pooled.scores, pooled.lists)
            ends = np.cumsum([len(pool) for pool in pools])
            scores = np.split(learned.model.scores(matrix), ends[:-1])
            for place, (row, pool, values) in enumerate(zip(rows, pools, scores, strict=True)):
                likely = chances(values, learned.model.sharpness)
                best = np.argsort(-likely, kind="stable")[:_DEEP]
                items[row, : len(best)], chance[row, : len(best)] = pool[best], likely[best]
                recent = pooled.batch.users[place].recent
                served_novel[row, : len(best)] = novel_items(pooled.batch.catalog, recent, pool[best])
                if INTEREST in pooled.lists:
                    channel = pooled.lists[INTEREST][place].items[: interest.shape[1]]
                    interest[row, : len(channel)] = channel
            advance(len(rows), "")
    return _Pools(items, chance, touched.novel_lists(items) & (items > 0), served_novel, interest)


def _matched(
    pools: _Pools, source: Ints, goal: float, share: NDArray[np.float64], touched: Touched, *, is_quota: bool
) -> Ints:
    """[R, 10] lists in which a control has the number of places by which a share of novel items is reached.

    Args:
        pools: of the requests.
        source: [R, S] novel items of the control, best first, 0 for none.
        goal: share of novel items.
        share: [R] in [0, 1]: a request has one place more if this is below the fraction of the places.
        touched: what the users have touched.
        is_quota: take the places of a quota instead of those of the last items that are not novel.
    """

    def lists_of(places: float) -> Ints:
        counts = np.floor(places + share).astype(np.int64)
        return _placed(pools, source, np.minimum(counts, SHOWN), is_quota=is_quota)

    def novelty(places: float) -> float:
        return float(touched.novel_lists(lists_of(places)).mean())

    return lists_of(premium_for(novelty, goal, highest=float(SHOWN)))


def _placed(pools: _Pools, source: Ints, counts: Ints, *, is_quota: bool) -> Ints:
    """[R, 10] the base lists with `counts` [R] items of a source in them."""
    top = pools.items[:, :SHOWN].copy()
    for row, count in enumerate(counts.tolist()):
        if not count:
            continue
        line = top[row]
        new = source[row][(source[row] > 0) & ~np.isin(source[row], line)]
        if is_quota:
            marked = slots(SHOWN, count / SHOWN)
            new = new[: int(marked.sum())]
            marked[np.flatnonzero(marked)[len(new) :]] = False
            places = np.flatnonzero(marked)
            top[row] = np.insert(line[: SHOWN - len(new)], places - np.arange(len(new)), new)
            continue
        places = np.flatnonzero(~pools.novel[row, :SHOWN])[::-1][: min(count, len(new))]
        top[row] = np.concatenate((np.delete(line, places), new[: len(places)]))
    return top


def _novel_tail(pools: _Pools) -> Ints:
    """[R, 10] the most likely novel candidates that are not shown anyway."""
    order = np.argsort(~pools.novel[:, SHOWN:], axis=1, kind="stable")[:, :SHOWN]
    tail = np.take_along_axis(pools.items[:, SHOWN:], order, axis=1)
    return np.where(np.take_along_axis(pools.novel[:, SHOWN:], order, axis=1), tail, 0)


def _popular_items(split: Split, held_out: Requests, touched: Touched) -> Ints:
    """[R, 20] items of the most clicked categories that each user has not touched, the most clicked in turn."""
    groups, width = touched.groups, touched.width
    clicks = np.bincount(split.train_clicks(("recommend",))[1], minlength=len(groups))
    by_clicks = np.lexsort((-clicks[groups.owners], groups.values))
    of_category = group(groups.values[by_clicks], groups.owners[by_clicks], width)
    popular = np.argsort(-np.bincount(groups.values, clicks[groups.owners], minlength=width), kind="stable")
    popular = popular[popular > 0]
    rows, category = np.divmod(touched.keys, width)
    ends = np.searchsorted(rows, np.arange(len(held_out) + 1))
    deep = SHOWN * 2
    items = np.zeros((len(held_out), deep), dtype=np.int64)
    for row in range(len(held_out)):
        known = category[ends[row] : ends[row + 1]]
        new = popular[: _CATEGORIES + len(known)]
        new = new[~np.isin(new, known)][:_CATEGORIES]
        lines = [of_category.row(int(one))[:deep] for one in new]
        turn = [int(line[place]) for place in range(deep) for line in lines if place < len(line)]
        distinct = list(dict.fromkeys(turn))[:deep]
        items[row, : len(distinct)] = distinct
    return np.where(touched.novel_lists(items), items, 0)


def _random_items(split: Split, held_out: Requests, touched: Touched, k: int, generator: np.random.Generator) -> Ints:
    """[R, k] items drawn evenly from those of categories that each user has not touched; 0 where too few came."""
    drawn = generator.integers(1, split.data.sizes.items + 1, size=(len(held_out), _TRIES * k))
    rows = torch.from_numpy(drawn)
    good = touched.novel_lists(drawn) & (is_first(rows) & ~is_in(rows, seen_items(split, held_out))).numpy()
    order = np.argsort(~good, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(good, order, axis=1), np.take_along_axis(drawn, order, axis=1), 0)
