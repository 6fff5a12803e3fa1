"""Users kept from training: nothing of theirs is learned from, they are asked about all the same.

And a run remembers them.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.errors import SettingsError
from searec.experiments import run_comparison, run_training
from searec.models import model_named, model_names
from searec.pipeline.run import read_run
from small_models import settings

SHARE = 0.3


@pytest.fixture(scope="module")
def split(small_world: Dataset) -> Split:
    return Split(small_world, unseen=SHARE)


def test_about_the_share_is_unseen_and_always_the_same(small_world: Dataset, split: Split) -> None:
    share = 1 - split.known[1:].mean()
    assert 0.15 < share < 0.45
    assert np.array_equal(split.known, Split(small_world, unseen=SHARE).known)
    more = Split(small_world, unseen=0.6).known
    assert not (more & ~split.known).any()  # a greater share keeps out whom the smaller one does, and more
    assert Split(small_world).known.all()


def test_nothing_of_theirs_is_learned_from(small_world: Dataset, split: Split) -> None:
    every = Split(small_world)
    for tasks in (("recommend",), ("recommend", "search")):
        for task in tasks:
            kept, all_of_them = split.train(task, tasks), every.train(task, tasks)
            assert split.known[kept.user].all()
            assert len(kept) == split.known[all_of_them.user].sum() < len(all_of_them)
        for feed_only in (False, True):
            assert split.known[split.sequences(tasks, feed_only=feed_only).user].all()
        user, item, _ = split.train_clicks(tasks)
        assert split.known[user].all()
        assert len(item) == split.known[every.train_clicks(tasks)[0]].sum()


def test_they_are_asked_about_with_their_history(small_world: Dataset, split: Split) -> None:
    every = Split(small_world)
    for part in ("val", "test"):
        kept, all_of_them = split.held_out("recommend", part), every.held_out("recommend", part)
        assert np.array_equal(kept.user, all_of_them.user)
        assert np.array_equal(kept.feed_end, all_of_them.feed_end)
        assert not split.known[kept.user].all()
    assert np.array_equal(split.visible(("recommend",)), every.visible(("recommend",)))


@pytest.mark.parametrize("name", [name for name in model_names() if name not in ("gserec-paper", "bm25", "dense")])
def test_models_learn_without_them_and_their_runs_remember_it(name: str, small_world: Dataset, tmp_path: Path) -> None:
    # Texts are the same whoever is known, and slow to encode.
    chosen = settings(
        name, epochs=1, batch=64, **({"text": False} if "text_choice" in model_named(name).phases else {})
    )
    run = run_training.train(name, small_world, tmp_path / "run", unseen=SHARE, **chosen)
    again = read_run(run.folder, small_world)
    assert np.array_equal(again.split.known, Split(small_world, unseen=SHARE).known)
    assert "unseen-user" in run_comparison.evaluate(again).slices
    whole = run_training.train(name, small_world, tmp_path / "whole", **chosen)
    ours, theirs = again.model.state(), whole.model.state()
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_an_impossible_share_is_refused(share: float, small_world: Dataset) -> None:
    with pytest.raises(SettingsError, match="share of unseen users"):
        Split(small_world, unseen=share)
