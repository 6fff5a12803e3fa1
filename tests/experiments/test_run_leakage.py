"""What is made, or counted, with a later cut-off than it may be is caught, in training and by `searec check`."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from searec.artifacts import interests as derived_interests
from searec.artifacts.base import Artifact
from searec.artifacts.interests import InferredInterests
from searec.artifacts.item_identifiers import ItemCoder
from searec.artifacts.user_codes import UserCoder
from searec.data.dataset import Dataset
from searec.data.leakage.checks import bounds
from searec.data.leakage.cutoff import ABOUT, TIMES, Cutoff
from searec.data.leakage.findings import Finding
from searec.data.split import NEVER, Split
from searec.distillation.labels import Label, Labels
from searec.errors import LeakError, RunError
from searec.experiments import run_training
from searec.experiments.run_leakage import run_leaks
from searec.interests.interest_config import InterestSettings
from searec.interests.student_reasoner import FILE, LABELS, StudentReasoner
from searec.models import click_matrix
from searec.models.itemknn import ItemKNN, similarity_leaks
from searec.models.popular import Popular
from searec.pipeline.run import read_run
from searec.pipeline.run_folder import CONFIG
from searec.semantic_ids.code_config import CodeSettings
from searec.training.checkpoint import read_tensors, write_tensors

FEED: Any = ("recommend",)
BOTH: Any = ("recommend", "search")
CODES = CodeSettings(levels=2, codes=8, code_epochs=1, code_batch=32)
GENSAR = {"code_epochs": 1, "code_least": 1, "codes": 8, "collaborative_width": 8, "code_width": 8, "vocabulary": 300}
INTERESTS = InterestSettings(interests=2, snapshots=2)


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Until undone no split holds anything out of training."""
    with monkeypatch.context() as patch:
        for name in ("cutoff", "visible"):
            patch.setattr(Split, name, lambda self, tasks: np.full(self.data.sizes.users + 1, NEVER))
        yield patch


def coded(split: Split) -> Artifact:
    return UserCoder.make(split, FEED, CODES, seed=0)


def identified(split: Split) -> Artifact:
    return ItemCoder.make(split, BOTH, run_training.settings_for("gensar-paper", "default", GENSAR)[0], seed=0)


def interested(split: Split) -> Artifact:
    return InferredInterests.make(split, FEED, INTERESTS)


MAKERS = [
    pytest.param(coded, FEED, id="user codes"),
    pytest.param(identified, BOTH, id="items"),
    pytest.param(interested, FEED, id="interests"),
]


def copied(made: Artifact, folder: Path) -> Artifact:
    """The same in a folder that a test may spoil."""
    made.save(folder)
    return dataclasses.replace(made, folder=folder)


def first_held_out(data: Dataset, tasks: Any) -> tuple[str, int]:
    """The first user of whom anything is held out, and when it begins."""
    read = bounds(Split(data), tasks)[0]
    user = int(np.flatnonzero(read != NEVER)[0])
    return data.users.texts[user - 1], int(read[user])


def by(finding: Finding) -> tuple[str, int]:
    """Of whom and when the offending event is."""
    return finding.rows[0].user, finding.rows[0].time


# --- what is made beforehand ---


@pytest.mark.parametrize(("make", "tasks"), MAKERS)
def test_what_is_made_honestly_passes_and_its_cutoff_travels(
    make: Callable[[Split], Artifact], tasks: Any, checkerboard: Any, tmp_path: Path
) -> None:
    split = Split(checkerboard.data)
    made = make(split)
    assert made.leaks(split, tasks).findings == ()
    again = make(split)
    assert again.folder == made.folder
    made.save(tmp_path / "copy")
    assert Cutoff.load(tmp_path / "copy").digest == Cutoff.of(split, tasks).digest
    assert json.loads((tmp_path / "copy" / "about.json").read_text())["cutoff"]


