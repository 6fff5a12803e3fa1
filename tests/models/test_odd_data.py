"""Datasets that are odd or nearly empty: every model trains on them and answers, or gives one clear error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from searec.data.dataset import Dataset
from searec.data.schema import TASKS
from searec.errors import SearecError
from searec.experiments import run_training
from searec.models import model_names
from searec.pipeline.run import Run
from small_models import settings

SMALL: dict[str, Any] = {
    **{"width": 8, "inner": 8, "layers": 1, "heads": 2, "head_width": 4, "length": 8, "levels": 1, "codes": 2},
    **{"code_epochs": 1, "code_least": 0, "vocabulary": 300, "beam": 4, "hidden": 8, "vector": 8, "interests": 2},
    **{"snapshots": 2, "negatives": 2, "rl_steps": 1, "exit_steps": 1, "steps": 1, "epochs": 1},
}
Event = tuple[str, str, float]
ITEMS = {f"i{n}": f"thing {n}" for n in range(6)}
KINDS = {item: {"title": title, "categories": [f"kind{n % 2}"]} for n, (item, title) in enumerate(ITEMS.items())}


def clicks(users: int, each: int, items: int = 6) -> list[Event]:
    return [(f"u{user}", f"i{(user + n) % items}", 60.0 * n + user) for user in range(users) for n in range(each)]


def searches(users: int, each: int) -> list[tuple[str, str, float, list[str]]]:
    return [
        (f"u{user}", f"thing {n}", 60.0 * n + 30 + user, [f"i{(user + 2 * n) % 6}"])
        for user in range(users)
        for n in range(each)
    ]


ODD: dict[str, dict[str, Any]] = {
    "one item": {"items": {"i0": "thing"}, "users": ["u0", "u1"], "feed": clicks(2, 4, 1)},
    "one user": {"items": KINDS, "users": ["u0"], "feed": clicks(1, 5), "searches": searches(1, 4)},
    "no searches": {"items": KINDS, "users": ["u0", "u1", "idle"], "feed": clicks(2, 4)},
    "no interactions": {"items": KINDS, "users": ["u0", "u1"], "searches": searches(2, 5)},
    "nothing held out": {"items": KINDS, "users": ["u0", "u1"], "feed": clicks(2, 2), "searches": searches(2, 2)},
    "crawler": {
        "items": KINDS,
        "users": ["u0", "u1", "crawler"],
        "feed": [*clicks(2, 3), *(("crawler", item, 50.0 * n) for n, item in enumerate(ITEMS))],
        "searches": [*searches(2, 3), *(("crawler", "thing 1", 500.0 + n, [f"i{n}"]) for n in range(6))],
    },
    "odd labels": {
        "items": {
            item: {"title": "***", "categories": [["***"], ["a" * 130], ["***", "b" * 121]][n % 3]}
            for n, item in enumerate(ITEMS)
        },
        "users": ["u0", "u1"],
        "feed": clicks(2, 4),
        "searches": [(user, "!!!", when, clicked) for user, _, when, clicked in searches(2, 4)],
    },
}
TOO_LITTLE = {"one item", "no interactions"}
"""Datasets that some model cannot learn from."""


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", model_names())
def test_a_model_trains_or_says_why_not(
    name: str, kind: str, make_data: Callable[..., Dataset], tmp_path: Path
) -> None:
    data = make_data(**ODD[kind])
    try:
        run = run_training.train(name, data, tmp_path / "run", **settings(name, **SMALL))
    except SearecError as error:
        assert kind in TOO_LITTLE, error
        assert str(error)
        return
    answer(run, data)


def answer(run: Run, data: Dataset) -> None:
    """Everybody gets a list, of items of the catalogue, each once."""
    users = data.users.to_external(np.arange(1, data.sizes.users + 1))
    for task in TASKS:
        if task in run.model.train_tasks:
            queries = ["thing 1 電 12v"] * len(users)
            table = run.recommend(users, k=3, seen=True) if task == "recommend" else run.search(users, queries, k=3)
            assert set(table["item_id"]) <= set(data.items.texts.to_list())
            assert table.group_by("user_id").agg(one="item_id").select(count="one").height <= len(users)
            assert table["score"].is_finite().all()


@pytest.mark.parametrize("name", ["sasrec", "gserec-paper", "lcr-ser-paper", "unisar"])
def test_nothing_held_out_is_trained_without_validation(
    name: str, make_data: Callable[..., Dataset], tmp_path: Path
) -> None:
    run = run_training.train(name, make_data(**ODD["nothing held out"]), tmp_path / "run", **settings(name, **SMALL))
    assert "phases" not in run.config, "later phases are judged by validation"
    log = (run.folder / "log.jsonl").read_text(encoding="utf-8")
    assert "ndcg" not in log
