"""The two protocols: a model's rank of each held-out target, sampled among 100 or over the full catalogue."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.batch import Batch, Batcher
from searec.data.candidates import sampled_requests
from searec.data.click_log import target_positions
from searec.data.feedback import excluded_items
from searec.data.global_split import iso
from searec.data.ragged import Ints
from searec.data.schema import Part, Task
from searec.data.split import Requests, Split
from searec.errors import DataError, SettingsError
from searec.evaluation.click_models import position_bias
from searec.evaluation.exposure import Touched
from searec.evaluation.result import METRIC, SLICE, WEIGHT, Evaluation, Metrics, Protocol
from searec.evaluation.slices import is_repeat, slices
from searec.metrics import (
    DEBIASED,
    DEFAULT,
    NDCG,
    Metric,
    RankMetric,
    Results,
    applicable,
    parse_metrics,
    request_metrics,
    total_metrics,
)
from searec.models.base import Model
from searec.progress import progress
from searec.threads import side_by_side

RETRIEVED = 30
"""Items retrieved in the full protocol by a model that cannot score a whole catalogue; a deeper metric needs more."""
_SCORES_AT_ONCE = 1 << 23
_LEAST = 1e-4
_BEAM_COST = 4096
"""Memory of an item retrieved, in scores."""


def evaluate(
    model: Model,
    split: Split,
    task: Task,
    protocol: Protocol = "sampled",
    part: Part = "test",
    *,
    metrics: Metrics | None = None,
    label: str | None = None,
    seed: int = 0,
    max_requests: int | None = None,
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Rank every held-out target of a task and part.

    Args:
        model: trained on the training events of `split`; on whichever device it should run.
        split: whose held-out requests are ranked.
        task: one that the model supports.
        protocol: "sampled", the target among the stored 99 candidates, without the requests of users who have clicked
            nearly everything (`data.candidates.sampled_requests` names them); "full", among the whole catalogue less
            what the user has clicked before or refused (the target itself always stays).
        part: "test" or "val".
        metrics: what to show: "ndcg@20,recall@50" or metric objects. By default those of `metrics.DEFAULT` that are
            defined for task and protocol; these are measured along with any others, so that `compare` finds them. Of
            searches whose result pages the log holds also those of `metrics.DEBIASED`, unless the log cannot tell
            position bias from relevance (`Evaluation.position_bias` says so).
        label: the run's name in tables; the model's by default.
        seed: of the candidates, and of the draw of `max_requests`.
        max_requests: score only this many requests, drawn uniformly by `seed`; all by default.
        settings: of the run, for the report.
        environment: of the run, for the report.

    Raises:
        SettingsError: the model does not support the task, or a metric is not defined for task and protocol.
        DataError: nothing is held out, or a named metric needs result pages that the log does not hold.
    """
    if task not in model.train_tasks:
        raise SettingsError(
            f"{model.name} does not support {task}",
            expected=", ".join(model.train_tasks),
            remedy="choose another --task",
        )
    default = applicable(DEFAULT, task, protocol)
    shown = default if metrics is None else parse_metrics(metrics)
    for metric in shown:
        applicable([metric], task, protocol)
    requests = split.held_out(task, part)
    if split.final:
        raise DataError(
            "nothing is held out of the data of a final run",
            got=f"0 {part} requests for {task}",
            remedy="measure the validated run, whose figures are in config.json, or measure this one on later events",
        )
    if len(requests) == 0 and split.read_before is not None:
        raise DataError(
            "every held-out event is one that the model has read",
            got=f"0 of {len(split.is_unread(task, part)):,} {part} requests for {task} are newer",
            expected="data with events after those of its training",
        )
    if len(requests) == 0:
        raise _nothing_held_out(split, task, part)
    candidates: Ints = np.zeros((0, 0), dtype=np.int32)
    if protocol == "sampled":
        sampled = sampled_requests(split, task, part, seed=seed)
        requests, candidates = sampled.requests, sampled.candidates
        if len(requests) == 0:
            raise DataError(
                "no held-out target has other items to be ranked among",
                got=f"{split.data.sizes.items} items, nearly all of them clicked by each user",
                remedy="use the full protocol, or a larger catalogue",
            )
    rows = chosen(len(requests), max_requests, seed)
    scored = requests[rows]
    bias, weights = _click_weights(split, scored, is_needed=any(metric.reads == "weights" for metric in shown))
    if metrics is None and weights is not None:
        shown = (*shown, *applicable(DEBIASED, task, protocol))
    measured = tuple(dict.fromkeys((*default, *shown)))
    started = time.perf_counter()
    lists, depth = None, None
    if protocol == "sampled":
        rank = sampled_ranks(model, split, scored, candidates[rows])
    else:
        deepest = max(m.depth or 0 for m in measured if m.reads_lists or not model.enumerates)
        depth = None if model.enumerates else _retrieved(model, deepest)
        rank, lists = full_ranks(model, split, scored, deepest)
    seconds = time.perf_counter() - started
    results = _results(split, scored, rank, lists, measured)
    columns = {
        "user_id": split.data.users.to_external(scored.user),
        "time": np.asarray(scored.time, dtype=np.int64),
        "target": np.asarray(scored.target, dtype=np.int32),
        "rank": rank,
        **({} if weights is None else {WEIGHT: weights}),
    } | {
        METRIC + metric.name: metric.values(results)
        for metric in request_metrics(measured)
        if not isinstance(metric, RankMetric)
    }
    # The slices are made of all requests, so that a median does not depend on the draw.
    columns |= {SLICE + name: mask[rows] for name, mask in slices(split, requests).items()}
    return Evaluation(
        label=label or model.name,
        model=model.name,
        task=task,
        protocol=protocol,
        part=part,
        scores=pl.DataFrame(columns),
        totals={metric.name: metric.total(results) for metric in total_metrics(measured)},
        settings=dict(settings or {}),
        environment=dict(environment or {}),
        seconds=seconds,
        metrics=shown,
        depth=depth,
        position_bias=bias,
    )


