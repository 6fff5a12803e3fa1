"""Do interests name what a user clicks next: hit@K on later clicks in categories that the user had never touched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searec.data.schema import Part
from searec.data.split import Split
from searec.evaluation.exposure import Touched
from searec.evaluation.significance import bootstrap_means, interval
from searec.interests.category_index import CategoryIndex
from searec.interests.novelty import NEAR, History
from searec.interests.profile import Profile, profiles
from searec.interests.reasoner import Reasoner, ReasoningResult

POPULAR, RANDOM = "popular untouched", "random untouched"
_RESAMPLES = 10_000


@dataclass(frozen=True)
class NovelClick:
    """A held-out click of a user in categories that are new to the user.

    Attributes:
        profile: the user before the click.
        categories: of the item, those that the history does not hold by `novelty`.
        untouched: [N] what could be named: categories of items, neither touched nor held by the history, the most
            clicked in training first.
    """

    profile: Profile
    categories: frozenset[int]
    untouched: NDArray[np.int64]


@dataclass(frozen=True)
class InterestHits:
    """hit@K of one reasoner or control, and how it differs from the most clicked untouched categories.

    Attributes:
        hit: share of the clicks of which a category is among the first K interests.
        low, high: of its 95 % bootstrap interval.
        difference: from `POPULAR`, with its interval.
        difference_low, difference_high: of that.
        p: twice the share of resamples on the other side of 0; 1 for `POPULAR`.
        named: mean number of interests that mean a category.
    """

    hit: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    p: float
    named: float


def novel_clicks(
    split: Split, catalogue: CategoryIndex, *, part: Part = "test", most: int | None = None, seed: int = 0
) -> list[NovelClick]:
    """Return held-out clicks of the feed in categories that are new to their users.

    Args:
        split: that holds them out.
        catalogue: of its dataset.
        part: of the held-out requests.
        most: that are drawn with a seed; all by default.
        seed: of the draw.
    """
    data, narrow = split.data, catalogue.taxonomy.narrow
    requests = split.held_out("recommend", part)
    touched = Touched.of(data, requests, taxonomy=catalogue.taxonomy)
    rows = np.flatnonzero(touched.novel(np.arange(len(requests)), np.asarray(requests.target)))
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:most])
    count = data.sizes.categories + 1
    item = split.train_clicks(("recommend",))[1]
    users = np.bincount(narrow.take(item)[0], minlength=count)
    is_narrow = np.bincount(narrow.values, minlength=count) > 0
    popular = np.argsort(-users, kind="stable")
    popular = popular[is_narrow[popular] & catalogue.usable[popular]]
    clicks = []
    people = profiles(data, np.asarray(requests.user)[rows], np.asarray(requests.time)[rows])
    category, width = touched.keys % touched.width, touched.width
    for row, profile in zip(rows.tolist(), people, strict=True):
        history = History.of(profile)
        known = category[np.searchsorted(touched.keys, row * width) : np.searchsorted(touched.keys, (row + 1) * width)]
        name = catalogue.taxonomy.name
        grade = {int(one): history.grade(name(int(one))) for one in popular}
        untouched = np.array([one for one in popular if grade[int(one)] >= NEAR and one not in known], dtype=np.int64)
        target = frozenset(narrow.row(int(requests.target[row])).tolist()) & frozenset(untouched.tolist())
        if target:
            clicks.append(NovelClick(profile, target, untouched))
    return clicks


def interest_hits(
    clicks: Sequence[NovelClick],
    reasoners: dict[str, Reasoner],
    catalogue: CategoryIndex,
    *,
    k: int = 8,
    seed: int = 0,
) -> dict[str, InterestHits]:
    """Return hit@k of reasoners and controls on the same clicks.

    An interest means the category of its name, else the one that it is nearest to.

    Args:
        clicks: to be named.
        reasoners: by label.
        catalogue: of the dataset.
        k: interests of each user that count, surest first.
        seed: of the random control and of the intervals.
    """
    generator = np.random.default_rng(seed)
    named: dict[str, list[list[int]]] = {
        POPULAR: [click.untouched[:k].tolist() for click in clicks],
        RANDOM: [generator.permutation(click.untouched)[:k].tolist() for click in clicks],
    }
    for label, reasoner in reasoners.items():
        thoughts = reasoner.infer([click.profile for click in clicks])
        by_agent = {label: [[one.text for one in (r.graph.interests() if r.graph else [])] for r in thoughts]}
        by_agent |= {f"{label}: {agent} alone": texts for agent, texts in _proposals(thoughts).items()}
        for name, texts in by_agent.items():
            meant = meanings([text for line in texts for text in line[:k]], catalogue)
            named[name] = [[meant[text] for text in line[:k] if meant[text]] for line in texts]
    hits = {
        label: np.array([bool(click.categories.intersection(line)) for click, line in zip(clicks, lines, strict=True)])
        for label, lines in named.items()
    }
    table = np.stack([one.astype(np.float64) for one in hits.values()], axis=1)
    drawn = bootstrap_means(table, generator, _RESAMPLES) if len(clicks) else np.zeros((1, len(hits)))
    base = list(hits).index(POPULAR)
    results: dict[str, InterestHits] = {}
    for column, (label, lines) in enumerate(named.items()):
        low, high = interval(drawn[:, [column]])
        apart = drawn[:, column] - drawn[:, base]
        apart_low, apart_high = interval(apart[:, None])
        p = min(1.0, 2 * max(min(float((apart <= 0).mean()), float((apart >= 0).mean())), 1 / (_RESAMPLES + 1)))
        results[label] = InterestHits(
            hit=float(table[:, column].mean()) if len(clicks) else 0.0,
            low=float(low[0]),
            high=float(high[0]),
            difference=float((table[:, column] - table[:, base]).mean()) if len(clicks) else 0.0,
            difference_low=float(apart_low[0]),
            difference_high=float(apart_high[0]),
            p=p,
            named=float(np.mean([len(line) for line in lines])) if len(lines) else 0.0,
        )
    return results


def _proposals(results: Sequence[ReasoningResult]) -> dict[str, list[list[str]]]:
    """By agent of debates: the interests that it proposed alone, the surest first, of each result."""
    agents: dict[str, list[list[str]]] = {}
    for row, result in enumerate(results):
        for entry in result.transcript:
            if isinstance(entry, Mapping) and entry.get("kind") == "proposal" and entry.get("round") == 0:
                lines = agents.setdefault(str(entry["agent"]), [[] for _ in results])
                surest = sorted(entry["interests"], key=lambda one: -float(one["confidence"]))
                lines[row] = list(dict.fromkeys(str(one["interest"]) for one in surest))
    return agents


def meanings(texts: Sequence[str], catalogue: CategoryIndex) -> dict[str, int]:
    """Return the category that each text means, 0 if none.

    Args:
        texts: of interests.
        catalogue: of the dataset.
    """
    distinct = list(dict.fromkeys(texts))
    matches = catalogue.find(distinct, most=1)
    return {text: one[0].category if one else 0 for text, one in zip(distinct, matches, strict=True)}
