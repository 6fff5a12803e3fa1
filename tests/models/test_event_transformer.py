"""What the event-transformer adds to the trunk: items known by text, words of queries, neighbours by validation."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from searec.data.batch import Batcher
from searec.data.counts import Counts
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.data.user_history import UserHistory, batch_of
from searec.errors import DependencyError, SettingsError, installation
from searec.experiments import run_training
from searec.models import model_named
from searec.models.trunk_sizes import trunk_sizes
from searec.pipeline.new_items import NewItemScorer
from searec.pipeline.run import Run, read_run
from searec.text.encoder import Encoder
from searec.text.recent_vectors import RecentVectors
from searec.training.phases import PhaseContext

SMALL: dict[str, Any] = {"width": 16, "inner": 16, "layers": 1, "epochs": 2, "batch": 16, "lr": 5e-3}


@pytest.fixture(scope="module")
def run(checkerboard: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_training.train("event-transformer", checkerboard.data, tmp_path_factory.mktemp("run") / "run", **SMALL)


def test_an_item_without_clicks_is_scored_by_its_text_alone(run: Run, checkerboard: Any) -> None:
    """A new item of the same text as a known one is scored as that one without its id, its bias and its neighbours."""
    data, model = checkerboard.data, run.model
    requests = run.split.held_out("recommend", "test")
    batch = Batcher(data, model.needs).batch(requests)
    item = 3
    described = model.describe_items([data.item_texts()[item - 1]], torch.zeros(1, 1, dtype=torch.long))
    state = {name: tensor.clone() for name, tensor in model.state().items()}
    with torch.no_grad():
        new = model.score_new(batch, described)[:, 0]
        model.items.id.weight[item] = 0
        model.bias[0, item] = model.bias[0, 1:].mean()
        model.weigh_neighbours({"recommend": 0.0})
        known = model.eval().score(batch)[:, item]
    model.load_state(state)
    # the mean of the biases moved by less than the item's own share of it
    torch.testing.assert_close(new, known, rtol=1e-2, atol=2e-2)


def test_a_single_run_returns_new_items_at_once_where_their_texts_put_them(run: Run, checkerboard: Any) -> None:
    data = checkerboard.data
    fresh = read_run(run.folder, data, device="cpu")
    title = str(data.item_table["title"][2])
    before = fresh.recommend(["u0"], k=500)
    assert "fresh" not in before["item_id"]
    fresh.add_items([{"item_id": "fresh", "title": title}, {"item_id": "gone", "title": title, "categories": ["none"]}])
    after = fresh.recommend(["u0"], k=500)
    assert after.filter(~pl.col("item_id").is_in(["fresh", "gone"]))["item_id"].to_list() == before["item_id"].to_list()
    assert {"fresh", "gone"} <= set(after["item_id"]) and after["score"].is_sorted(descending=True)
    history = UserHistory.of(data, int(data.users.to_internal(["u0"])[0]), newest=512)
    with torch.no_grad():
        described = fresh.model.describe_items([title], torch.zeros(1, 1, dtype=torch.long))
        score = fresh.model.score_new(batch_of(data, [history], fresh.model.needs, "recommend"), described)
    assert after.filter(pl.col("item_id") == "fresh")["score"].to_list() == pytest.approx(score[0].tolist(), abs=1e-4)
    assert "fresh" in set(fresh.search(["u0"], [title], k=500)["item_id"])
    assert fresh.recommend(["u0"], k=3)["item_id"].to_list() == after["item_id"].to_list()[:3]
    fresh.remove_items(["gone"])
    left = [item for item in after["item_id"] if item != "gone"]
    assert fresh.recommend(["u0"], k=500)["item_id"].to_list() == left


def test_a_run_that_reads_nothing_of_items_takes_in_none(checkerboard: Any, tmp_path: Path) -> None:
    blind = run_training.train(
        "event-transformer", checkerboard.data, tmp_path / "run", **{**SMALL, "epochs": 1}, text=False, categories=False
    )
    with pytest.raises(SettingsError, match="event-transformer cannot add items"):
        blind.add_items([{"item_id": "fresh", "title": "thing"}])
    assert not blind.new_items


def test_neighbours_weigh_what_validation_chooses(run: Run, checkerboard: Any) -> None:
    phase = run.config["phases"][-1]
    chosen = {task: phase[f"weight.{task}"] for task in run.model.train_tasks}
    assert phase["phase"] == "neighbours" and phase["kept"] == any(chosen.values())
    assert run.model.near_weight[1:].tolist() == [chosen["recommend"], chosen["search"]]


def test_neighbours_are_those_of_itemknn_before_the_cutoff(checkerboard: Any, tmp_path: Path) -> None:
    data = checkerboard.data
    own = run_training.train("event-transformer", data, tmp_path / "own", **SMALL, tasks=["recommend"])
    recency = own.model.config.recency
    knn = run_training.train("itemknn", data, tmp_path / "knn", recency=recency)
    own.model.remember_neighbours(own.split)
    assert torch.equal(own.model.near.values, knn.model.values)
    assert torch.equal(own.model.near.columns, knn.model.columns)
    joint = run_training.train("itemknn", data, tmp_path / "joint", joint=True, recency=recency)
    both = run_training.train("event-transformer", data, tmp_path / "both", **SMALL)
    both.model.remember_neighbours(both.split)
    assert torch.equal(both.model.near.values, joint.model.values)


def test_the_words_of_a_query_raise_the_items_that_hold_them(run: Run, checkerboard: Any) -> None:
    data = checkerboard.data
    requests = run.split.held_out("search", "test")
    with torch.no_grad():
        scores = run.model.score(Batcher(data, run.model.needs).batch(requests))
    words = data.queries.words
    for row in range(len(requests)):
        asked = set(words.row(int(requests.query[row])).tolist())
        holds = np.array(
            [item for item in range(1, data.sizes.items + 1) if asked <= set(data.item_words.row(item).tolist())]
        )
        others = np.setdiff1d(np.arange(1, data.sizes.items + 1), holds)
        if len(holds):
            assert scores[row, holds].mean() > scores[row, others].mean()


@pytest.mark.parametrize("settings", [{"text": False}, {"categories": False}, {"full_softmax": 20, "sampled": 64}])
def test_it_learns_without_text_without_categories_and_from_samples(
    checkerboard: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    data = checkerboard.data
    run = run_training.train("event-transformer", data, tmp_path / "run", **{**SMALL, "epochs": 6, **settings})
    assert run.config["training"][0]["metrics"]["full-ndcg@10"] > 0.4, "the blocks are told apart"


def test_titles_that_are_all_alike_are_not_read(make_data: Callable[..., Dataset], tmp_path: Path) -> None:
    feed = [(f"u{user}", f"i{(user + n) % 4}", 60.0 * n) for user in range(4) for n in range(5)]
    data = make_data(items={f"i{n}": "thing" for n in range(4)}, users=[f"u{n}" for n in range(4)], feed=feed)
    run = run_training.train("event-transformer", data, tmp_path / "run", **SMALL)
    assert run.model.items.map is None and run.model.items.text is None
    assert not NewItemScorer(run).is_able, "nothing is read of a new item, so that it goes by its proxy"


def test_sizes_follow_the_counts() -> None:
    """Known answers of the rule: a small shop, long histories, and a large catalogue."""
    small, long, large = (
        trunk_sizes(Counts(users, items, clicks, searches))
        for users, items, clicks, searches in (
            (800, 1_000, 9_000, 5_000),
            (610, 9_742, 100_836, 3_683),
            (30_431, 20_033, 243_909, 81_177),
        )
    )
    assert [one[1]["batch"] for one in (small, long, large)] == [32, 32, 128]
    assert [one[1]["epoch_steps"] for one in (small, long, large)] == [25, 65, 237]
    assert "width" not in small[0] and large[0]["width"] == 128
    for model, training in (small, long, large):
        config, plan = run_training.settings_for("event-transformer", "default", {**model, **training})
        assert plan is not None and plan.epochs * plan.epoch_steps >= 4_000
        assert isinstance(config, model_named("event-transformer").Config)


def test_a_split_without_searches_trains_for_the_feed(make_data: Callable[..., Dataset], tmp_path: Path) -> None:
    feed = [(f"u{user}", f"i{(user + n) % 6}", 60.0 * n) for user in range(6) for n in range(6)]
    data = make_data(items={f"i{n}": f"lamp {n}" for n in range(6)}, users=[f"u{n}" for n in range(6)], feed=feed)
    run = run_training.train("event-transformer", data, tmp_path / "run", **SMALL)
    items = run.recommend(["u1"], k=3)["item_id"].to_list()
    assert len(items) == 0 or set(items) <= set(data.item_table["item_id"])
    assert Split(data).held_out("search", "test").user.size == 0


def test_text_is_kept_where_it_is_better_on_validation(checkerboard: Any, tmp_path: Path) -> None:
    """The titles of the checkerboard tell its blocks apart."""
    run = run_training.train("event-transformer", checkerboard.data, tmp_path / "run", **SMALL)
    choice = next(phase for phase in run.config["phases"] if phase["phase"] == "text_choice")
    assert not choice["kept"] and run.model.query is not None
    assert choice["full-ndcg@10.text_choice"] <= choice["full-ndcg@10"]


def test_text_that_validation_is_against_is_dropped(
    checkerboard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run opens without text, and so does a final one."""
    validate = PhaseContext.validate

    def against_text(context: PhaseContext, model: Any) -> dict[str, float]:
        return {name: value / (1 + 9 * (model.query is not None)) for name, value in validate(context, model).items()}

    monkeypatch.setattr(PhaseContext, "validate", against_text)
    data = checkerboard.data
    given = {**SMALL, "epochs": 4, "min_steps": 25, "neighbours": False}
    run = run_training.train("event-transformer", data, tmp_path / "run", **given)
    choice = run.config["phases"][-1]
    assert choice["phase"] == "text_choice" and choice["kept"], choice
    assert run.model.query is None
    opened = read_run(run.folder, data)
    requests = run.split.held_out("recommend", "test")
    batch = Batcher(data, run.model.needs).batch(requests)
    with torch.no_grad():
        assert torch.equal(opened.model.score(batch), run.model.score(batch))
    final = run_training.train("event-transformer", data, tmp_path / "final", final=True, twin=run.folder, **given)
    assert final.model.query is None and final.is_final


