"""sasrec: causal, losses as written in the paper, next clicks only where time moves on."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from searec.config import configure
from searec.data.counts import Counts
from searec.data.dataset import Dataset, Sizes
from searec.data.split import Split
from searec.models.sasrec import SASRec, next_click
from searec.training.examples import TrainingExamples

SIZES = Sizes(users=5, items=20, queries=1, words=1, categories=1)


def model(sizes: Sizes = SIZES, **settings: Any) -> SASRec:
    torch.manual_seed(0)
    return SASRec(configure(SASRec.Config, {"width": 8, "inner": 8, "length": 6, **settings}), sizes).eval()


def test_a_later_click_does_not_change_an_earlier_state() -> None:
    items = torch.tensor([[3, 5, 7, 9], [4, 4, 2, 1]])
    one = model()
    before = one.encode(items)
    for place in range(1, 4):
        changed = items.clone()
        changed[:, place:] = torch.tensor([[11], [12]])
        after = one.encode(changed)
        torch.testing.assert_close(before[:, :place], after[:, :place])
        assert not torch.allclose(before[:, place:], after[:, place:], atol=1e-3)


def test_an_earlier_click_changes_every_later_state() -> None:
    items = torch.tensor([[3, 5, 7, 9]])
    one = model()
    changed = items.clone()
    changed[0, 0] = 11
    assert ((one.encode(items) - one.encode(changed)).abs().amax(-1) > 1e-4).all()


def test_order_matters_and_an_empty_history_scores_nothing() -> None:
    one = model()
    states = one.encode(torch.tensor([[3, 5, 7], [5, 3, 7], [0, 0, 0]]))
    assert not torch.allclose(states[0, 2], states[1, 2], atol=1e-3)
    assert (states[2] == 0).all()


def batch_of(data: Dataset, one: SASRec) -> Any:
    examples = TrainingExamples(Split(data), one, batch=64, seed=0)
    return examples.batch(0, 0)


@pytest.mark.parametrize("feed_only", [False, True])
def test_softmax_loss_is_cross_entropy_over_the_catalogue(small_world: Dataset, feed_only: bool) -> None:
    one = model(small_world.sizes, feed_only=feed_only, dropout=0.0)
    batch = batch_of(small_world, one)
    items, times = one.history(batch)
    states = one.encode(items)
    terms = []
    for b in range(len(batch)):
        clicks = [(int(i), int(t)) for i, t in zip(items[b], times[b], strict=True) if i] + [
            (int(batch.target[b]), int(batch.time[b]))
        ]
        for place, (now, following) in enumerate(itertools.pairwise(clicks)):
            if following[1] > now[1]:
                logits = one.item.weight[1:] @ states[b, place]
                terms.append(F.cross_entropy(logits, torch.tensor(following[0] - 1)))
    assert len(terms) > 100
    assert one.loss(batch).total.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)


def test_bce_loss_sets_each_next_click_against_its_negatives(small_world: Dataset) -> None:
    one = model(small_world.sizes, loss="bce", negatives=3, dropout=0.0)
    batch = batch_of(small_world, one)
    assert batch.negatives.shape == (*batch.click_item.shape, 3)
    following, known = next_click(batch.click_item, batch.click_time, batch)
    states = one.encode(batch.click_item)
    terms = []
    for b, place in known.nonzero().tolist():
        state = states[b, place]
        term = -F.logsigmoid(state @ one.item.weight[following[b, place]])
        for negative in batch.negatives[b, place].tolist():
            term = term - F.logsigmoid(-(state @ one.item.weight[negative]))
        terms.append(term)
    assert one.loss(batch).total.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)


def test_a_click_at_the_same_time_is_nothing_to_predict(make_data: Callable[..., Dataset]) -> None:
    feed = [("u", "a", 1), ("u", "b", 2), ("u", "c", 2), ("u", "d", 3), ("u", "e", 4), ("u", "f", 5)]
    data = make_data(items={letter: letter for letter in "abcdef"}, users=["u"], feed=feed)
    one = model(data.sizes)
    requests = Split(data).sequences(("recommend",), feed_only=False)
    assert data.items.to_external(requests.target) == ["d"], "e and f are held out"
    batch = batch_of(data, one)
    following, known = next_click(batch.click_item, batch.click_time, batch)
    assert data.items.to_external(batch.click_item[0].numpy()) == ["a", "b", "c"]
    assert known.tolist() == [[True, False, True]]
    assert data.items.to_external(following[0].numpy()) == ["b", "c", "d"]


def test_the_paper_preset_reads_the_feed_alone() -> None:
    config = configure(SASRec.Config, SASRec.presets["paper"])
    one = SASRec(config, SIZES)
    assert (one.needs.feed, one.needs.clicks, one.negatives) == (50, 0, 1)


def test_settings_follow_from_users_and_the_length_of_their_histories() -> None:
    small, long, many = (
        SASRec.sized(Counts(users, 9, clicks, 0)) for users, clicks in ((50, 900), (50, 9_000), (20_000, 90_000))
    )
    assert small == ({}, {})
    assert (long[0]["length"], long[1]["batch"]) == (200, 16)
    assert "length" not in many[0] and many[1]["batch"] == 256