def _click_weights(
    split: Split, requests: Requests, *, is_needed: bool
) -> tuple[dict[str, Any], NDArray[np.float64] | None]:
    """The examination of positions and the weight of each click, or why there is none; nothing without result pages.

    Raises:
        DataError: there is none, and it is needed.
    """
    if not is_needed and (requests.task != "search" or split.data.searches.shown is None):
        return {}, None
    try:
        examination = position_bias(split)
    except DataError as error:
        if is_needed:
            raise
        return {"reason": str(error)}, None
    positions = target_positions(split.data, requests)
    return {**examination.as_json(), "clicks": int((positions > 0).sum())}, examination.weights(positions)


def _nothing_held_out(split: Split, task: Task, part: Part) -> DataError:
    got = f"0 {part} requests for {task}"
    if split.split_at is None:
        expected = f"users with {split.min_events} or more events"
        return DataError("no user has enough events to be held out", got=got, expected=expected)
    begin = iso(split.split_at if part == "val" else split.test_at)
    expected = f"a click from {begin}" + (f" and before {iso(split.test_at)}" if part == "val" else "")
    remedy = "choose an earlier split time, or another --task"
    return DataError(
        f"nothing to {'validate' if part == 'val' else 'test'} on", got=got, expected=expected, remedy=remedy
    )


def _results(
    split: Split, requests: Requests, rank: np.ndarray, lists: Ints | None, metrics: Sequence[Metric]
) -> Results:
    """What the metrics read, as far as they need it."""
    if lists is None:
        return Results(rank, requests.target)
    return Results(
        rank,
        np.asarray(requests.target),
        lists,
        clicks=np.bincount(split.train_clicks((requests.task,))[1], minlength=split.data.sizes.items + 1),
        categories=split.data.item_categories,
        novel=Touched.of(split.data, requests).novel_lists(lists)
        if any(metric.reads == "novel" for metric in metrics)
        else None,
    )