@pytest.mark.parametrize(("make", "tasks"), MAKERS)
def test_made_of_another_split_is_caught_by_its_cutoff(
    make: Callable[[Split], Artifact], tasks: Any, checkerboard: Any
) -> None:
    data = checkerboard.data
    made = make(Split(data, min_events=99))  # nobody is held out
    found = made.leaks(Split(data), tasks).errors
    assert "events after the cut-off were read" in found[0].what and str(made.folder) in found[0].where
    assert by(found[0]) == first_held_out(data, tasks)
    assert make(Split(data)).folder != made.folder, "the cache tells them apart"


@pytest.mark.parametrize(("make", "tasks"), MAKERS)
def test_made_by_a_careless_split_is_caught(
    make: Callable[[Split], Artifact], tasks: Any, checkerboard: Any, careless: pytest.MonkeyPatch
) -> None:
    made = make(Split(checkerboard.data))
    careless.undo()
    found = made.leaks(Split(checkerboard.data), tasks).errors
    assert by(found[0]) == first_held_out(checkerboard.data, tasks)


def test_codes_for_one_task_do_not_do_for_both(small_world: Dataset) -> None:
    split = Split(small_world)
    made = coded(split)
    assert made.leaks(split, FEED).errors == ()
    found = made.leaks(split, BOTH).errors
    read, narrow = bounds(split, FEED)[0], bounds(split, BOTH)[0]
    user, time = by(found[0])
    inside = int(small_world.users.to_internal([user])[0])
    assert narrow[inside] <= time < read[inside]


@pytest.mark.parametrize(("make", "tasks"), MAKERS)
def test_without_a_cutoff_or_with_a_changed_one_nothing_is_trusted(
    make: Callable[[Split], Artifact], tasks: Any, checkerboard: Any, tmp_path: Path
) -> None:
    split = Split(checkerboard.data)
    made = copied(make(split), tmp_path / "made")
    table = pl.read_parquet(made.folder / TIMES)
    table.with_columns(pl.col("read", "learned") - 10**12).write_parquet(made.folder / TIMES)
    [found] = made.leaks(split, tasks).errors
    assert "changed after it was made" in found.what
    (made.folder / ABOUT).unlink()
    [found] = made.leaks(split, tasks).errors
    assert "no cut-off tells what it was made of" in found.what and "make it again" in found.remedy


@pytest.mark.parametrize(
    ("make", "tasks", "what"),
    [
        (coded, FEED, ["codes rest on other histories", "summaries rest on other histories"]),
        (
            interested,
            FEED,
            ["snapshots of interests were made after the cut-off", "interest graphs rest on events after the cut-off"],
        ),
    ],
)
def test_a_false_cutoff_is_given_away_by_what_stands_in_the_folder(
    make: Any, tasks: Any, what: list[str], checkerboard: Any, tmp_path: Path
) -> None:
    data = checkerboard.data
    made = copied(make(Split(data, min_events=99)), tmp_path / "made")
    for folder in (made.folder, *(path.parent for path in made.folder.glob(f"*/{ABOUT}"))):
        Cutoff.of(Split(data), tasks).save(folder)
    found = made.leaks(Split(data), tasks).errors
    assert len(found) == len(what)
    for one, text in zip(found, what, strict=True):
        assert text in one.what
    if make is interested:
        assert by(found[0]) == by(found[1]) == first_held_out(data, tasks)


LATE = {
    "items": {letter: f"thing {letter}" for letter in "abcdefgh"},
    "users": ["anna", "ben", "cleo"],
    "feed": [
        *(
            (user, item, second)
            for user in ("anna", "ben", "cleo")
            for item, second in (("a", 10), ("b", 20), ("c", 30), ("d", 40))
        ),
        ("anna", "e", 70),
        ("anna", "f", 80),
    ],
    "searches": [
        ("anna", "tent", 50, ["g"]),
        ("ben", "stove", 15, ["a"]),
        ("cleo", "stove", 15, ["b"]),
        ("anna", "boots", 75, ["h"]),
    ],
}


