"""Runs on a global split: trained without anyone's future, measured on users and items that came later."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import small_models
from searec.artifacts.interests import InferredInterests
from searec.artifacts.item_identifiers import ItemCoder
from searec.artifacts.user_codes import UserCoder
from searec.data.dataset import Dataset, load
from searec.data.global_split import split_time
from searec.data.split import NEVER, Split
from searec.data.synthetic.simulate import World, simulate
from searec.errors import LeakError, RunError
from searec.evaluation.slices import NEWCOMERS
from searec.experiments import run_comparison, run_training
from searec.experiments.recipe import Recipe, RecipeLine, train_recipe
from searec.experiments.run_leakage import run_leaks
from searec.experiments.study import study
from searec.experiments.study_config import StudyConfig
from searec.interests.interest_config import InterestSettings
from searec.models import model_named, model_names
from searec.pipeline.deployment import Deployment
from searec.pipeline.run import Run, read_run
from searec.pipeline.served_lists import evaluate_deployment
from searec.semantic_ids.code_config import CodeSettings
from shared_folders import shared_folder

FEED: Any = ("recommend",)
BOTH: Any = ("recommend", "search")
SMALL = {"width": 8, "inner": 8, "heads": 1, "code_epochs": 1, "snapshots": 2, "epochs": 1, "batch": 64}


@dataclass(frozen=True)
class Shop:
    """A shop that gained users and items: every fifth user and every seventh item has no event before `time`.

    rewritten: the same with other clicked items in all events from `time` on.
    """

    folder: Path
    data: Dataset
    rewritten: Dataset
    time: int


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    def make(folder: Path) -> None:
        dials = World(users=40, items=70, clicks=10.0, searches=10.0, families=2, types=3, seed=1)
        world = simulate(folder / "world", dials)
        tables = {
            name: pl.read_parquet(world / f"{name}.parquet") for name in ("items", "users", "interactions", "searches")
        }
        times = pl.concat([tables["interactions"]["timestamp"], tables["searches"]["timestamp"]])
        time = times.sort()[int(0.6 * len(times))]
        new_users, new_items = tables["users"]["user_id"].gather_every(5), tables["items"]["item_id"].gather_every(7)
        late = pl.col("timestamp") >= time
        feed = tables["interactions"].filter(
            late | ~(pl.col("user_id").is_in(new_users.implode()) | pl.col("item_id").is_in(new_items.implode()))
        )
        searches = tables["searches"].filter(late | ~pl.col("user_id").is_in(new_users.implode()))
        old_clicks = pl.col("clicked").list.set_difference(new_items.implode())
        searches = searches.with_columns(clicked=pl.when(late).then("clicked").otherwise(old_clicks))
        items = tables["items"]["item_id"]
        other = pl.element().replace_strict(items, items.reverse())
        rewritten_feed = feed.with_columns(
            item_id=pl.when(late).then(pl.col("item_id").replace_strict(items, items.reverse())).otherwise("item_id")
        )
        rewritten_searches = searches.with_columns(
            clicked=pl.when(late).then(pl.col("clicked").list.eval(other)).otherwise("clicked")
        )
        for name, clicks, sessions in (("shop", feed, searches), ("rewritten", rewritten_feed, rewritten_searches)):
            (folder / name).mkdir()
            tables["items"].write_parquet(folder / name / "items.parquet")
            tables["users"].write_parquet(folder / name / "users.parquet")
            clicks.write_parquet(folder / name / "interactions.parquet")
            sessions.write_parquet(folder / name / "searches.parquet")
        (folder / "time").write_text(str(int(time.timestamp() * 1_000_000)))

    home = shared_folder(tmp_path_factory, "growing-shop", make)
    return Shop(home / "shop", load(home / "shop"), load(home / "rewritten"), int((home / "time").read_text()))


def settings(name: str) -> dict[str, Any]:
    # What validation chooses does depend on events after the split.
    phases = model_named(name).phases
    chosen = {"text": True, "neighbours": False} if "text_choice" in phases else {}
    chosen |= {"searches": False} if "reasoning" in phases else {}
    return small_models.settings(name, **SMALL) | chosen


def trained(name: str, data: Dataset, folder: Path, time: Any) -> Run:
    return run_training.train(name, data, folder, split_at=time, **settings(name))


def split_of(shop: Shop) -> Split:
    return Split(shop.data, split_at=shop.time)


# --- every model ---


# gensar covers tiger, and dense reads no events.
@pytest.mark.parametrize("name", [name for name in model_names() if name not in ("tiger", "dense")])
def test_every_model_learns_from_what_is_older_alone_and_scores_newcomers(
    name: str, shop: Shop, tmp_path: Path
) -> None:
    run = trained(name, shop.data, tmp_path / "run", shop.time)
    twin = trained(name, shop.rewritten, tmp_path / "twin", shop.time)
    state, other = run.model.state(), twin.model.state()
    learned = state.keys() - {"is_open"}  # by validation, too
    assert all(torch.equal(state[key], other[key]) for key in learned), "other events after the split change nothing"
    again = read_run(run.folder, shop.data)
    assert again.split == split_of(shop) and again.config["cutoff"]["split_at"] == shop.time
    assert run_leaks(run.folder, shop.data).errors == ()
    for task in run.model.train_tasks:
        for part in ("val", "test"):
            evaluation = run_comparison.evaluate(again, None, task, "full", part)
            groups = evaluation.summary()["slices"]
            assert all(groups[group]["users"] > 0 for group in NEWCOMERS), groups
            assert evaluation.scores.height == len(again.split.held_out(task, part))


# --- planted leaks ---


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Until undone no split holds anything out of training."""
    with monkeypatch.context() as patch:
        for name in ("cutoff", "visible"):
            patch.setattr(Split, name, lambda self, tasks: np.full(self.data.sizes.users + 1, NEVER))
        patch.setattr(Split, "known", property(lambda self: np.ones(self.data.sizes.users + 1, dtype=bool)))
        yield patch


