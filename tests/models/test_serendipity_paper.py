"""serendipity-paper: whose interests are read when, who is a negative, and what a pool holds."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from searec.artifacts import prepare
from searec.artifacts.interests import InferredInterests, snapshots
from searec.data.batch import Batch, Batcher
from searec.data.dataset import Dataset, load
from searec.data.split import NEVER, Split, requests_at
from searec.data.synthetic.simulate import World, simulate
from searec.data.taxonomy import Taxonomy
from searec.errors import RunError
from searec.evaluation.exposure import Touched
from searec.experiments import run_training
from searec.interests.interest_table import read_graphs
from searec.models.serendipity.batch_interests import BatchInterests, newest_snapshot, untouched
from searec.models.serendipity.category_items import CategoryItems
from searec.models.serendipity.paper import SerendipityPaper
from searec.pipeline.run import read_run
from searec.training.examples import TrainingExamples

TINY: dict[str, Any] = {
    "width": 8,
    "hidden": 16,
    "vector": 8,
    "negatives": 4,
    "dropout": 0.0,
    "interests": 4,
    "snapshots": 3,
}


@pytest.fixture(scope="module")
def split(small_world: Dataset) -> Split:
    return Split(small_world)


@pytest.fixture(scope="module")
def made(split: Split) -> InferredInterests:
    config, _ = run_training.settings_for("serendipity-paper", "default", TINY)
    found = prepare(SerendipityPaper, config, split, 0)
    assert isinstance(found, InferredInterests)
    return found


def new(split: Split, made: InferredInterests, **overrides: Any) -> SerendipityPaper:
    config, _ = run_training.settings_for("serendipity-paper", "default", {**TINY, **overrides})
    model = run_training.new_model("serendipity-paper", config, split, 0, made)
    assert isinstance(model, SerendipityPaper)
    return model


def asked(split: Split, model: SerendipityPaper, part: Any = "test") -> Batch:
    return Batcher(split.data, model.needs).batch(split.held_out("recommend", part))


# --- interests ---


def test_an_example_reads_the_newest_interests_inferred_before_it(split: Split, made: InferredInterests) -> None:
    model = new(split, made)
    batch = TrainingExamples(split, model, batch=256, seed=0).batch(0, 0)
    wishes = model.interests_at(batch.user, batch.time)
    without = 0
    for row, (user, time) in enumerate(zip(batch.user.tolist(), batch.time.tolist(), strict=True)):
        places = [place for place, at in enumerate(made.table.times[user]) if at <= time]
        expected = made.table.ids[user, places[-1]] if places else np.zeros(TINY["interests"], dtype=np.int32)
        assert np.array_equal(wishes.vectors[row].numpy(), made.table.vectors[expected])
        assert wishes.present[row].tolist() == (expected > 0).tolist()
        without += not places
    assert 0 < without < len(batch)


def test_snapshots_rest_on_what_is_older_and_the_last_one_on_all_that_may_be_read(split: Split) -> None:
    data = split.data
    times = snapshots(split, ("recommend",), 3)
    cutoff = split.visible(("recommend",))
    assert (times[0] == NEVER).all()
    for user in range(1, data.sizes.users + 1):
        own = data.click_history.time[data.click_history.offsets[user] : data.click_history.offsets[user + 1]]
        old = own[own < cutoff[user]]
        some = times[user][times[user] != NEVER]
        assert (np.diff(some) >= 0).all()
        if len(old):
            assert some[-1] == cutoff[user] if cutoff[user] != NEVER else some[-1] > old[-1]
            assert some[:-1].tolist() == [int(old[len(old) * n // 3]) for n in (1, 2)]


def test_graphs_know_nothing_of_what_comes_after_the_cutoff(split: Split, made: InferredInterests) -> None:
    data = split.data
    cutoff = split.visible(("recommend",))
    for name, graph in made.table.graphs.items():
        user = int(data.users.to_internal([name])[0])
        assert graph.at <= cutoff[user]
        assert all(edge.time < graph.at for edge in graph.edges)


def test_newest_snapshot_counts_from_its_own_time_on() -> None:
    times = torch.tensor([[NEVER, NEVER], [10, 20], [20, NEVER]])
    assert newest_snapshot(
        times, torch.tensor([1, 1, 1, 1, 2, 2, 0]), torch.tensor([9, 10, 19, 20, 19, 99, 99])
    ).tolist() == [
        -1,
        0,
        0,
        1,
        -1,
        0,
        -1,
    ]


def test_absent_interests_are_hidden(split: Split, made: InferredInterests) -> None:
    """What stands in a place without confidence changes nothing.

    And a user without any interest has a finite vector.
    """
    model = new(split, made).eval()
    batch = asked(split, model)
    wishes = model.interests_at(batch.user, batch.time)
    half = torch.zeros_like(wishes.confidence)
    half[:, :2] = wishes.confidence[:, :2]
    hidden = dataclasses.replace(wishes, confidence=half)
    other = dataclasses.replace(hidden, vectors=wishes.vectors.clone())
    other.vectors[:, 2:] = 7.0
    assert torch.equal(model.users(batch, hidden), model.users(batch, other))
    assert not torch.allclose(model.users(batch, hidden), model.users(batch, wishes))
    nothing = dataclasses.replace(wishes, confidence=torch.zeros_like(half))
    assert model.users(batch, nothing).isfinite().all()
    turned = dataclasses.replace(nothing, vectors=-wishes.vectors)
    assert torch.equal(model.users(batch, nothing), model.users(batch, turned))


# --- contrast ---


def wish(*categories: list[int]) -> BatchInterests:
    """A user a list, one interest a category."""
    count = max(map(len, categories))
    ids = torch.tensor([[*one, *[0] * (count - len(one))] for one in categories])[:, :, None]
    return BatchInterests(torch.ones(len(categories), count, 3), (ids[..., 0] > 0).float(), ids)


def test_meets_by_hand() -> None:
    given = torch.tensor([[1, 2], [3, 0], [0, 0], [2, 3]])
    assert wish([1], [3, 4], [5]).meets(given, 5).tolist() == [
        [True, False, False, False],
        [False, True, False, True],
        [False, False, False, False],
    ]


def test_others_that_meet_an_interest_are_no_negatives(
    split: Split, made: InferredInterests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L_contrast by a plain loop over users and over the positives that are no false negatives."""
    model = new(split, made).eval()
    batch = asked(split, model)
    wishes = model.interests_at(batch.user, batch.time)
    torch.manual_seed(3)
    drawn = model.category_items.draw(wishes)
    monkeypatch.setattr(CategoryItems, "draw", lambda *_: drawn)
    users = model.users(batch, wishes)
    value = model._contrast(users, wishes)
    meets = wishes.meets(model.item_given[drawn.long()], split.data.sizes.categories)
    vectors = F.normalize(model.items(drawn), dim=1)
    terms, left_out = [], 0
    rows = [row for row in range(len(batch)) if drawn[row] > 0]
    for row in rows:
        own = F.normalize(users[row], dim=0)
        logits = [
            own @ vectors[other] / model.config.temperature for other in rows if other == row or not meets[row, other]
        ]
        left_out += len(rows) - len(logits)
        mine = own @ vectors[row] / model.config.temperature
        terms.append(torch.stack(logits).logsumexp(0) - mine)
    assert left_out > 0
    assert value.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)


