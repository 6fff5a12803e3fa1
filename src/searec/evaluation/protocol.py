"""The two protocols: a model's rank of each held-out target, sampled among 100 or over the full catalogue."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from searec.data.batch import Batch, Batcher
from searec.data.candidates import candidate_lists
from searec.data.ragged import Ints, gather_windows
from searec.data.schema import Part, Task
from searec.data.split import Requests, Split
from searec.errors import DataError, SettingsError
from searec.evaluation.exposure import Touched, click_novelty, exposure_novelty, serendipity
from searec.evaluation.result import SLICE, Evaluation, Protocol
from searec.evaluation.slices import slices
from searec.evaluation.threads import side_by_side
from searec.metrics.accuracy import ndcg
from searec.metrics.beyond_accuracy import coverage, diversity, gini, novelty
from searec.models.base import Model
from searec.progress import progress

LIST_LENGTH = 10
"""Coverage, novelty, diversity and what is new to the user are of lists this long."""
RETRIEVED = 30
"""Items that a model which cannot score a whole catalogue is asked for in the full protocol."""
_SCORES_AT_ONCE = 1 << 23
_BEAM_COST = 4096
"""Memory of an item retrieved, in scores."""


def evaluate(
    model: Model,
    split: Split,
    task: Task,
    protocol: Protocol = "sampled",
    part: Part = "test",
    *,
    label: str | None = None,
    seed: int = 0,
    max_requests: int | None = None,
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Rank every held-out target of a task and part.

    Args:
        model: trained on the training events of `split`; on whichever device it should run.
        protocol: "sampled", the target among the stored 99 candidates; "full", among the whole catalogue less what the
            user has clicked before (the target itself always stays).
        seed: of the candidates, and of the draw of `max_requests`.
        max_requests: score only so many requests, drawn uniformly by `seed`; all by default.

    Raises:
        SettingsError: the model has not learnt the task.
        DataError: nothing is held out.
    """
    if task not in model.train_tasks:
        raise SettingsError(
            f"{model.name} has not learnt to {task}",
            expected=", ".join(model.train_tasks),
            remedy="choose another --task",
        )
    requests = split.held_out(task, part)
    if len(requests) == 0:
        raise DataError(
            "no user has enough events to be held out",
            got=f"0 {part} requests for {task}",
            expected=f"users with {split.min_events} or more events",
        )
    rows = chosen(len(requests), max_requests, seed)
    started = time.perf_counter()
    if protocol == "sampled":
        candidates = candidate_lists(split, task, part, seed=seed)
        rank, top = sampled_ranks(model, split, requests[rows], candidates[rows]), None
    else:
        rank, top = full_ranks(model, split, requests[rows])
    seconds = time.perf_counter() - started
    asked = requests[rows]
    columns: dict[str, Any] = {
        "user_id": split.data.users.to_external(asked.user),
        "time": np.asarray(asked.time, dtype=np.int64),
        "target": np.asarray(asked.target, dtype=np.int32),
        "rank": rank,
    }
    totals = {}
    if top is not None:
        counts = np.bincount(split.train_clicks((task,))[1], minlength=split.data.sizes.items + 1)
        columns |= {"novelty": novelty(top, counts), "diversity": diversity(top, split.data.item_categories)}
        totals = {"coverage": coverage(top, split.data.sizes.items), "gini": gini(top, split.data.sizes.items)}
        if task == "recommend":
            novel = Touched.of(split.data, asked).novel_lists(top)
            hits = (top == np.asarray(asked.target)[:, None]).any(axis=1)
            columns |= {"enr": exposure_novelty(top, novel), "serendipity": serendipity(top, novel, asked.target)}
            totals["cnr"] = click_novelty(hits, columns["serendipity"])
    # The slices are made of all requests, so that a median does not depend on the draw.
    columns |= {SLICE + name: mask[rows] for name, mask in slices(split, requests).items()}
    return Evaluation(
        label=label or model.name,
        model=model.name,
        task=task,
        protocol=protocol,
        part=part,
        scores=pl.DataFrame(columns),
        totals=totals,
        settings=dict(settings or {}),
        environment=dict(environment or {}),
        seconds=seconds,
    )