def _retrieved(model: Model, depth: int) -> int:
    """How many items a model that cannot score a whole catalogue retrieves for metrics of a depth.

    Raises:
        SettingsError: more than it can retrieve.
    """
    if depth > RETRIEVED and model.candidate_limit is not None and depth > model.candidate_limit:
        raise SettingsError(
            f"{model.name} retrieves fewer items than a metric needs",
            got=f"depth {depth}",
            expected=f"at most {max(RETRIEVED, model.candidate_limit)}",
            remedy="choose a smaller depth, or train with a wider beam",
        )
    return max(RETRIEVED, depth)


def chosen(count: int, limit: int | None, seed: int) -> Ints:
    """Ascending rows of `count`: all, or `limit` of them drawn uniformly by `seed`.

    Args:
        count: number of rows.
        limit: how many; None for all.
        seed: of the draw.
    """
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, count]).choice(count, size=limit, replace=False))


def validation_score(
    model: Model, split: Split, judge: str = "ndcg@5", *, requests: int, seed: int
) -> dict[str, float]:
    """Return a metric on validation, its mean over the model's tasks (geometric over the whole catalogue), and each.

    A task without validation requests is left out; without any the result is empty.

    Args:
        model: what is measured.
        split: whose validation requests are scored.
        judge: "ndcg@5" of the sampled protocol, or "full-ndcg@10" of the full one, of the feed on new targets.
        requests: how many of each task, drawn by `seed`.
        seed: of the draw and the candidates.
    """
    values = {}
    for task in model.train_tasks:
        if judge == "ndcg@5":
            held = sampled_requests(split, task, "val", seed=seed)
            rows = chosen(len(held.requests), requests, seed)
            ranks = sampled_ranks(model, split, held.requests[rows], held.candidates[rows]) if len(rows) else rows
        else:
            full = split.held_out(task, "val")
            full = full[~is_repeat(split.data, full)] if task == "recommend" else full
            rows = chosen(len(full), requests, seed)
            ranks = full_ranks(model, split, full[rows])[0] if len(rows) else rows
        if len(rows):
            values[f"{judge}.{task}"] = float(NDCG(5 if judge == "ndcg@5" else 10).of_ranks(ranks).mean())
    if not values:
        return {}
    each = np.array(list(values.values()))
    # Search has far higher figures than the feed over the whole catalogue, and would decide alone by a plain mean.
    mean = each.mean() if judge == "ndcg@5" else np.exp(np.log(each + _LEAST).mean()) - _LEAST
    return {judge: float(mean), **values}


def sampled_ranks(model: Model, split: Split, requests: Requests, candidates: Ints) -> np.ndarray:
    """[R] rank of the first candidate of each line of `candidates` [R, N] among them all.

    Args:
        model: what scores.
        split: of the requests.
        requests: R requests.
        candidates: [R, N] internal ids, the target first.
    """
    rank = np.zeros(len(requests))

    def place(rows: Ints, batch: Batch) -> None:
        rank[rows] = tie_rank(model.score(batch).float(), torch.zeros(len(rows), dtype=torch.long))

    score_batches(place, model, split, requests, candidates.shape[1], candidates)
    return rank


