"""What serendipity adds to the event-transformer: states that read interests, and a channel of their items."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from searec.artifacts import prepare
from searec.artifacts.interests import InferredInterests
from searec.data.batch import Batch, Batcher
from searec.data.dataset import Dataset
from searec.data.split import NEVER, Split
from searec.evaluation.exposure import Touched
from searec.experiments import run_training
from searec.interests.interest_table import InterestTable
from searec.models.event_transformer import EventTransformer
from searec.models.serendipity.interest_reading import InterestReading
from searec.models.serendipity.model import Serendipity
from searec.training.examples import TrainingExamples

SMALL: dict[str, Any] = {"width": 16, "inner": 16, "layers": 1, "text": False, "interests": 4, "length": 16}


@pytest.fixture(scope="module")
def split(small_world: Dataset) -> Split:
    return Split(small_world)


@pytest.fixture(scope="module")
def made(split: Split) -> InferredInterests:
    config, _ = run_training.settings_for("serendipity", "default", SMALL)
    interests = prepare(Serendipity, config, split, 0)
    assert isinstance(interests, InferredInterests)
    return interests


def new(split: Split, made: InferredInterests, *, reads: bool = True, **settings: Any) -> Serendipity:
    """A model with random weights that reads interests."""
    config, _ = run_training.settings_for("serendipity", "default", {**SMALL, **settings})
    model = run_training.new_model("serendipity", config, split, 0, made)
    assert isinstance(model, Serendipity)
    if reads:
        model.is_open.fill_(True)
        torch.nn.init.eye_(model.reading.out.weight)
    return model.eval()


def requests(split: Split, model: Serendipity) -> Batch:
    return Batcher(split.data, model.needs).batch(split.held_out("recommend", "test"))


def with_interests(made: InferredInterests, ids: Any) -> InferredInterests:
    """The interests with other ids, all of the same confidence."""
    confidence = np.where(ids > 0, 0.5, 0.0).astype(np.float32)
    return dataclasses.replace(made, table=dataclasses.replace(made.table, ids=ids, confidence=confidence))


# --- states ---


def test_without_reading_it_is_the_event_transformer(split: Split, made: InferredInterests) -> None:
    model = new(split, made, reads=False)
    config, _ = run_training.settings_for(
        "event-transformer", "default", {name: SMALL[name] for name in SMALL if name != "interests"}
    )
    plain = run_training.new_model("event-transformer", config, split, 0).eval()
    assert isinstance(plain, EventTransformer)
    batch = requests(split, model)
    with torch.no_grad():
        assert torch.equal(model.score(batch), plain.score(batch))
        model.is_open.fill_(True)
        assert torch.equal(model.score(batch), plain.score(batch)), "reading begins as no change"
        torch.nn.init.eye_(model.reading.out.weight)
        assert not torch.allclose(model.score(batch), plain.score(batch))


def test_reading_by_hand() -> None:
    torch.manual_seed(0)
    reading = InterestReading(3)
    torch.nn.init.normal_(reading.out.weight)
    states, vectors = torch.randn(1, 2, 3), torch.randn(1, 3, 3)
    confidence = torch.tensor([[0.5, 0.2, 0.0]])
    allowed = torch.tensor([[[True, True, True], [False, False, True]]])
    with torch.no_grad():
        read = reading(states, vectors, confidence, allowed)
        logits = torch.tensor(
            [
                float(reading.query(states[0, 0]) @ reading.key(vectors[0, one])) / 3**0.5
                + float(confidence[0, one].log())
                for one in range(2)
            ]
            + [0.0]
        )
        share = logits.softmax(0)
        expected = states[0, 0] + reading.out(share[0] * vectors[0, 0] + share[1] * vectors[0, 1])
    assert torch.allclose(read[0, 0], expected, atol=1e-6)
    assert torch.equal(read[0, 1], states[0, 1]), "what is not allowed, or has no confidence, is not read"


def test_a_state_reads_the_newest_interests_inferred_before_what_follows_it(
    split: Split, made: InferredInterests
) -> None:
    """Another interest in one snapshot changes the states from its time on, up to that of the next snapshot."""
    model = new(split, made)
    batch = TrainingExamples(split, model, batch=256, seed=0).batch(0, 0)
    table = made.table
    with torch.no_grad():
        before = model.refined(model.read_stretches(batch), batch)
        checked = 0
        for place in range(table.times.shape[1]):
            ids = table.ids.copy()
            ids[:, place] = ids[:, place] % len(table.texts) + (ids[:, place] > 0)
            model.snapshot_ids = torch.from_numpy(ids)
            read = model.read_stretches(batch)
            after = model.refined(read, batch)
            changed = ((after - before).abs() > 1e-6).any(2)
            for row, user in enumerate(batch.user.tolist()):
                times = read.timeline.time[row][read.timeline.present[row]].tolist()
                for position, time in enumerate(times):
                    known = [n for n, at in enumerate(table.times[user].tolist()) if at != NEVER and at <= time]
                    reads_it = bool(known) and known[-1] == place and bool(table.ids[user, place].any())
                    assert bool(changed[row, position]) == reads_it
                    checked += reads_it
            model.snapshot_ids = torch.from_numpy(table.ids)
    assert checked > 100


def test_given_interests_are_read_in_place_of_those_of_training(split: Split, made: InferredInterests) -> None:
    model = new(split, made)
    batch = requests(split, model)
    known = model.interests_at(batch.user, batch.time)
    scores = model.score(batch).detach()
    scores[:, 0] = -torch.inf
    expected = scores.topk(5, dim=1).values
    assert torch.allclose(model.channels(batch, 5).usual_score, expected, atol=1e-5)
    assert torch.allclose(model.channels(batch, 5, interests=known).usual_score, expected, atol=1e-5)
    other = known.rows(torch.arange(len(batch)).flip(0))
    assert not torch.allclose(model.channels(batch, 5, interests=other).usual_score, expected, atol=1e-3)


def of_next_click(split: Split, table: InterestTable) -> Any:
    """[U + 1, S, K] one interest, which means a category of the first click after each snapshot."""
    data, ids = split.data, np.zeros_like(table.ids)
    meaning = {int(one): row for row, one in enumerate(table.categories[:, 0].tolist()) if one}
    offsets, history = data.click_history.offsets, data.click_history
    for user, place in zip(*np.nonzero(table.times != NEVER), strict=True):
        own = slice(offsets[user], offsets[user + 1])
        after = np.asarray(history.item[own])[np.asarray(history.time[own]) >= table.times[user, place]]
        for category in data.item_categories.take(after[:1])[0].tolist():
            ids[user, place, 0] = meaning.get(int(category), ids[user, place, 0])
    return ids


@pytest.mark.parametrize("tells", [True, False])
def test_interests_are_read_where_validation_is_better_for_it(
    split: Split, made: InferredInterests, tells: bool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interests that name the category of the next click are read; of users without any, nothing is."""
    ids = of_next_click(split, made.table) if tells else np.zeros_like(made.table.ids)
    monkeypatch.setattr(run_training, "prepare", lambda *_: with_interests(made, ids))
    settings = {
        **SMALL,
        "epochs": 2,
        "batch": 16,
        "min_steps": 0,
        "interest_steps": 200,
        "neighbours": False,
        "interest_lr": 0.01,
    }
    model = run_training.train("serendipity", split.data, tmp_path / "run", **settings).model
    assert isinstance(model, Serendipity)
    assert bool(model.is_open) == tells