def test_codes_of_a_side_on_which_nothing_was_done_yet_are_caught(make_data: Any) -> None:
    """Ben and cleo searched before their cut-off.

    Anna's cut-off for both tasks is 70 s, for a split of fewer events the same.
    """
    data = make_data(**{**LATE, "searches": [*LATE["searches"][1:3], ("anna", "boots", 75, ["h"])]})
    made = UserCoder.make(Split(data, min_events=99), FEED, CODES, seed=0)
    found = made.leaks(Split(data), FEED).errors
    told = [one for one in found if "had done nothing before the cut-off (search side)" in one.what]
    assert ["codes" in one.what for one in told] == [True, False]
    assert {(one.rows[0].table, one.rows[0].user, one.rows[0].query) for one in told} == {("searches", "anna", "boots")}


def test_behaviour_of_an_item_that_nobody_had_clicked_is_caught(make_data: Any) -> None:
    data = make_data(**LATE)
    made = identified(Split(data, min_events=99))
    found = [one for one in made.leaks(Split(data), BOTH).errors if "nobody had clicked" in one.what]
    assert len(found) == 1 and "collaborative vectors" in found[0].where
    # e, f and h are clicked by anna alone, and after her cut-off at 70 s.
    assert "item 'e'" in found[0].where and found[0].count == 3
    assert (found[0].rows[0].user, found[0].rows[0].items, found[0].rows[0].position) == ("anna", ("e",), 4)


def test_a_pseudo_query_that_was_asked_only_later_is_caught(make_data: Any, tmp_path: Path) -> None:
    data = make_data(**LATE)
    split = Split(data)
    made = copied(identified(split), tmp_path / "made")
    assert isinstance(made, ItemCoder) and made.leaks(split, BOTH).errors == ()
    for query, errors in (("boots", 1), ("stove", 0), ("thing a", 0), ("never asked", 0)):
        planted = dataclasses.replace(made, queries=[*made.queries, query])
        found = planted.leaks(split, BOTH).errors
        assert len(found) == errors
        if errors:
            assert "1 pseudo-queries are what users entered only after the cut-off" in found[0].what
            assert (found[0].rows[0].user, found[0].rows[0].query) == ("anna", "boots")
    about = json.loads((made.folder / "about.json").read_text())
    about["texts"]["doc2query"] = "some/model"
    (made.folder / "about.json").write_text(json.dumps(about))
    leaks = dataclasses.replace(made, queries=["boots"]).leaks(split, BOTH)
    assert leaks.errors == () and "may have come upon by itself" in leaks.warnings[0].what


# --- a student ---


def student_of(folder: Path, labels: Labels | None) -> StudentReasoner:
    """A student whose folder holds these labels; it is never asked."""
    folder.mkdir()
    (folder / FILE).write_text("{}")
    if labels is not None:
        labels.save(folder / LABELS)
    found = StudentReasoner.__new__(StudentReasoner)
    found._folder = folder
    return found


def test_what_a_student_learned_from_counts_for_the_interests(checkerboard: Any, tmp_path: Path) -> None:
    data, split = checkerboard.data, Split(checkerboard.data)

    def labels(time: int) -> Labels:
        return Labels((Label("u3", "p", "c"),), (), {}, {}, Cutoff.by_hand(["u3", "somebody else"], [time, NEVER]))

    limit = int(bounds(split, FEED)[0][data.users.to_internal(["u3"])[0]])
    for name, time, late in (("early", limit, False), ("late", limit + 1, True)):
        made = copied(interested(split), tmp_path / f"{name} interests")
        derived_interests._made_of(split, FEED, student_of(tmp_path / name, labels(time))).save(made.folder)
        found = made.leaks(split, FEED).errors
        assert bool(found) == late
    assert "learned from" in found[0].what and by(found[0]) == ("u3", limit)
    old = Labels((Label("u3", "p", "c"),), (), {}, {})
    with pytest.raises(LeakError, match=r"no cut-off tells what it was made of.*distil again"):
        derived_interests._made_of(split, FEED, student_of(tmp_path / "old", old))
    alone = StudentReasoner.__new__(StudentReasoner)
    alone._folder = tmp_path / "a checkpoint"
    derived_interests._made_of(split, FEED, alone).save(made.folder)
    leaks = made.leaks(split, FEED)
    assert leaks.errors == () and "what its student has learned from is not known" in leaks.warnings[0].what