def test_positives_meet_an_interest_and_are_drawn_by_clicks(split: Split, made: InferredInterests) -> None:
    model = new(split, made)
    batch = asked(split, model)
    wishes = model.interests_at(batch.user, batch.time)
    torch.manual_seed(0)
    counts: dict[int, int] = {}
    for _ in range(200):
        drawn = model.category_items.draw(wishes)
        some = drawn > 0
        assert wishes.meets(model.item_given[drawn.long()], split.data.sizes.categories).diagonal()[some].all()
        for item in drawn[some].tolist():
            counts[item] = counts.get(item, 0) + 1
    category = int(wishes.categories[0, 0, 0])
    one = wish([category])
    only = [int(model.category_items.draw(one)[0]) for _ in range(3000)]
    items = [i for i in range(1, split.data.sizes.items + 1) if category in model.item_given[i].tolist()]
    weight = np.array([float(model.clicks[i]) + 1 for i in items])
    expected = weight / weight.sum()
    shares = np.array([only.count(i) for i in items]) / len(only)
    assert set(only) <= set(items)
    assert np.abs(shares - expected).max() < 0.04
    assert int(model.category_items.draw(wish([0]))[0]) == 0


# --- pools ---


@pytest.mark.parametrize("order", ["user", "interest"])
def test_i2i_brings_what_is_new_meets_an_interest_and_is_not_excluded(
    split: Split, made: InferredInterests, order: str
) -> None:
    model = new(split, made, order=order, reach=300).eval()
    batch = asked(split, model)
    requests = split.held_out("recommend", "test")
    exclude = torch.randint(1, split.data.sizes.items, (len(batch), 60), generator=torch.Generator().manual_seed(0))
    found = model.pool(batch, 20, exclude, quota=0.4)
    items, second = found.pool.items, found.pool.second
    assert (second.sum(1) <= 8).all() and second.sum(1).float().mean() > 6
    touched = Touched.of(split.data, requests)
    assert touched.novel_lists(items.numpy())[second.numpy()].all()
    assert not (items[:, :, None] == exclude[:, None, :]).any()
    for row in items.tolist():
        assert len(set(row)) == len(row)
    assert (found.interest[second] >= 0).all()
    assert (found.interest[~second] == -1).all()
    wishes = model.interests_at(batch.user, batch.time)
    brought = wishes.confidence.gather(1, found.interest.clamp(min=0))
    assert (brought[second] > 0).all()
    for row, place in second.nonzero().tolist():
        meant = set(wishes.categories[row, found.interest[row, place]].tolist()) - {0}
        assert meant & set(model.item_given[items[row, place]].tolist()), "an item carries the interest it is shown for"


