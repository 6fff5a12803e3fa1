"""Fitting of a deployment's fusion on validation requests: which parts help, which model is best, and its weights."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from searec.data.click_log import every_click, target_positions
from searec.data.schema import TASKS, Task
from searec.data.split import Requests
from searec.errors import DataError
from searec.evaluation.click_models import FLOOR, position_bias
from searec.evaluation.slices import is_repeat
from searec.pipeline.builder import lists_of, open_pipeline, with_parts
from searec.pipeline.dense_channel import DenseChannel
from searec.pipeline.deployment import Deployment
from searec.pipeline.executors import Inline
from searec.pipeline.fusion_examples import DEPTH, Examples, LinearFolds, collect, cross_fitted
from searec.pipeline.fusion_features import Features, ItemStatistics, groups_of
from searec.pipeline.fusion_learners import Learner, Weights, fit_linear, fit_trees, learn_linear, learn_trees
from searec.pipeline.learned_fusion import LearnedFusion, has_lightgbm
from searec.pipeline.pipeline import INTEREST, Pipeline
from searec.pipeline.ranking import LexicalScorer
from searec.pipeline.run_folder import read_config

FEWEST = 100
"""Validation requests with their target in the pool from which a fusion is learned."""
NOVELTY_COST = 0.005
"""Share of NDCG@10 that novelty may cost by default, where a run has an interest channel."""
PREMIUMS = tuple(float(f"{1e-4 * 1.25**step:.3g}") for step in range(32))
"""Premiums on novelty that are tried, 0.0001 to 0.1."""
DENSE_WEIGHT = 0.25
"""Of the score by vectors beside that by words, both in standard deviations of the pool, where nothing is learned."""
_TOLERANCE = 0.5
"""Standard errors by which a fusion may be worse than the best one seen, for the parts that it lacks to be dropped."""
Values = NDArray[np.float64]


def fit_fusion(
    deployment: Deployment,
    *,
    trees: bool = True,
    most: int = 2_500,
    novelty_cost: float | None = None,
    tasks: Sequence[Task] = TASKS,
) -> dict[Task, LearnedFusion]:
    """Return the fusion of each task that a deployment serves, fitted on the validation requests of its runs.

    Of final runs, which hold nothing out, the validated twins are used.

    Args:
        deployment: without a learned fusion.
        trees: also try LightGBM trees.
        most: validation requests of a task that are learned from, at most, drawn with a fixed seed.
        novelty_cost: share of the feed's NDCG@10 on validation that novelty may cost; by default `NOVELTY_COST` with an
            interest channel, else nothing.
        tasks: to fit, of those that it serves.

    Raises:
        SearecError: as `open_pipeline`.
    """
    pipeline = open_pipeline(_validated(deployment), executor=Inline)
    try:
        tasks = [task for task in tasks if task == "search" or deployment.recommend]
        fusions = {}
        for task in tasks:
            is_debiased = deployment.debias == "auto"
            learned, examples, scores = _fit(pipeline, task, trees=trees, most=most, is_debiased=is_debiased)
            if examples is not None and task == "recommend":
                channels = pipeline.parts.channels[task].values()
                has_interests = any(INTEREST in channel.names for channel in channels)
                cost = novelty_cost if novelty_cost is not None else NOVELTY_COST * has_interests
                learned = _with_novelty(learned, examples, scores, cost)
            fusions[task] = learned
        return fusions
    finally:
        pipeline.close()


def _validated(deployment: Deployment) -> Deployment:
    """The deployment with the validated twins of its final runs."""

    def twin(folder: str) -> str:
        entry = read_config(folder).get("twin")
        return str(entry["folder"]) if entry else folder

    labels = {twin(folder): label for folder, label in deployment.labels.items()}
    feed, search = (tuple(map(twin, runs)) for runs in (deployment.recommend, deployment.search))
    return dataclasses.replace(deployment, recommend=feed, search=search, labels=labels, fusion="", fusion_digest="")


def _requests(pipeline: Pipeline, task: Task, most: int) -> Requests:
    """The validation requests to learn from; of the feed those on new targets, as it leaves out what was consumed.

    Users without history get what is popular.
    """
    split = pipeline.parts.popular.split
    requests = split.held_out(task, "val")
    if task == "recommend":
        data = split.data
        has_history = requests.click_end > data.click_history.offsets[requests.user]
        has_history |= requests.search_end > data.searches.offsets[requests.user]
        requests = requests[has_history & ~is_repeat(data, requests)]
    chosen = np.random.default_rng([0, len(requests)]).permutation(len(requests))[:most]
    return requests[np.sort(chosen)]


def _weighted_clicks(
    pipeline: Pipeline, requests: Requests, *, is_debiased: bool
) -> tuple[Requests, Weights, dict[str, Any]]:
    """A request for each click of searches, its weight against position bias, and how that was found.

    Where position bias is not known: the requests as they are, no weights, and the reason, if there are result pages.
    """
    split = pipeline.parts.popular.split
    if split.data.searches.shown is None:
        return requests, None, {}
    if not is_debiased:
        return requests, None, {"reason": "switched off (--debias off)"}
    try:
        examination = position_bias(split)
    except DataError as error:
        return requests, None, {"reason": str(error)}
    clicks = every_click(split.data, requests)
    positions = target_positions(split.data, clicks)
    weight = examination.weights(positions)
    counts = {
        "clicks": len(clicks),
        "without a position": int((positions == 0).sum()),
        "clipped": float((weight >= 1 / FLOOR).mean()) if len(clicks) else 0.0,
    }
    return clicks, weight, {**examination.as_json(), **counts}


_Fit = tuple[LearnedFusion, Examples | None, Values]
"""A fusion, the examples it is fitted to, and their cross-fitted scores; no examples where it does not score."""


def _fit(pipeline: Pipeline, task: Task, *, trees: bool, most: int, is_debiased: bool) -> _Fit:
    parts, scorers = pipeline.parts, pipeline.parts.scorers[task]
    requests = _requests(pipeline, task, most)
    if len(requests) < FEWEST:
        return _unlearned(pipeline, task, f"{len(requests)} validation requests, fewer than {FEWEST}")
    weight, bias = None, dict[str, Any]()
    if task == "search":
        requests, weight, bias = _weighted_clicks(pipeline, requests, is_debiased=is_debiased)
    statistics = ItemStatistics.of(parts.popular.split)
    lists = lists_of(parts.channels[task], scorers)
    groups = groups_of(statistics, parts.popular.split.data, task)
    features = Features(statistics, [scorer.name for scorer in scorers], lists, groups)
    examples = collect(pipeline, features, scorers, requests, copies=task == "search", weight=weight)
    if (count := int(examples.has_target[examples.is_named].sum())) < FEWEST:
        return _unlearned(pipeline, task, f"{count} validation requests with the target among the candidates")
    figures = {name: examples.ndcg(_score_of(examples, name)) for name in features.runs}
    figures["rank fusion"] = examples.ndcg(-examples.place.astype(np.float64))
    parts_left, gains, dropped = eliminate(examples)
    channels = parts.channels[task]
    if set(with_parts(channels, parts_left)) != set(channels):
        scorers = [scorer for scorer in scorers if scorer.name in parts_left]
        features = Features(
            statistics, [scorer.name for scorer in scorers], _among(lists, parts_left), _among(groups, parts_left)
        )
        used: Mapping[Task, Any] = {**parts.channels, task: with_parts(channels, parts_left)}
        pipeline.parts = dataclasses.replace(parts, channels=used)
        examples = collect(pipeline, features, scorers, requests, copies=task == "search", weight=weight)
        pipeline.parts = parts
    learners: dict[str, Learner] = {"linear": learn_linear}
    if trees and has_lightgbm():
        learners["lambdamart"] = learn_trees
    scores = {name: cross_fitted(examples, parts_left, learner) for name, learner in learners.items()}
    figures |= {name: examples.ndcg(values) for name, values in scores.items()}
    named = examples.is_named
    report: dict[str, Any] = {
        "requests": int(named.sum()),
        "in pool": float(examples.has_target[named].mean()),
        f"ndcg@{DEPTH}": {name: float(values[named].mean()) for name, values in figures.items()},
        "gain": gains,
        "dropped": dropped,
        **({"position bias": bias} if bias else {}),
    }
    if not named.all():
        report[f"ndcg@{DEPTH} without user"] = {name: float(values[~named].mean()) for name, values in figures.items()}
    best = max(figures, key=lambda name: float(figures[name][named].mean()))
    if best == "rank fusion":
        return _by_rank({**report, "reason": "rank fusion is best on validation"})
    if best not in learners:
        names = (f"{best} score",)
        single = LearnedFusion(kind="single", parts=(best,), features=names, report=report)
        return single, examples, _score_of(examples, best)
    return _fitted(examples, parts_left, best, report), examples, scores[best]


def _unlearned(pipeline: Pipeline, task: Task, reason: str) -> _Fit:
    """The fusion where there is too little to learn from: in search of words and vectors a weighted sum, else by rank.

    Fused by rank the vectors would spoil the order of the words: docs/search.md has the figures.
    """
    channels, scorers = pipeline.parts.channels[task], pipeline.parts.scorers[task]
    dense = [label for label, channel in channels.items() if isinstance(channel, DenseChannel)]
    if task != "search" or not dense or len(channels) > 1 + len(dense):
        return _by_rank({"reason": reason})
    parts = (LexicalScorer.name, *dense)
    used = [scorer.name for scorer in scorers if scorer.name in parts]
    names = Features(ItemStatistics.of(pipeline.parts.popular.split), used, (), ()).names
    weight = {f"{LexicalScorer.name} z": 1.0, **{f"{label} z": DENSE_WEIGHT / len(dense) for label in dense}}
    fusion = LearnedFusion(
        kind="linear",
        parts=parts,
        features=names,
        mean=(0.0,) * len(names),
        scale=(1.0,) * len(names),
        weights=tuple(weight.get(name, 0.0) for name in names),
        report={"reason": f"default weights: {reason}"},
    )
    return fusion, None, np.zeros(0)


def _by_rank(report: dict[str, Any]) -> _Fit:
    return LearnedFusion(kind="rank", report=report), None, np.zeros(0)


def _with_novelty(learned: LearnedFusion, examples: Examples, scores: Values, cost: float) -> LearnedFusion:
    """The fusion with its sharpness, and the highest premium up to which novelty costs no more than it may."""
    sharpness = best_sharpness(examples, scores)
    base = examples.with_premium(scores, sharpness, 0.0).mean(axis=0)
    rows, chosen = [], 0.0
    for premium in PREMIUMS if cost else ():
        ndcg, enr = examples.with_premium(scores, sharpness, premium).mean(axis=0)
        if ndcg < (1 - cost) * base[0]:
            break
        chosen = premium
        rows.append({"premium": premium, f"ndcg@{DEPTH}": float(ndcg), "enr": float(enr)})
    novelty = {"cost": cost, "base": {f"ndcg@{DEPTH}": float(base[0]), "enr": float(base[1])}, "premiums": rows}
    report = {**learned.report, "novelty": novelty} if cost else learned.report
    return dataclasses.replace(learned, sharpness=sharpness, novelty=chosen, report=report)


def best_sharpness(examples: Examples, scores: Values) -> float:
    """Return the factor of the scores by which their softmax over a request's pool gives its target most.

    Args:
        examples: of a task.
        scores: [E] of the candidates, -inf for what cannot be clicked.
    """
    rows = np.flatnonzero(examples.with_target(np.isfinite(scores)))
    owner, values, is_target = examples.owner[rows], scores[rows], examples.is_target[rows]
    first = np.flatnonzero(np.diff(owner, prepend=-1) > 0)
    if not len(first):
        return 1.0
    request = np.cumsum(np.diff(owner, prepend=-1) > 0) - 1
    values = values - np.maximum.reduceat(values, first)[request]

    def loss(log_factor: float) -> float:
        scaled = np.exp(log_factor) * values
        return float(np.log(np.add.reduceat(np.exp(scaled), first)).sum() - scaled[is_target].sum())

    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=(-5.0, 7.0), method="bounded").x))


def _among(names: Sequence[str], parts: Sequence[str]) -> list[str]:
    return [name for name in names if name in parts]


def _score_of(examples: Examples, run: str) -> Values:
    column = examples.features.names.index(f"{run} score")
    return np.nan_to_num(examples.matrix[:, column].astype(np.float64), nan=-np.inf)


def eliminate(examples: Examples) -> tuple[list[str], dict[str, float], dict[str, float]]:
    """Drop the parts that do not help, by cross-fitted conditional logits; the one that helps least first.

    bm25 always stays: what is searched by words that are new must be retrieved.

    Args:
        examples: of a task.

    Returns:
        The parts that stay; the gain of each part in NDCG@10 over a fusion of all others; by how much the fusion
        that was left is worse than the best one seen, for each part that was dropped.
    """
    named, folds = examples.is_named, LinearFolds(examples)

    def values(parts: Sequence[str]) -> Values:
        return folds.ndcg(parts)[named]

    parts_left = list(examples.features.by_part)
    best = values(parts_left)
    without = {part: values([one for one in parts_left if one != part]) for part in parts_left}
    gains = {part: float((best - one).mean()) for part, one in without.items()}
    dropped: dict[str, float] = {}
    for part in sorted(gains.keys() - {LexicalScorer.name}, key=lambda name: gains[name]):
        left = [one for one in parts_left if one != part]
        if not left:
            break
        candidate = values(left) if dropped else without[part]
        loss = best - candidate
        if loss.mean() <= _TOLERANCE * loss.std() / np.sqrt(len(loss)):
            parts_left, dropped[part] = left, float(loss.mean())
            best = candidate if loss.mean() < 0 else best
    return parts_left, gains, dropped


def _fitted(examples: Examples, parts: Sequence[str], kind: str, report: dict[str, Any]) -> LearnedFusion:
    """The fusion fitted on all requests."""
    columns = examples.columns(parts)
    names = tuple(examples.features.names[column] for column in columns.tolist())
    rows = examples.learned_from
    matrix, is_target, owner = examples.matrix[rows][:, columns], examples.is_target[rows], examples.owner[rows]
    weight = examples.row_weight(rows)
    linear = fit_linear(matrix, is_target, owner, weight)
    text = ""
    importance = dict(zip(names, np.abs(linear.weights).tolist(), strict=True))
    if kind == "lambdamart":
        trees = fit_trees(linear, matrix, is_target, owner, weight)
        text = trees.model_to_string()
        importance = dict(zip(names, trees.feature_importance("gain").tolist(), strict=True))
    total = sum(importance.values()) or 1.0
    shares = {name: value / total for name, value in sorted(importance.items(), key=lambda one: -one[1])}
    return LearnedFusion(
        kind="lambdamart" if text else "linear",
        parts=tuple(parts),
        features=names,
        mean=tuple(linear.mean.tolist()),
        scale=tuple(linear.scale.tolist()),
        weights=tuple(linear.weights.tolist()),
        trees=text,
        report={**report, "importance": shares},
    )
