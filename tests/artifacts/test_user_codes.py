"""User codes from a dataset: the cut-off holds, each stage is kept, and newcomers get what known users get."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from searec.artifacts import user_codes as derived
from searec.artifacts.new_users import titled
from searec.artifacts.user_codes import UserCoder, learn, new_rqvae, vectors_of
from searec.data.dataset import Dataset
from searec.data.leakage.cutoff import Cutoff
from searec.data.split import Split
from searec.errors import DataError, Interrupted, RunError, SettingsError, UnknownIdError
from searec.experiments import run_training
from searec.pipeline.run import Run
from searec.semantic_ids.code_config import CodeSettings

TASKS = ("recommend",)
TINY = CodeSettings(levels=2, codes=8, code_epochs=3, code_batch=8)


def test_events_after_the_cutoff_change_no_code(checkerboard: Any, rewritten: Dataset) -> None:
    """Both tasks' held-out events are other items in `rewritten`, at the same times."""
    one, other = (
        UserCoder.make(Split(data), ("recommend", "search"), TINY, seed=0) for data in (checkerboard.data, rewritten)
    )
    assert one.folder != other.folder
    assert np.array_equal(one.codes.codes, other.codes.codes)
    assert one.summaries.texts.equals(other.summaries.texts)
    later = UserCoder.make(
        Split(checkerboard.data, min_events=99), TASKS, TINY, seed=0
    )  # nobody is held out, so all events are told
    assert not later.summaries.texts.equals(one.summaries.texts)