def test_u2i_alone_is_the_head_of_all_scores(split: Split, made: InferredInterests) -> None:
    model = new(split, made).eval()
    batch = asked(split, model)
    found = model.pool(batch, 12, quota=0.0)
    best = model.score(batch.with_candidates(None))
    best[:, 0] = -torch.inf
    assert torch.allclose(found.score, best.sort(dim=1, descending=True).values[:, :12], atol=1e-6)
    assert not found.pool.second.any()


def test_interest_that_brings_an_item_is_the_one_nearest_to_it(split: Split, made: InferredInterests) -> None:
    """Of a user with one interest every item of I2I is brought by it, and they are its nearest ones."""
    model = new(split, made, order="interest", reach=300).eval()
    batch = asked(split, model)
    wishes = model.interests_at(batch.user, batch.time)
    alone = torch.zeros_like(wishes.confidence)
    alone[:, 1] = 0.5
    found = model.pool(batch, 5, quota=1.0, interests=dataclasses.replace(wishes, confidence=alone))
    assert (found.interest[found.pool.second] == 1).all()
    own = F.normalize(model.own_interest(torch.arange(1, split.data.sizes.items + 1)), dim=1)
    near = F.normalize(model.interest(wishes.vectors[:, 1]), dim=1) @ own.T
    given = model.item_level
    new_ = untouched(
        given, batch.click_item, torch.arange(1, len(given)).expand(len(batch), -1), split.data.sizes.categories
    )
    values = near.masked_fill(~new_ | (near <= 0), -torch.inf).sort(dim=1, descending=True).values[:, :5]
    shown = near.gather(1, found.pool.items.clamp(min=1) - 1).masked_fill(~found.pool.second, -torch.inf)
    both = values.isfinite() & shown.isfinite()
    assert both.sum() > len(batch)
    assert torch.allclose(values[both], shown[both], atol=1e-5)


@pytest.mark.parametrize("reach", [2, 3])
def test_of_equal_items_i2i_looks_at_the_most_clicked(split: Split, made: InferredInterests, reach: int) -> None:
    """Against a sort of the whole catalogue: nearest first, of equal ones the most clicked."""
    model = new(split, made, order="interest", reach=reach).eval()
    batch = asked(split, model)
    wishes = model.interests_at(batch.user, batch.time)
    alone = torch.zeros_like(wishes.confidence)
    alone[:, 0] = 0.5
    found = model.pool(batch, reach, quota=1.0, interests=dataclasses.replace(wishes, confidence=alone)).pool
    items = torch.arange(split.data.sizes.items + 1)
    own = F.normalize(model.own_interest(items), dim=1)
    near = (F.normalize(model.interest(wishes.vectors[:, 0]), dim=1) @ own.T).detach()
    new_ = untouched(model.item_level, batch.click_item, items.expand(len(batch), -1), split.data.sizes.categories)
    full = 0
    for row in range(len(batch)):
        meant = set(wishes.categories[row, 0].tolist()) - {0}
        carries = [item for item in items.tolist() if meant & set(model.item_given[item].tolist())]
        good = [item for item in carries if new_[row, item] and near[row, item] > 0]
        order = sorted(good, key=lambda item: (-round(float(near[row, item]), 4), -int(model.clicks[item]), item))[
            :reach
        ]
        told = found.items[row][found.second[row]].tolist()
        if len(order) == reach:
            edge = round(float(near[row, order[-1]]), 4)  # several groups may be as near; of them any may come first
            assert {item for item in order if round(float(near[row, item]), 4) > edge} <= set(told)
            assert all(round(float(near[row, item]), 4) >= edge for item in told)
            full += 1
    assert full > len(batch) // 2