CODES = CodeSettings(levels=2, codes=8, code_epochs=1, code_batch=32)


def coded(split: Split) -> Any:
    return UserCoder.make(split, FEED, CODES, seed=0)


def identified(split: Split) -> Any:
    return ItemCoder.make(split, BOTH, run_training.settings_for("gensar", "default", settings("gensar"))[0], seed=0)


def interested(split: Split) -> Any:
    return InferredInterests.make(split, FEED, InterestSettings(interests=2, snapshots=2))


MAKERS = [
    pytest.param(coded, FEED, id="user codes"),
    pytest.param(identified, BOTH, id="items"),
    pytest.param(interested, FEED, id="interests"),
]


@pytest.mark.parametrize(("make", "tasks"), MAKERS)
def test_what_was_made_for_leave_one_out_is_caught(make: Callable[[Split], Any], tasks: Any, shop: Shop) -> None:
    """It has read, of some user, an event after the split; and the cache keeps the two apart."""
    split = split_of(shop)
    made, honest = make(Split(shop.data)), make(split)
    assert honest.folder != made.folder and honest.leaks(split, tasks).errors == ()
    found = made.leaks(split, tasks).errors
    assert "events after the cut-off were read" in found[0].what and found[0].rows[0].time >= shop.time


@pytest.mark.parametrize(("make", "tasks"), MAKERS)
def test_what_a_careless_split_made_is_caught(
    make: Callable[[Split], Any], tasks: Any, shop: Shop, careless: pytest.MonkeyPatch
) -> None:
    made = make(split_of(shop))
    careless.undo()
    found = made.leaks(split_of(shop), tasks).errors
    assert found and found[0].rows[0].time >= shop.time


@pytest.mark.parametrize("model", ["popular", "sasrec", "unisar"])
def test_a_careless_split_fails_every_training(
    model: str, shop: Shop, tmp_path: Path, careless: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LeakError, match="training targets lie in the validation or test period"):
        trained(model, shop.data, tmp_path / "run", shop.time)


