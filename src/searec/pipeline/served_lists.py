"""Offline evaluation of a deployment: held-out requests get the lists that the service would give them."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from searec.data.batch import Batch, Needs
from searec.data.schema import TASKS, Part, Task
from searec.data.split import NEVER
from searec.errors import SearecError, SettingsError
from searec.evaluation.protocol import evaluate
from searec.evaluation.result import Evaluation
from searec.files import replacing
from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import Deployment
from searec.pipeline.executors import Inline
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.run_splits import shared_split
from searec.pipeline.types import MOST, RankedItem, Request

_SCHEMA = {
    "task": pl.String,
    "user_id": pl.String,
    "time": pl.Int64,
    "query": pl.String,
    "rank": pl.Int64,
    "item_id": pl.String,
    "score": pl.Float64,
    "channel": pl.String,
    "reason": pl.String,
}


class ServedLists:
    """A pipeline as the evaluation reads a model: it retrieves the lists that are served.

    A request sees only what is strictly older than it. The feed leaves consumed items out but for the target, as the
    full protocol does. Search returns them, as it serves them: to leave them out would mark a target among them.

    Args:
        pipeline: with `Inline` executors and without an event store.
        name: of the deployment.
    """

    enumerates = False
    candidate_limit = MOST
    training = False
    device = torch.device("cpu")
    needs = Needs(text=True)

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self.name = name
        self.train_tasks: tuple[Task, ...] = TASKS
        self._pipeline = pipeline
        self.data = pipeline.catalog.last.base.data
        self.split = pipeline.parts.popular.split
        self._rows: list[tuple[Any, ...]] = []
        self._lock = threading.Lock()

    def train(self, mode: bool = True) -> None:
        """Do nothing; there is nothing to train."""

    def eval(self) -> None:
        """Do nothing; there is nothing to train."""

    def retrieve(self, batch: Batch, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the served items [B, k], 0 where fewer are left, and their scores; as `Model.retrieve`.

        Args:
            batch: B requests with user, time, target and query text.
            k: items per request, at most `MOST`.
            exclude: not read; the pipeline leaves out what the user has consumed.

        Raises:
            SearecError: a request cannot be answered.
        """
        users = self.data.users.to_external(batch.user.numpy())
        targets = self.data.items.to_external(batch.target.numpy()) if bool((batch.target > 0).all()) else None
        times = batch.time.tolist()
        requests = [
            Request(
                user=user,
                query=batch.query_text[row] if batch.task == "search" else None,
                k=k,
                time=None if times[row] == NEVER else times[row],
                keep=() if targets is None or batch.task == "search" else (targets[row],),
            )
            for row, user in enumerate(users)
        ]
        answer = self._pipeline.search if batch.task == "search" else self._pipeline.recommend
        items, scores = torch.zeros(len(requests), k, dtype=torch.long), torch.full((len(requests), k), -torch.inf)
        for row, response in enumerate(answer(requests)):
            if isinstance(response, SearecError):
                raise response
            ranked, count = response.items, len(response.items)
            items[row, :count] = torch.from_numpy(self.data.items.to_internal([one.item for one in ranked])).long()
            scores[row, :count] = torch.tensor([one.score for one in ranked])
            self._record(batch.task, requests[row], ranked)
        return items, scores

    def _record(self, task: Task, request: Request, ranked: "list[RankedItem] | Any") -> None:
        rows = [
            (task, request.user, request.time, request.query, rank, one.item, one.score, one.channel, one.reason)
            for rank, one in enumerate(ranked, start=1)
        ]
        with self._lock:
            self._rows += rows

    def table(self) -> pl.DataFrame:
        """Return all lists retrieved so far: a row for each item with its channel and reason."""
        return pl.DataFrame(self._rows, schema=_SCHEMA, orient="row").sort("task", "user_id", "time", "rank")


def evaluate_deployment(
    deployment: Deployment,
    *,
    tasks: tuple[Task, ...] = TASKS,
    part: Part = "test",
    name: str = "deployment",
    max_requests: int | None = None,
    reasons: Path | None = None,
    options: Mapping[str, Any] | None = None,
    split_at: float | str | None = None,
) -> dict[Task, Evaluation]:
    """Measure the lists that a deployment would serve, in the full protocol.

    Args:
        deployment: what is served.
        tasks: to measure; by default both. Those it has no run for are left out: search has its lexical channel always.
        part: of the held-out requests.
        name: of the deployment in tables.
        max_requests: at most this many requests of each task, drawn with a fixed seed.
        reasons: a Parquet file to write all lists to, with the channel and the reason of each item.
        options: further arguments of `evaluation.protocol.evaluate`, as `metrics`.
        split_at: measure on a global split in place of the one of the runs, as `run_splits.split_for`.

    Returns:
        An evaluation for each task.

    Raises:
        SearecError: as `open_pipeline` and `evaluation.protocol.evaluate`.
    """
    tasks = tuple(task for task in tasks if task == "search" or deployment.recommend)
    if not deployment.runs or not tasks:
        raise SettingsError("the deployment has no run for it", expected="runs for the feed or for search")
    pipeline = open_pipeline(deployment, executor=Inline)
    try:
        served: Any = ServedLists(pipeline, name)
        split = shared_split(pipeline.views.runs, split_at)
        evaluations = {
            task: evaluate(served, split, task, "full", part, max_requests=max_requests, **(options or {}))
            for task in tasks
        }
        if reasons is not None:
            with replacing(reasons) as beside:
                served.table().write_parquet(beside)
    finally:
        pipeline.close()
    return evaluations