def test_novelty_of_the_model_is_that_of_the_figures(split: Split, made: InferredInterests) -> None:
    for level in ("narrow", 1, 2):
        model = new(split, made, level=level).eval()
        batch = asked(split, model)
        everything = torch.arange(split.data.sizes.items + 1).expand(len(batch), -1)
        found = untouched(model.item_level, batch.click_item, everything, split.data.sizes.categories)
        touched = Touched.of(split.data, split.held_out("recommend", "test"), level=level)
        assert np.array_equal(found.numpy(), touched.novel_lists(everything.numpy()))
        assert Taxonomy.of(split.data).at(level).lengths.max() == model.item_level.shape[1]


def test_a_damaged_state_is_refused(split: Split, made: InferredInterests) -> None:
    model = new(split, made)
    state: dict[str, Tensor] = {name: value for name, value in model.state().items() if name != "snapshot_ids"}
    with pytest.raises(RunError, match="snapshot_ids"):
        new(split, made).load_state(state)


def test_requests_after_everything_read_the_last_interests(split: Split, made: InferredInterests) -> None:
    model = new(split, made).eval()
    users = np.arange(1, split.data.sizes.users + 1)
    batch = Batcher(split.data, model.needs).batch(
        requests_at(split.data, "recommend", users, np.full(len(users), NEVER))
    )
    wishes = model.interests_at(batch.user, batch.time)
    last = made.table.ids[users, (made.table.times[users] != NEVER).sum(1) - 1]
    assert np.array_equal(wishes.present.numpy(), last > 0)


def test_a_run_tells_where_each_item_comes_from_and_why(small_world: Dataset, tmp_path: Path) -> None:
    run = run_training.train("serendipity-paper", small_world, tmp_path / "run", **TINY, epochs=1, quota=0.5)
    answers = read_run(tmp_path / "run", small_world, device="cpu").recommend(["u1", "u2", "u1"], k=6)
    assert answers.columns == ["user_id", "rank", "item_id", "score", "channel", "reason"]
    assert answers.equals(run.recommend(["u1", "u2", "u1"], k=6))
    graphs = read_graphs(tmp_path / "run" / "artifacts")
    for user, rows in answers.group_by("user_id"):
        reasons = {one.reason for one in graphs[str(user[0])].interests()}
        found = rows.filter(pl.col("channel") == "interest")
        assert found.height >= 3
        assert set(found["reason"]) <= reasons
        assert set(rows.filter(pl.col("channel") == "behaviour")["reason"]) == {"like what you clicked before"}
    assert run.recommend([]).columns == answers.columns


def test_the_command_tells_why_an_item_is_new(tmp_path: Path, searec: Any) -> None:
    shop = simulate(
        tmp_path / "shop", World(users=40, items=120, clicks=12.0, searches=16.0, families=3, types=3, seed=3)
    )
    run = run_training.train("serendipity-paper", load(shop), tmp_path / "run", **TINY, epochs=1, quota=0.5)
    told = run.recommend(["u1"], k=6)
    assert "interest" in told["channel"]
    code, out, error = searec("recommend", tmp_path / "run", shop, "--user", "u1", "-k", "6")
    assert code == 0, error
    lines = out.splitlines()[1:]
    assert len(lines) == len(told)
    for line, channel, reason in zip(lines, told["channel"], told["reason"], strict=True):
        assert line.endswith(f"({reason})") == (channel == "interest")
