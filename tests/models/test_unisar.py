"""unisar: its transitions, the slicing of the catalogue, and the losses as in the paper."""

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from searec.config import configure
from searec.data.batch import Batch, Batcher
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.models import unisar
from searec.models.unisar import UniSAR, merged_age
from searec.nn.attention import EncoderLayer
from searec.training.examples import TrainingExamples


def model(data: Dataset, **settings: Any) -> UniSAR:
    torch.manual_seed(0)
    return UniSAR(
        configure(
            UniSAR.Config, {"width": 8, "inner": 8, "feed": 6, "searches": 6, "dropout": 0.0, "init": 0.3, **settings}
        ),
        data.sizes,
    ).eval()


def training_batch(data: Dataset, one: UniSAR, task: str) -> Batch:
    examples = TrainingExamples(Split(data), one, batch=48, seed=0)
    batches = (examples.batch(0, step) for step in range(examples.steps(0)))
    return next(batch for batch in batches if batch.task == task and bool((batch.search_query != 0).sum(1).max() > 2))


def test_merged_age_counts_newer_events_of_either_kind() -> None:
    feed = torch.tensor([[1, 5, 9, 0], [0, 0, 0, 0], [2, 2, 0, 0]])
    searches = torch.tensor([[3, 7], [4, 8], [0, 0]])
    feed_here, search_here = (
        torch.tensor([[1, 1, 1, 0], [0] * 4, [1, 1, 0, 0]]).bool(),
        torch.tensor([[1, 1], [1, 1], [0, 0]]).bool(),
    )
    # merged: 1 feed, 3 search, 5 feed, 7 search, 9 feed
    assert merged_age(feed, feed_here, searches, search_here).tolist() == [
        [4, 2, 0, 0, 3, 1],
        [0, 0, 0, 0, 1, 0],
        [1, 0, 0, 0, 0, 0],
    ]


def test_cross_transitions_equal_one_masked_pass_over_the_merged_sequence(small_world: Dataset) -> None:
    """The paper lays both kinds out by time and lets an event look at the other kind alone."""
    one = model(small_world)
    requests = Split(small_world).held_out("recommend", "test")[:8]
    seen: list[torch.Tensor] = []

    class Watched(EncoderLayer):
        def forward(self, x: torch.Tensor, allowed: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
            out = super().forward(x, allowed, memory)
            seen.extend([x, out])
            return out

    watched = Watched(8, 2, 8, 0.0).eval()
    watched.load_state_dict(one.across.state_dict())
    one.across = watched
    with torch.no_grad():
        for row in range(len(requests)):
            seen.clear()
            batch = Batcher(small_world, one.needs).batch(requests[row : row + 1])
            one.sides(batch)
            rec_x, rec_out, src_x, src_out = seen
            here = torch.cat((batch.feed_item != 0, batch.search_query != 0), dim=1)
            kind = torch.tensor([0] * rec_x.shape[1] + [1] * src_x.shape[1])
            allowed = ((kind[:, None] != kind[None, :]) & here)[None]
            merged = EncoderLayer.forward(watched, torch.cat((rec_x, src_x), dim=1), allowed)
            torch.testing.assert_close(torch.cat((rec_out, src_out), dim=1)[here], merged[here], atol=1e-5, rtol=1e-5)


def test_the_catalogue_is_scored_a_slice_at_a_time(small_world: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    one = model(small_world)
    batch = Batcher(small_world, one.needs).batch(Split(small_world).held_out("search", "test")[:5])
    with torch.no_grad():
        at_once = one.score(batch)
        monkeypatch.setattr(unisar, "_ITEMS_AT_ONCE", 7)
        torch.testing.assert_close(one.score(batch), at_once, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("empty", ["", "feed_item", "search_query"], ids=["whole", "no feed history", "no searches"])
def test_pooling_before_the_experts_gives_the_same_scores(small_world: Dataset, empty: str) -> None:
    """The experts' map is moved before the pooling; done in the paper's order the scores are the same."""
    one = model(small_world)
    batch = Batcher(small_world, one.needs).batch(Split(small_world).held_out("search", "test")[:5])
    if empty:
        batch = dataclasses.replace(batch, **{empty: torch.zeros_like(getattr(batch, empty))})
    with torch.no_grad():
        fused, here, _ = one.sides(batch)
        vectors = one.item.weight
        parts = [one.pool[side](fused[side], here[side], vectors) @ fused[side] for side in (0, 1)]
        parts += [vectors.expand(len(batch), -1, -1), one.request(batch)[:, None]]
        summed = sum(one.ple.project(1, place, part) for place, part in enumerate(parts))
        torch.testing.assert_close(
            one.towers[1](one.ple.mix(summed)).squeeze(-1), one.score(batch), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("task", ["recommend", "search"])
def test_the_losses_are_those_of_the_paper(small_world: Dataset, task: str) -> None:
    one = model(small_world, search_weight=0.3, align_weight=0.2, query_weight=0.05)
    batch = training_batch(small_world, one, task)
    losses = one.loss(batch)
    scores = one.score(batch)
    target = torch.zeros_like(scores)
    target[:, 0] = 1
    assert scores.shape[1] == 1 + one.config.negatives
    torch.testing.assert_close(
        losses.parts[f"bce_{task}"], -(target * F.logsigmoid(scores) + (1 - target) * F.logsigmoid(-scores)).mean()
    )
    assert losses.weights == {
        f"bce_{task}": 1.0 if task == "recommend" else 0.3,
        "align_feed": 0.2,
        "align_search": 0.2,
        "align_query": 0.05,
    }


def test_a_query_is_set_beside_what_was_clicked_for_it(small_world: Dataset) -> None:
    one = model(small_world)
    batch = training_batch(small_world, one, "search")
    query, clicked = one.query_click(batch)
    assert torch.equal(query, batch.query)
    assert torch.equal(clicked, batch.target)
    batch = training_batch(small_world, one, "recommend")
    query, clicked = one.query_click(batch)
    for row in range(len(batch)):
        sessions = [place for place, asked in enumerate(batch.search_query[row].tolist()) if asked]
        expected = (
            (int(batch.search_query[row, sessions[-1]]), int(batch.search_click[row, sessions[-1], 0]))
            if sessions
            else (0, 0)
        )
        assert (int(query[row]), int(clicked[row])) == expected


def test_each_side_reads_the_other(small_world: Dataset) -> None:
    one = model(small_world)
    batch = training_batch(small_world, one, "recommend")
    both = (batch.feed_item != 0).any(1) & (batch.search_click != 0).any(2).any(1)
    other_feed = dataclasses.replace(
        batch, feed_item=torch.where(batch.feed_item > 0, batch.feed_item % 100 + 1, 0).int()
    )
    with torch.no_grad():
        (_, before), _, _ = one.sides(batch)
        (_, after), _, _ = one.sides(other_feed)
    moved = ((before - after).abs().amax(-1) > 1e-5) & (batch.search_query != 0)
    assert moved[both].any(dim=1).all()


def test_without_users_every_user_is_the_same(small_world: Dataset) -> None:
    batch = Batcher(small_world, model(small_world).needs).batch(Split(small_world).held_out("recommend", "test")[:5])
    other = dataclasses.replace(batch, user=batch.user.flip(0))
    for user in (True, False):
        one = model(small_world, user=user)
        with torch.no_grad():
            assert torch.allclose(one.score(batch), one.score(other), atol=1e-6) == (not user)