@pytest.mark.parametrize("name", ["popular", "itemknn"])
def test_counts_and_similarities_of_later_events_fail_a_training(
    name: str, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leave-one-out counts, which hold of everybody the last two events alone, are already too many."""
    kind = model_named(name)
    honest = kind.fit
    monkeypatch.setattr(kind, "fit", lambda self, data, split: honest(self, data, Split(data)))
    with pytest.raises(LeakError, match="before the cut-off") as failure:
        trained(name, shop.data, tmp_path / "run", shop.time)
    moment = str(failure.value).split(" at ")[1][:26]
    assert int(np.datetime64(moment, "us").astype(np.int64)) >= shop.time


def test_a_run_folder_that_claims_another_split_is_caught(shop: Shop, tmp_path: Path) -> None:
    trained("popular", shop.data, tmp_path / "run", None)
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "split": {"min_events": 3, "split_at": shop.time}}))
    found = run_leaks(tmp_path / "run", shop.data).errors
    assert found[0].what == "the run was trained up to other times than its split allows"
    assert any("counted more often than they were clicked before the cut-off" in one.what for one in found)


# --- which split is measured ---


@pytest.fixture
def popular(shop: Shop, tmp_path: Path) -> Run:
    return trained("popular", shop.data, tmp_path / "popular", shop.time)


def test_a_run_is_measured_on_a_later_split_and_on_no_earlier_one(popular: Run, shop: Shop) -> None:
    own = run_comparison.evaluate(popular)
    later = run_comparison.evaluate(popular, split_at=0.8)
    split = Split(shop.data, split_at=split_time(shop.data, 0.8))
    assert later.scores.height == len(split.held_out("recommend", "test"))
    assert later.scores["time"].min() > own.scores["time"].min()
    assert run_comparison.evaluation_of(popular, "recommend", "sampled", "test").scores.equals(own.scores)
    stored = run_comparison.evaluation_of(popular, "recommend", "sampled", "test", split_at=0.8)
    assert stored.scores.equals(later.scores), "the two are stored apart"
    with pytest.raises(LeakError, match=r"training read events from the split time on.*global split at.*train it with"):
        run_comparison.evaluate(popular, split_at=0.5)


def test_a_leave_one_out_run_is_measured_on_no_global_split(shop: Shop, tmp_path: Path) -> None:
    run = trained("popular", shop.data, tmp_path / "one-out", None)
    with pytest.raises(LeakError, match=r"one-out, leave-one-out; got: events up to just before 20"):
        run_comparison.evaluate(run, split_at=0.8)
    del run.config["cutoff"]
    with pytest.raises(LeakError, match="no record of what it read"):
        run_comparison.evaluate(run, split_at=0.8)


def test_runs_of_different_splits_are_neither_compared_nor_deployed(popular: Run, shop: Shop, tmp_path: Path) -> None:
    other = trained("itemknn", shop.data, tmp_path / "other", None)
    for measure in (
        lambda: run_comparison.compare([popular, other]),
        lambda: evaluate_deployment(
            Deployment(data=str(shop.folder), recommend=(str(popular.folder), str(other.folder)))
        ),
    ):
        with pytest.raises(
            RunError, match=r"different splits.*popular: global split at.*other: leave-one-out.*--split-at"
        ):
            measure()


def test_a_deployment_is_measured_on_the_split_of_its_runs(popular: Run, shop: Shop, tmp_path: Path) -> None:
    other = trained("itemknn", shop.data, tmp_path / "other", shop.time)
    deployment = Deployment(data=str(shop.folder), recommend=(str(popular.folder), str(other.folder)))
    [(task, evaluation)] = evaluate_deployment(deployment, tasks=FEED, max_requests=5).items()
    held_out = popular.split.held_out(task, "test")
    assert set(evaluation.scores["time"]) <= set(held_out.time.tolist()) and evaluation.scores.height == 5
    assert set(NEWCOMERS) < set(evaluation.slices)
    [later] = evaluate_deployment(deployment, tasks=FEED, max_requests=5, split_at=0.8).values()
    assert later.scores["time"].min() >= popular.split.test_at
    with pytest.raises(LeakError, match="training read events from the split time on"):
        evaluate_deployment(deployment, tasks=FEED, split_at=0.5)


# --- tables ---


def test_a_study_has_one_split_for_all_models(shop: Shop, tmp_path: Path) -> None:
    config = StudyConfig(models=("popular", "bm25"), seeds=1, trials=0, split_at="0.6")
    result = study(shop.data, tmp_path / "study", config)
    assert result.comparison is not None and not result.failed
    assert all(table.slices[group] for table in result.comparison.tables for group in NEWCOMERS)
    page = (tmp_path / "study" / "report.html").read_text()
    assert "Measured on a global split at 20" in page and "users without an event before the split" in page
    configs = [json.loads(path.read_text()) for path in (tmp_path / "study").glob("runs/*/config.json")]
    assert [config["split"]["split_at"] for config in configs] == [split_time(shop.data, 0.6)] * 2
    with pytest.raises(RunError, match=r"a study of other data or settings.*split_at"):
        study(shop.data, tmp_path / "study", StudyConfig(models=("popular",), seeds=1, trials=0, split_at="0.7"))


def test_a_recipe_is_trained_on_a_global_split(shop: Shop, tmp_path: Path) -> None:
    recipe = Recipe("two", (RecipeLine("a", "popular"), RecipeLine("b", "itemknn")), protocols=("sampled",))
    runs = train_recipe(recipe.at(shop.time), shop.data, tmp_path)
    assert [run.split.split_at for run in runs] == [shop.time, shop.time]
    assert recipe.at(None) is recipe


# --- commands ---


def test_the_commands_take_a_quantile_or_a_time(shop: Shop, tmp_path: Path, searec: Any) -> None:
    run = tmp_path / "run"
    code, _, error = searec("train", "popular", shop.folder, "--out", run, "--split-at", "0.6")
    assert code == 0, error
    time = json.loads((run / "config.json").read_text())["split"]["split_at"]
    code, out, _ = searec("evaluate", run, shop.folder, "--json", tmp_path / "e.json")
    assert code == 0 and "new-user" in out and "known-item" in out
    assert set(NEWCOMERS) < set(json.loads((tmp_path / "e.json").read_text())["slices"])
    iso = str(np.datetime64(time, "us"))
    assert searec("evaluate", run, shop.folder, "--split-at", iso)[0] == 0
    code, _, error = searec("evaluate", run, shop.folder, "--split-at", "0.5")
    assert code == 1 and "training read events from the split time on" in error and error.count("\n") == 1
    code, out, _ = searec("compare", run, shop.folder, "--out", tmp_path / "report.html")
    assert code == 0 and out.count("new-user:") == out.count("known-item:") == 4, "a table for each task and protocol"
    for bad, message in (("2", "bad split time"), ("1999-01-01", "outside of the log"), ("soon", "bad split time")):
        code, _, error = searec("train", "popular", shop.folder, "--out", tmp_path / "no", "--split-at", bad)
        assert code == 1 and message in error and error.count("\n") == 1


def test_check_says_how_much_leave_one_out_learns_from_later_clicks(shop: Shop, tmp_path: Path, searec: Any) -> None:
    code, out, _ = searec("check", shop.folder, "--json", tmp_path / "check.json")
    assert code == 0 and "'--split-at 0.8' trains before one time" in out
    figures = json.loads((tmp_path / "check.json").read_text())["future_clicks"]
    data, split = shop.data, Split(shop.data)
    for task in BOTH:
        cutoff, history = split.cutoff((task,)), data.click_history
        times = [
            int(history.time[place])
            for user in range(1, data.sizes.users + 1)
            for place in range(int(history.offsets[user]), int(history.offsets[user + 1]))
            if history.time[place] < cutoff[user]
        ]
        requests = split.held_out(task, "test").time.tolist()
        shares = [sum(time >= moment for time in times) / len(times) for moment in requests]
        assert figures[task] == {
            "requests": len(requests),
            "clicks": len(times),
            "share": pytest.approx(sum(shares) / len(shares)),
        }
        assert f"{100 * figures[task]['share']:5.1f} % of the training clicks for {task}" in out
    code, out, _ = searec("check", shop.folder, "--split-at", "0.6", "--json", tmp_path / "check.json")
    assert code == 0 and "leave-one-out" not in out
    assert json.loads((tmp_path / "check.json").read_text())["future_clicks"] == {}