def test_starting_from_a_run_keeps_the_neighbours_that_it_chose(checkerboard: Any, tmp_path: Path) -> None:
    """They are judged against the model without them, and the figures are those of what is stored."""
    data = checkerboard.data
    given = {**SMALL, "epochs": 1, "min_steps": 0, "text": False, "lr": 1e-6}
    first = run_training.train("event-transformer", data, tmp_path / "first", **given)
    assert first.model.has_neighbours
    again = run_training.train("event-transformer", data, tmp_path / "again", start=first.folder, **given)
    assert torch.equal(again.model.near_weight, first.model.near_weight)
    assert again.config["phases"][-1] == first.config["phases"][-1]


def test_queries_of_people_are_not_kept_on_disk(tmp_path: Path) -> None:
    encoder = Encoder(folder=tmp_path)
    recent = RecentVectors(encoder, most=2)
    assert recent.of(["mine", "", "mine"], 384)[1].tolist() == [0.0] * 384
    texts = ["one", "two", "three"]
    np.testing.assert_allclose(recent.of(texts, 384), encoder.encode(texts), atol=1e-3)
    count = "SELECT count(*) FROM vectors"
    store = sqlite3.connect(next(tmp_path.glob("*.sqlite")))
    assert store.execute(count).fetchone() == (3,), "those of `encode` alone"
    store.close()


def test_without_the_encoder_the_error_names_the_extra_and_the_setting(
    checkerboard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(texts: object, **_: object) -> None:
        raise DependencyError("the sentence encoder is not installed", where="minilm", remedy=installation("dense"))

    monkeypatch.setattr(Encoder, "encode", lambda self, texts, keep=True: absent(texts))
    with pytest.raises(DependencyError, match=r"\[dense\].*--set text=false"):
        run_training.train("event-transformer", checkerboard.data, tmp_path / "run", **SMALL)
    run_training.train("event-transformer", checkerboard.data, tmp_path / "run", **SMALL, text=False)