def test_made_once_then_read(small_world: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first = UserCoder.make(Split(small_world), TASKS, TINY, seed=0)
    for name in ("summarise", "vectors_of", "learn"):
        monkeypatch.setattr(derived, name, None)
    again = UserCoder.make(Split(small_world), TASKS, TINY, seed=0)
    assert np.array_equal(first.codes.codes, again.codes.codes)
    assert again.folder == first.folder and not first.folder.with_name(f"{first.folder.name}.training").exists()
    assert first.codes.about["summaries"]["summariser"] == "offline"
    assert first.codes.about["cutoff"] == again.summaries.about["cutoff"]


def test_seeds_repeat_and_differ(small_world: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = UserCoder.make(Split(small_world), TASKS, TINY, seed=1)
    other = UserCoder.make(Split(small_world), TASKS, TINY, seed=2)
    monkeypatch.setenv("SEAREC_CACHE", str(tmp_path))
    again = UserCoder.make(Split(small_world), TASKS, TINY, seed=1)
    assert again.folder.is_relative_to(tmp_path)
    assert np.array_equal(first.codes.codes, again.codes.codes)
    assert not np.array_equal(first.codes.codes, other.codes.codes)


def test_a_broken_training_goes_on_to_the_same_codes(small_world: Dataset, tmp_path: Path) -> None:
    made = UserCoder.make(Split(small_world), TASKS, TINY, seed=0)
    vectors, present = vectors_of(made.summaries, "minilm")

    def taught(folder: Path, *, stop: bool) -> torch.nn.Module:
        rqvae = new_rqvae(TINY, vectors.shape[2], 0)
        rqvae.standardise(vectors, present)
        if stop:  # Ctrl-C after the first validation
            explained, calls = rqvae.explained, []

            def interrupted(batch: Any) -> Any:
                calls.append(batch)
                if len(calls) > 1:
                    raise KeyboardInterrupt
                return explained(batch)

            rqvae.explained = interrupted  # type: ignore[method-assign]
        learn(rqvae, vectors, present, TINY, 0, folder)
        return rqvae

    whole = taught(tmp_path / "whole", stop=False)
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        taught(tmp_path / "broken", stop=True)
    resumed = taught(tmp_path / "broken", stop=False)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_damaged_folder_is_refused(small_world: Dataset, tmp_path: Path) -> None:
    made = UserCoder.make(Split(small_world), TASKS, TINY, seed=0)
    made.save(tmp_path / "codes")
    assert np.array_equal(UserCoder.load(tmp_path / "codes").codes.codes, made.codes.codes)
    (tmp_path / "codes" / "codes.npy").write_bytes(b"no array")
    with pytest.raises(RunError, match="user codes"):
        UserCoder.load(tmp_path / "codes")
    with pytest.raises(RunError, match="user codes"):
        UserCoder.load(tmp_path / "nowhere")


def test_unseen_users_are_quantised_but_teach_nothing(small_world: Dataset) -> None:
    split = Split(small_world, unseen=0.5)
    made = UserCoder.make(split, TASKS, TINY, seed=0)
    assert 10 < (~split.known[1:]).sum() < 50
    told = made.summaries.has().any(axis=1)
    assert (made.codes.has().any(axis=1) == told).all() and told[~split.known].any()
    vectors, present = vectors_of(made.summaries, "minilm")
    rqvae = new_rqvae(TINY, vectors.shape[2], 0)
    rqvae.standardise(vectors[split.known], present[split.known])
    vectors[~split.known] = 7.0  # whatever they are
    derived.learn(rqvae, vectors, present & split.known[:, None], TINY, 0, made.folder.with_name("unseen.training"))
    for name, tensor in rqvae.state_dict().items():
        assert torch.equal(tensor.cpu(), made.rqvae.state_dict()[name].cpu()), name
    weights, has = made.summaries.weights, made.summaries.has()
    assert weights is not None
    assert [weights.population[side] for side in ("recommend", "search")] == has[split.known].sum(axis=0).tolist()
    assert (weights.terms["users"] <= has[split.known].any(axis=1).sum()).all()


def test_the_text_of_the_other_side_stands_in(small_world: Dataset) -> None:
    split = Split(small_world)
    alone, filled = (
        UserCoder.make(split, TASKS, dataclasses.replace(TINY, text_fallback=fallback), seed=0)
        for fallback in (False, True)
    )
    has, told = alone.codes.has(), alone.summaries.has()
    assert (has == told).all() and 0 < (~has[1:]).any(axis=1).sum() < len(has)
    assert (filled.codes.has() == told.any(axis=1, keepdims=True)).all(), "who has a text has codes on both sides"
    assert filled.summaries.texts.equals(alone.summaries.texts), "nothing is written of who did nothing"
    vectors, present = vectors_of(filled.summaries, "minilm", fallback=True)
    only_clicks = int(np.flatnonzero(told[:, 0] & ~told[:, 1])[0])
    assert present[only_clicks].all() and np.array_equal(vectors[only_clicks, 0], vectors[only_clicks, 1])
    record = record_of(small_world, only_clicks)
    assert np.array_equal(filled.codes_of(titled(small_world, [record]))[0], filled.codes.codes[only_clicks])
    cutoff = Cutoff.of(split, TASKS)
    for coder in (alone, filled):
        assert coder.findings(split, TASKS, cutoff, "here") == []
    wrong = dataclasses.replace(alone, codes=filled.codes)
    assert any(
        "codes tell of users who had done nothing" in one.what for one in wrong.findings(split, TASKS, cutoff, "")
    )


# --- newcomers ---


@pytest.fixture(scope="module")
def run(small_world: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny gserec run."""
    tiny = {"levels": 2, "codes": 8, "code_epochs": 3, "code_batch": 8, "epochs": 1, "width": 8}
    return run_training.train("gserec-paper", small_world, tmp_path_factory.mktemp("run") / "run", **tiny)


def record_of(data: Dataset, user: int) -> dict[str, Any]:
    """What a user did before the cut-off, by hand."""
    cutoff = Split(data).visible(TASKS)[user]
    feed = [
        p
        for p in range(data.interactions.offsets[user], data.interactions.offsets[user + 1])
        if data.interactions.time[p] < cutoff
    ]
    asked = [
        p for p in range(data.searches.offsets[user], data.searches.offsets[user + 1]) if data.searches.time[p] < cutoff
    ]
    clicks = data.searches.clicks

    def named(items: np.ndarray) -> list[str]:
        return [str(item) for item in data.items.to_external(items)]

    return {
        "clicks": named(data.interactions.item[feed]),
        "searches": [
            (
                data.queries.texts[int(data.searches.query[p]) - 1],
                named(clicks.values[clicks.offsets[p] : clicks.offsets[p + 1]]),
            )
            for p in asked
        ],
    }


def test_a_newcomer_with_a_known_history_gets_the_known_codes(run: Run) -> None:
    coder = UserCoder.load(run.folder / "artifacts")
    users = np.flatnonzero(coder.codes.has().all(axis=1))[:12]
    records = [record_of(run.data, int(user)) for user in users]
    assert np.array_equal(coder.codes_of(titled(run.data, records)), coder.codes.codes[users])


def test_newcomers_are_recommended_to_without_training(run: Run) -> None:
    before = {name: tensor.clone() for name, tensor in run.model.state().items()}
    item = str(run.data.items.to_external(np.array([5]))[0])
    records = [
        {"clicks": [item]},
        {"searches": [("an unheard-of query", [])]},
        {"searches": [("shoes", [item])], "clicks": [item, item]},
    ]
    table = run.recommend_newcomers(records, k=4)
    assert table.columns == ["record", "rank", "item_id", "score"]
    assert table["record"].to_list() == [0] * 4 + [1] * 4 + [2] * 4
    assert item not in table.filter(table["record"] != 1)["item_id"].to_list()
    assert item in run.recommend_newcomers(records[:1], k=run.data.sizes.items, seen=True)["item_id"].to_list()
    for row in range(3):
        alone = run.recommend_newcomers(records[row : row + 1], k=4)
        np.testing.assert_allclose(alone["score"], table.filter(record=row)["score"], atol=1e-5)
    for name, tensor in run.model.state().items():
        assert torch.equal(tensor, before[name])
    other = run.recommend_newcomers([{"clicks": [str(run.data.items.to_external(np.array([40]))[0])]}], k=4, seen=True)
    assert other["score"].to_list() != run.recommend_newcomers(records[:1], k=4, seen=True)["score"].to_list()


def test_bad_newcomers_are_refused(run: Run) -> None:
    with pytest.raises(DataError, match="nothing is known"):
        run.recommend_newcomers([{}])
    with pytest.raises(UnknownIdError):
        run.recommend_newcomers([{"clicks": ["no such item"]}])
    with pytest.raises(DataError, match="empty query"):
        run.recommend_newcomers([{"searches": [(" ", [])]}])
    with pytest.raises(SettingsError, match="k is too small"):
        run.recommend_newcomers([{"clicks": ["i1"]}], k=0)


def test_the_run_folder_says_what_the_codes_were_made_of(run: Run) -> None:
    about = json.loads((run.folder / "artifacts" / "about.json").read_text())
    assert about["summaries"]["summariser"] == "offline" and about["settings"]["encoder"] == "minilm"
    assert about["data"] == run.data.fingerprint and about["cutoff"]