# --- similarities ---

SETTINGS: list[dict[str, Any]] = [
    {},
    {"neighbours": 3},
    {"shrink": 5.0},
    {"feed_only": True},
    {"neighbours": 3, "shrink": 2.0},
]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_one_click_too_many_among_similarities_is_named(
    options: dict[str, Any], small_world: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = Split(small_world)
    model = ItemKNN(ItemKNN.Config(**options), small_world.sizes)
    model.fit(small_world, split)
    assert similarity_leaks(model, split).findings == ()
    # A feed click after the cut-off on an item that nobody else clicked that late, and its user not before.
    click_history, limit = small_world.click_history, bounds(split, FEED)[0]
    user = np.repeat(np.arange(len(click_history.offsets) - 1), np.diff(click_history.offsets))
    late = click_history.time >= limit[user]
    known = np.bincount(click_history.item[~late], minlength=small_world.sizes.items + 1)
    place = next(
        int(one)
        for one in np.flatnonzero(late & (click_history.source == 0))
        if (click_history.item[late] == click_history.item[one]).sum() == 1
        and not (click_history.item[~late & (user == user[one])] == click_history.item[one]).any()
        and known[click_history.item[one]] > 2
    )
    clicks = split.train_clicks(FEED)
    more = tuple(
        np.append(column, value)
        for column, value in zip(clicks, (user[place], click_history.item[place], 0), strict=True)
    )
    weights = np.append(click_matrix.train_weights(split, FEED), np.float32(1))
    with monkeypatch.context() as patch:
        patch.setattr(Split, "train_clicks", lambda self, tasks: more)
        patch.setattr(click_matrix, "train_weights", lambda split, tasks: weights)
        model.fit(small_world, split)
    [found] = similarity_leaks(model, split).errors
    assert by(found) == (small_world.users.to_external(user[place : place + 1])[0], int(click_history.time[place]))
    assert (
        found.rows[0].items == tuple(small_world.items.to_external(click_history.item[place : place + 1]))
        and found.count == 1
    )


# --- training ---


def leaky_fit(self: Any, data: Dataset, split: Split) -> None:
    type(self).honest(self, data, Split(data, min_events=10**6))


@pytest.mark.parametrize("kind", [Popular, ItemKNN])
def test_a_training_that_counts_test_events_fails_and_leaves_no_run(
    kind: Any, checkerboard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "honest", kind.fit, raising=False)
    monkeypatch.setattr(kind, "fit", leaky_fit)
    with pytest.raises(
        LeakError, match=r"before the cut-off.*got: (interactions|searches) of 'u\d+' at .*what to do: train it again"
    ):
        run_training.train(kind.name, checkerboard.data, tmp_path / "run")
    assert not (tmp_path / "run" / CONFIG).exists()
    with pytest.raises(RunError, match="no finished run"):
        read_run(tmp_path / "run", checkerboard.data)


@pytest.mark.parametrize(
    ("model", "make", "options"),
    [
        ("gserec-paper", coded, {"levels": 2, "codes": 8}),
        ("gensar-paper", identified, GENSAR),
        ("serendipity", interested, {"interests": 2, "snapshots": 2}),
    ],
)
def test_a_training_on_what_was_made_too_late_fails_before_it_learns(
    model: str, make: Any, options: Any, checkerboard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(Split(checkerboard.data, min_events=99))
    monkeypatch.setattr(run_training, "prepare", lambda *_: made)
    tasks = BOTH if model == "gensar-paper" else FEED
    user, time = first_held_out(checkerboard.data, tasks)
    with pytest.raises(
        LeakError, match=rf"{made.folder}, user '{user}'.*got: \w+ of '{user}' at {np.datetime64(time, 'us')}"
    ):
        run_training.train(model, checkerboard.data, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_careless_split_fails_every_training(checkerboard: Any, tmp_path: Path, careless: pytest.MonkeyPatch) -> None:
    for model in ("popular", "sasrec", "unisar"):
        with pytest.raises(LeakError, match="training targets lie in the validation or test period"):
            run_training.train(model, checkerboard.data, tmp_path / model)
        assert not (tmp_path / model).exists()


def test_a_training_warns_of_negatives_and_keeps_what_was_looked_at(
    small_world: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="searec.leaks"):
        run = run_training.train("unisar", small_world, tmp_path / "run", width=8, epochs=1, epoch_steps=0)
    assert (
        len(caplog.messages) == 1
        and "negatives may be items that their user chose after the cut-off" in caplog.messages[0]
    )
    config = json.loads((run.folder / CONFIG).read_text())
    assert config["cutoff"]["digest"] == Cutoff.of(Split(small_world), run.model.train_tasks).digest
    assert [one["severity"] for one in config["leaks"]["findings"]] == ["warning"]
    assert config["leaks"]["checked"]["training requests, recommend"] == len(
        Split(small_world).train("recommend", run.model.train_tasks)
    )
    again = run_training.train("unisar", small_world, tmp_path / "run", width=8, epochs=1, epoch_steps=0, resume=True)
    assert again.config == run.config


# --- runs and the command ---


def test_a_run_is_audited_by_what_it_holds(checkerboard: Any, tmp_path: Path, searec: Any) -> None:
    data, folder = checkerboard.data, tmp_path / "run"
    run_training.train("popular", data, folder)
    assert run_leaks(folder, data).errors == ()
    code, out, _ = searec("check", checkerboard.folder, "--run", folder, "--json", tmp_path / "check.json")
    assert code == 0 and "leaks: 0 errors" in out
    told = json.loads((tmp_path / "check.json").read_text())["leaks"]
    assert told["checked"]["runs"] == 1 and told["checked"]["test requests, search"] == len(
        Split(data).held_out("search", "test")
    )

    weights = folder / "weights.safetensors"
    state, _ = read_tensors(weights)
    item = int(data.items.to_internal([checkerboard.withheld["recommend", "u0"]])[0])
    counts = state["counts"].clone()
    counts[0, item] += 1
    write_tensors(weights, {**state, "counts": counts})
    code, out, error = searec("check", checkerboard.folder, "--run", folder)
    assert code == 1 and "leaks: 1 error" in out
    assert "are counted more often than they were clicked before the cut-off" in error
    assert f"of '{checkerboard.withheld['recommend', 'u0']}'" in error and error.count("\n") == 1


def test_a_run_of_an_older_version_or_of_other_times_is_refused(checkerboard: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_training.train("bm25", checkerboard.data, folder)
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "split": {"min_events": 5}}))
    [found] = run_leaks(folder, checkerboard.data).errors
    assert found.what == "the run was trained up to other times than its split allows"
    (folder / CONFIG).write_text(json.dumps({name: value for name, value in config.items() if name != "cutoff"}))
    [found] = run_leaks(folder, checkerboard.data).errors
    assert found.what == "the run does not record the cut-off it was trained up to" and found.remedy == "train it again"
    assert run_training.train("bm25", checkerboard.data, folder, resume=True).label == "bm25", "it is still opened"


def test_what_a_run_folder_holds_beside_the_weights_is_audited(checkerboard: Any, tmp_path: Path) -> None:
    data = checkerboard.data
    options: dict[str, Any] = {"levels": 2, "codes": 8, "code_epochs": 1, "code_batch": 32, "epochs": 1, "width": 8}
    run = run_training.train("gserec-paper", data, tmp_path / "run", **options)
    leaks = run_leaks(run.folder, data)
    assert leaks.errors == () and leaks.checked["made beforehand"] == 2
    late = UserCoder.make(Split(data, min_events=99), FEED, CODES, seed=0)
    shutil.rmtree(run.folder / "artifacts")
    late.save(run.folder / "artifacts")
    found = run_leaks(run.folder, data).errors
    assert by(found[0]) == first_held_out(data, FEED)
