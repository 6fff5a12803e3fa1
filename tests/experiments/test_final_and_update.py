"""Runs that learn from everything, and runs that continue on data that has grown."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from searec.data.dataset import Dataset
from searec.data.global_split import split_time
from searec.data.split import Split
from searec.errors import DataError, LeakError, RunError, SettingsError
from searec.experiments import run_comparison, run_training, run_update
from searec.experiments.run_leakage import run_leaks
from searec.models import model_names
from searec.pipeline.run import Run, read_run
from small_models import settings


@pytest.mark.parametrize("name", [name for name in model_names() if name not in ("dense", "tiger")])
def test_every_model_has_a_final_run_that_an_update_continues(
    name: str, checkerboard: Any, grown: Dataset, tmp_path: Path
) -> None:
    """But dense, which is fitted as bm25 is, and tiger, which is gensar with other settings."""
    run = run_training.train(name, checkerboard.data, tmp_path / "run", final=True, **settings(name))
    assert run.is_final and run.config["twin"]["folder"] == str(tmp_path / "run" / "validated")
    assert min(run.config["twin"]["validation"].values()) >= 0
    twin = read_run(tmp_path / "run" / "validated", checkerboard.data)
    if run.model.learns == "loss":
        assert [phase["steps"] for phase in run.config["training"]] == [
            phase["steps"] for phase in twin.config["training"]
        ]
    with pytest.raises(DataError, match="nothing is held out"):
        run_comparison.evaluate(run)
    leaks = run_leaks(run.folder, checkerboard.data)
    assert not leaks.errors and "final" in leaks.render()

    new = run_update.update(run.folder, grown, tmp_path / "new")
    again = read_run(tmp_path / "new", grown, device="cpu")
    assert again.is_final and not again.is_grown and again.config["twin"] == run.config["twin"]
    before, after = new.model.state(), again.model.state()
    assert all(torch.equal(before[key].cpu(), after[key]) for key in before)
    assert not run_leaks(new.folder, grown).errors
    if new.model.learns == "loss":
        assert 0 < new.config["training"][0]["steps"] <= run.config["training"][0]["steps"] + 3
    if "recommend" in new.model.train_tasks:
        assert new.recommend(["0 new user", "u0"], k=3).height == 6


def test_a_final_run_learns_from_the_last_events(make_data: Any, tmp_path: Path) -> None:
    feed = [(f"u{user}", f"i{item}", 10 * item + user) for user in range(4) for item in range(4)]
    feed += [("u0", "planted", 100.0)]
    data = make_data(
        items={**{f"i{n}": f"thing {n}" for n in range(4)}, "planted": "plant", **{f"f{n}": "x" for n in range(9)}},
        users=[f"u{n}" for n in range(4)],
        feed=feed,
    )
    run = run_training.train("itemknn", data, tmp_path / "run", final=True, preset="paper")
    validated = read_run(tmp_path / "run" / "validated", data)
    assert validated.similar(["planted"], k=3).is_empty(), "its only click is held out"
    assert set(run.similar(["planted"], k=4)["item_id"]) == {"i0", "i1", "i2", "i3"}
    assert run.similar(["planted"], k=1)["score"][0] == pytest.approx(0.5)  # one user of both, 1 and 4 users


def test_a_twin_must_be_the_same_run_validated(checkerboard: Any, grown: Dataset, tmp_path: Path) -> None:
    data = checkerboard.data
    twin = run_training.train("itemknn", data, tmp_path / "twin")
    run = run_training.train("itemknn", data, tmp_path / "run", final=True, twin=twin.folder)
    assert not (tmp_path / "run" / "validated").exists()
    with pytest.raises(RunError, match=r"twin has other settings.*got: settings.model.shrink .*expected: .* 2\.0"):
        run_training.train("itemknn", data, tmp_path / "a", final=True, twin=twin.folder, shrink=2.0)
    with pytest.raises(RunError, match="twin is a final run"):
        run_training.train("itemknn", data, tmp_path / "b", final=True, twin=run.folder)
    with pytest.raises(RunError, match="trained on other data"):
        run_training.train("itemknn", grown, tmp_path / "c", final=True, twin=twin.folder)
    with pytest.raises(RunError, match="the twin was validated on another split"):
        run_training.train("itemknn", data, tmp_path / "f", final=True, twin=twin.folder, split_at=0.5)
    with pytest.raises(SettingsError, match="a twin is of a final run"):
        run_training.train("itemknn", data, tmp_path / "d", twin=twin.folder)
    with pytest.raises(RunError, match="the data is what the run was trained on"):
        run_update.update(twin.folder, data, tmp_path / "e")


def rank(run: Run, user: str, item: str) -> int:
    return run.recommend([user], k=200, seen=True)["item_id"].to_list().index(item)


def test_an_update_moves_lists_toward_new_events(checkerboard: Any, checkerboard_with: Any, tmp_path: Path) -> None:
    """Since the training most users have clicked filler5 after filler4."""

    late = 60 * 60 * 24
    clicks = [(f"u{n}", item, late + 10 * n + at) for n in range(12) for at, item in enumerate(("filler4", "filler5"))]
    later = checkerboard_with([*clicks, ("u14", "filler4", late)])
    run = run_training.train(
        "sasrec", checkerboard.data, tmp_path / "run", final=True, **settings("sasrec", epochs=10, lr=0.01)
    )
    before = read_run(run.folder, later, device="cpu")
    new = run_update.update(run.folder, later, tmp_path / "new", passes=40)
    assert 3 * rank(new, "u14", "filler5") < rank(before, "u14", "filler5")


def test_a_validated_run_stays_validated(checkerboard: Any, grown: Dataset, tmp_path: Path) -> None:
    run = run_training.train("sasrec", checkerboard.data, tmp_path / "run", **settings("sasrec"))
    new = run_update.update(run.folder, grown, tmp_path / "new")
    assert not new.is_final and new.split.read_before is not None
    read = Split(checkerboard.data).cutoff(("recommend",))
    for user in ("u0", "u7"):
        old = read[checkerboard.data.users.to_internal([user])[0]]
        assert new.split.read_before[grown.users.to_internal([user])[0]] == old
    held = new.split.held_out("recommend", "test")
    assert (held.time >= new.split.read_before[held.user]).all() and len(held)
    assert np.isfinite(run_comparison.evaluate(new).summary()["metrics"]["ndcg@10"])
    assert not run_leaks(new.folder, grown).errors


def test_start_continues_with_new_rows(checkerboard: Any, grown: Dataset, tmp_path: Path) -> None:
    run = run_training.train("sasrec", checkerboard.data, tmp_path / "run", **settings("sasrec"))
    opened = read_run(run.folder, grown, device="cpu").model.state()
    still = run_training.train("sasrec", grown, tmp_path / "new", start=run.folder, **settings("sasrec", lr=1e-12))
    for name, tensor in still.model.state().items():
        torch.testing.assert_close(tensor.cpu(), opened[name], atol=1e-6, rtol=1e-5)
    with pytest.raises(SettingsError, match="final run takes its steps"):
        run_training.train("sasrec", grown, tmp_path / "f", start=run.folder, final=True, **settings("sasrec"))


def test_a_split_before_what_weights_have_learned_is_refused(checkerboard: Any, grown: Dataset, tmp_path: Path) -> None:
    run = run_training.train("sasrec", checkerboard.data, tmp_path / "run", **settings("sasrec"))
    time = split_time(grown, "0.3")
    with pytest.raises(LeakError, match="learned from events after the split time"):
        run_update.update(run.folder, grown, tmp_path / "new", split_at=time)
    with pytest.raises(LeakError, match="choose a later split time"):
        run_training.train("sasrec", grown, tmp_path / "new", start=run.folder, split_at="0.3", **settings("sasrec"))
    assert not (tmp_path / "new").exists()


def test_a_file_is_no_run(grown: Dataset, tmp_path: Path) -> None:
    (tmp_path / "shop.json").write_text("{}")
    with pytest.raises(RunError, match="no finished run"):
        run_update.update(tmp_path / "shop.json", grown, tmp_path / "new")