# --- channels ---


def test_i2i_holds_what_carries_an_interest_and_is_new_by_score(split: Split, made: InferredInterests) -> None:
    """Against a plain loop over the catalogue."""
    model = new(split, made, reach=300)
    batch = requests(split, model)
    exclude = torch.randint(1, 300, (len(batch), 40), generator=torch.Generator().manual_seed(0))
    found = model.channels(batch, 10, exclude)
    interests = model.interests_at(batch.user, batch.time)
    everything = np.tile(np.arange(split.data.sizes.items + 1), (len(batch), 1))
    novel = Touched.of(split.data, split.held_out("recommend", "test")).novel_lists(everything)
    scores, given, shown = model.score(batch).tolist(), model.item_given.tolist(), 0
    for row in range(len(batch)):
        meant = [set(one) - {0} for one in interests.categories[row].tolist()]
        left = set(range(1, split.data.sizes.items + 1)) - set(exclude[row].tolist())
        carrying = [
            item for item in left if novel[row, item] and any(categories & set(given[item]) for categories in meant)
        ]
        best = sorted(carrying, key=lambda item: -scores[row][item])[:10]
        told = [item for item in found.interesting[row].tolist() if item]
        assert told == best
        surest = [next(n for n, one in enumerate(meant) if one & set(given[item])) for item in told]
        assert found.interest[row, : len(told)].tolist() == surest
        shown += len(told)
    assert shown > 2 * len(batch)
    other = dataclasses.replace(batch, click_item=batch.click_item.roll(1, 0))
    assert not torch.equal(model.channels(other, 10, exclude).interesting, found.interesting)


def test_reach_keeps_the_most_clicked_of_a_category(split: Split, made: InferredInterests) -> None:
    model = new(split, made)
    category = int(made.table.categories[1, 0])
    items = model.category_items.first(torch.tensor([[category, 0]]), 3)
    assert items[0, 3:].tolist() == [0, 0, 0]
    carrying = (model.item_given == category).any(1).nonzero()[:, 0]
    most = model.clicks[carrying].sort(descending=True).values[:3]
    assert torch.equal(model.clicks[items[0, :3]], most)


@pytest.mark.parametrize("index", ["exact", "auto"])
def test_u2i_is_the_head_of_all_scores(split: Split, made: InferredInterests, index: str) -> None:
    """By an index of the vectors as by all scores, with neighbours, which no vector holds."""
    model = new(split, made, index=index)
    model.remember_neighbours(split)
    model.weigh_neighbours({"recommend": 0.5})
    batch = requests(split, model)
    scores: Tensor = model.score(batch).detach()
    scores[:, 0] = -torch.inf
    best = scores.topk(8, dim=1)
    items, values = model.retrieve(batch, 8)
    assert torch.allclose(values, best.values, atol=1e-5)
    assert (items == best.indices).float().mean() > 0.99


def test_an_item_of_the_pool_matches_an_interest_where_it_is_new_and_carries_one(
    split: Split, made: InferredInterests
) -> None:
    model = new(split, made)
    batch = requests(split, model)
    found = model.pool(batch, 20, quota=0.0)
    items, interests = found.pool.items, model.interests_at(batch.user, batch.time)
    novel = Touched.of(split.data, split.held_out("recommend", "test")).novel_lists(items.numpy())
    for row, place in np.ndindex(*items.shape):
        of_item = set(model.item_given[items[row, place]].tolist())
        carried = [n for n, one in enumerate(interests.categories[row].tolist()) if (set(one) - {0}) & of_item]
        expected = carried[0] if carried and novel[row, place] else -1
        assert int(found.interest[row, place]) == expected
    assert (found.interest >= 0).any() and not found.pool.second.any()