def chosen(count: int, limit: int | None, seed: int) -> Ints:
    """Ascending rows of `count`: all, or `limit` of them drawn uniformly by `seed`."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, count]).choice(count, size=limit, replace=False))


def validation_score(model: Model, split: Split, *, requests: int, seed: int) -> dict[str, float]:
    """Sampled NDCG@5 on validation, the mean over the model's tasks, and each task's own."""
    values = {}
    for task in model.train_tasks:
        held = split.held_out(task, "val")
        rows = chosen(len(held), requests, seed)
        candidates = candidate_lists(split, task, "val", seed=seed)
        values[f"ndcg@5.{task}"] = (
            float(ndcg(sampled_ranks(model, split, held[rows], candidates[rows]), 5).mean()) if len(rows) else 0.0
        )
    return {"ndcg@5": float(np.mean(list(values.values()))), **values}


def sampled_ranks(model: Model, split: Split, requests: Requests, candidates: Ints) -> np.ndarray:
    """[R] rank of the first candidate of each line of `candidates` [R, N] among them all."""
    rank = np.zeros(len(requests))

    def place(rows: Ints, batch: Batch) -> None:
        rank[rows] = tie_rank(model.score(batch).float(), torch.zeros(len(rows), dtype=torch.long))

    score_batches(place, model, split, requests, candidates.shape[1], candidates)
    return rank


def full_ranks(model: Model, split: Split, requests: Requests) -> tuple[np.ndarray, Ints]:
    """[R] rank of each target over the catalogue less the user's earlier clicks, and the top-10 lists [R, 10].

    Of a model that cannot score a whole catalogue it is the place in what it retrieves, `RETRIEVED` items; a target that is not among
    them is as good as last.
    """
    if not model.enumerates:
        return _retrieved_ranks(model, split, requests)
    data = split.data
    rank = np.zeros(len(requests))
    top = np.zeros((len(requests), min(LIST_LENGTH, data.sizes.items)), dtype=np.int32)

    def place(rows: Ints, batch: Batch) -> None:
        scores = model.score(batch).float().cpu().clone()
        target = torch.from_numpy(requests.target[rows].astype(np.int64))
        own = scores.gather(1, target[:, None])
        first = np.asarray(data.click_history.offsets[requests.user[rows]])
        seen = gather_windows(data.click_history.item, first, requests.click_end[rows] - first)
        scores.scatter_(1, torch.from_numpy(seen.astype(np.int64)), -torch.inf)
        scores[:, 0] = -torch.inf
        scores.scatter_(1, target[:, None], own)
        rank[rows] = tie_rank(scores, target)
        best, items = scores.topk(top.shape[1], dim=1)
        top[rows] = torch.where(best.isneginf(), 0, items).numpy()

    score_batches(place, model, split, requests, data.sizes.items + 1, None)
    return rank, top


def _retrieved_ranks(model: Model, split: Split, requests: Requests) -> tuple[np.ndarray, Ints]:
    """As `full_ranks`, by `Model.retrieve`."""
    data = split.data
    rank = np.zeros(len(requests))
    top = np.zeros((len(requests), min(LIST_LENGTH, data.sizes.items)), dtype=np.int32)
    size = min(RETRIEVED, data.sizes.items)

    def place(rows: Ints, batch: Batch) -> None:
        target = requests.target[rows].astype(np.int64)[:, None]
        first = np.asarray(data.click_history.offsets[requests.user[rows]])
        seen = gather_windows(data.click_history.item, first, requests.click_end[rows] - first).astype(np.int64)
        items = (
            model.retrieve(batch, size, torch.from_numpy(np.where(seen == target, 0, seen)).to(batch.user.device))[0]
            .cpu()
            .numpy()
        )
        top[rows] = items[:, : top.shape[1]]
        hit = items == target
        rank[rows] = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, data.sizes.items)

    score_batches(place, model, split, requests, size * _BEAM_COST, None)
    return rank, top


def tie_rank(scores: Tensor, target: Tensor) -> np.ndarray:
    """[B] rank 1 + better + ties / 2 of column `target` [B] of `scores` [B, N]: a tie never helps a model.

    Raises:
        DataError: a score is NaN, or the target's is not finite.
    """
    scores = scores.cpu()
    own = scores.gather(1, target[:, None])
    if scores.isnan().any() or not own.isfinite().all():
        raise DataError(
            "a model gave a score that is no number", expected="finite scores", remedy="train it again with a lower lr"
        )
    better = (scores > own).sum(1)
    ties = (scores == own).sum(1) - 1
    return (1 + better + ties / 2).double().numpy()


def score_batches(
    use: Callable[[Ints, Batch], None],
    model: Model,
    split: Split,
    requests: Requests,
    width: int,
    candidates: Ints | None,
) -> None:
    """Hand each batch and its rows to `use`: of like history lengths and bounded memory, on the model's device, with progress."""
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