def full_ranks(model: Model, split: Split, requests: Requests, depth: int = 10) -> tuple[np.ndarray, Ints]:
    """Rank each target over the catalogue less what the user has clicked before or refused.

    A model that cannot score a whole catalogue retrieves `RETRIEVED` items, or `depth` if that is more; a target that
    is     not among them is ranked last.

    Args:
        model: what ranks.
        split: of the requests.
        requests: R held-out requests.
        depth: length of the lists returned.

    Returns:
        ranks [R], and the best items [R, depth] (fewer in a smaller catalogue), 0 where absent.
    """
    if not model.enumerates:
        return _retrieved_ranks(model, split, requests, depth)
    data = split.data
    rank = np.zeros(len(requests))
    top = np.zeros((len(requests), min(depth, data.sizes.items)), dtype=np.int32)

    def place(rows: Ints, batch: Batch) -> None:
        scores = model.score(batch).float().cpu().clone()
        target = torch.from_numpy(requests.target[rows].astype(np.int64))
        target_score = scores.gather(1, target[:, None])
        scores.scatter_(1, torch.from_numpy(excluded_items(data, requests[rows])), -torch.inf)
        scores[:, 0] = -torch.inf
        scores.scatter_(1, target[:, None], target_score)
        rank[rows] = tie_rank(scores, target)
        best, items = scores.topk(top.shape[1], dim=1)
        top[rows] = torch.where(best.isneginf(), 0, items).numpy()

    score_batches(place, model, split, requests, data.sizes.items + 1, None)
    return rank, top


def _retrieved_ranks(model: Model, split: Split, requests: Requests, depth: int) -> tuple[np.ndarray, Ints]:
    """As `full_ranks`, by `Model.retrieve`."""
    data = split.data
    rank = np.zeros(len(requests))
    top = np.zeros((len(requests), min(depth, data.sizes.items)), dtype=np.int32)
    size = min(_retrieved(model, depth), data.sizes.items)

    def place(rows: Ints, batch: Batch) -> None:
        target = requests.target[rows].astype(np.int64)[:, None]
        excluded = excluded_items(data, requests[rows])
        excluded = np.where(excluded == target, 0, excluded)
        items = model.retrieve(batch, size, torch.from_numpy(excluded).to(batch.user.device))[0].cpu().numpy()
        top[rows] = items[:, : top.shape[1]]
        hit = items == target
        rank[rows] = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, data.sizes.items)

    score_batches(place, model, split, requests, size * _BEAM_COST, None)
    return rank, top


def tie_rank(scores: Tensor, target: Tensor) -> np.ndarray:
    """[B] rank 1 + better + ties / 2 of column `target` [B] of `scores` [B, N]: a tie never helps a model.

    Args:
        scores: [B, N].
        target: [B] column of the relevant item.

    Raises:
        DataError: a score is NaN, or the target's is not finite.
    """
    scores = scores.cpu()
    target_score = scores.gather(1, target[:, None])
    if scores.isnan().any() or not target_score.isfinite().all():
        raise DataError(
            "a model gave a score that is no number", expected="finite scores", remedy="train it again with a lower lr"
        )
    better = (scores > target_score).sum(1)
    ties = (scores == target_score).sum(1) - 1
    return (1 + better + ties / 2).double().numpy()


def score_batches(
    use: Callable[[Ints, Batch], None],
    model: Model,
    split: Split,
    requests: Requests,
    width: int,
    candidates: Ints | None,
) -> None:
    """Hand each batch and its rows to `use`, on the model's device, with progress.

    Batches hold requests of similar history lengths and have bounded memory.

    Args:
        use: called with the rows [B] and their batch.
        model: what scores; in evaluation mode meanwhile.
        split: of the requests.
        requests: R requests.
        width: scores per request, for the batch size.
        candidates: [R, N] of each request, or None.
    """
    batcher = Batcher(split.data, model.needs)
    device = model.device
    size = max(1, min(512, _SCORES_AT_ONCE // width))
    order = np.argsort(batcher.lengths(requests), kind="stable")
    parts = [order[start : start + size] for start in range(0, len(order), size)]

    def work(rows: Ints) -> int:
        use(rows, batcher.batch(requests[rows], None if candidates is None else candidates[rows]).to(device))
        return len(rows)

    was_training = model.training
    model.eval()
    try:
        with progress(f"Scoring {model.name}", len(order)) as advance:
            for done in side_by_side(work, parts, device):
                advance(done, "")
    finally:
        model.train(was_training)
