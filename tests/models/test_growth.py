"""What every model of the registry does on data that has grown since its training; see `searec.models.growth`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from searec.data.batch import Batcher
from searec.data.dataset import Dataset
from searec.data.split import requests_at
from searec.experiments import run_comparison, run_training
from searec.experiments.run_leakage import run_leaks
from searec.models import model_names
from searec.pipeline.run import Run, read_run
from shared_folders import shared_folder
from small_models import settings

NEW_ITEM, GONE_ITEM, NEW_USER = "0new", "filler111", "0 new user"  # of the fixture `grown`
DEPENDENT = {"bm25", "event-transformer", "gensar", "tiger", "gensar-paper", "tiger-paper"}
"""Models whose scores of known items depend on which other items there are."""


@pytest.fixture(params=model_names())
def folder(request: pytest.FixtureRequest, checkerboard: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def train(folder: Path) -> None:
        run_training.train(request.param, checkerboard.data, folder / "run", **settings(request.param))

    return shared_folder(tmp_path_factory, f"grown-{request.param}", train) / "run"


def scores_of(run: Run, users: list[str], task: Any, items: list[str]) -> torch.Tensor:
    """[users, items] scores after each user's first ten minutes, and for a query that both datasets hold."""
    data = run.data
    user = data.users.to_internal(users)
    time = np.full(len(users), int(np.datetime64("2023-05-01T00:11", "us").astype(np.int64)))
    query = None
    if task == "search":
        number = data.queries.texts.to_list().index("yoga mat") + 1
        query = np.full(len(users), number, dtype=np.int32)
    requests = requests_at(data, task, user, time, query=query)
    with torch.no_grad():
        scores = run.model.score(Batcher(data, run.model.needs).batch(requests))
    return scores[:, torch.from_numpy(data.items.to_internal(items).astype(np.int64))]


def test_known_users_and_items_keep_their_scores(
    folder: Path, checkerboard: Any, grown: Dataset, more_events: Dataset
) -> None:
    before = read_run(folder, checkerboard.data, device="cpu")
    after = read_run(folder, more_events if before.model.name in DEPENDENT else grown, device="cpu")
    assert after.is_grown and not before.is_grown
    users = ["u0", "u3", "u8", "newcomer"]
    items = [item for item in checkerboard.data.items.texts.to_list() if item != GONE_ITEM]
    for task in before.model.train_tasks:
        old, new = (scores_of(run, users, task, items) for run in (before, after))
        assert old.std() > 0 or before.model.name == "popular"
        torch.testing.assert_close(old, new, atol=1e-6, rtol=1e-6)


def test_new_items_are_returned_and_new_users_answered(folder: Path, grown: Dataset) -> None:
    run = read_run(folder, grown, device="cpu")
    count = grown.sizes.items
    if "recommend" in run.model.train_tasks:
        lists = run.recommend([NEW_USER, "u0"], k=count)
        assert NEW_ITEM in lists.filter(user_id="u0")["item_id"].to_list()
        assert lists.filter(user_id=NEW_USER).height
        assert GONE_ITEM not in lists["item_id"].to_list()
    if "search" in run.model.train_tasks:
        found = run.search([NEW_USER], ["thing feed00"], k=count)
        assert NEW_ITEM in found["item_id"].to_list()
        if run.model.name in ("bm25", "dense"):
            assert NEW_ITEM in found["item_id"][:2].to_list(), "found by its text"
    if run.model.name == "sasrec":
        assert run.similar([NEW_ITEM], k=1)["item_id"].to_list() == ["feed00"], "it has its proxy's vector"


def test_tomorrow_is_measured_where_the_run_has_not_read(folder: Path, grown: Dataset) -> None:
    run = read_run(folder, grown, device="cpu")
    task = run.model.train_tasks[0]
    result = run_comparison.evaluate(run, grown, task)
    assert result.scores.height == run.split.is_unread(task, "test").sum()
    assert not (folder / "metrics.json").exists(), "figures of other data are not the run's own"
    assert not run_leaks(folder, grown).errors
