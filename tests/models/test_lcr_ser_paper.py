"""lcr-ser: who reasons about what, what a candidate reads, its losses, and users who stop early."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from searec.config import configure
from searec.data.batch import Batch, Batcher
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.models.lcr_ser_paper import LCRSERPaper
from searec.nn.pooling import masked_mean

SIZES: dict[str, Any] = {"width": 16, "inner": 16, "dropout": 0.0, "attention_dropout": 0.0, "init": 0.3}


def built(data: Dataset, **settings: Any) -> LCRSERPaper:
    torch.manual_seed(0)
    model = LCRSERPaper(
        configure(LCRSERPaper.Config, {**SIZES, "steps": 3, **settings}),
        data.sizes,
    )
    if model.reasoning is not None:
        for weight in model.reasoning.parameters():
            torch.nn.init.normal_(weight, std=0.3)  # it starts near the identity, where tests would see little
    return model.eval()


def asked(data: Dataset, model: LCRSERPaper) -> Batch:
    requests = Split(data).held_out("recommend", "test")
    others = np.random.default_rng(1).integers(1, data.sizes.items + 1, (len(requests), 6)).astype(np.int32)
    return Batcher(data, model.needs).batch(requests, np.concatenate((requests.target[:, None], others), axis=1))


def both(batch: Batch) -> Tensor:
    return (batch.feed_item != 0).any(1) & (batch.search_query != 0).any(1)


def one_by_one(model: LCRSERPaper, batch: Batch, depth: list[int]) -> Tensor:
    """Scores [B, N] of the structure written out.

    Each user alone, `depth` steps, attention over all states, the MLP.
    """
    states, here = model.encoded(batch)
    assert batch.candidates is not None
    found = []
    for row in range(len(batch)):
        sides = [side[row, present[row]] for side, present in zip(states, here, strict=True)]
        read = [[side] for side in sides]
        now = list(sides)
        for number in range(depth[row]):
            assert model.reasoning is not None
            some = [torch.ones(1, len(side), dtype=torch.bool) for side in now]
            now = [side[0] for side in model.reasoning([side[None] for side in now], some, number).crossed]
            for place, side in enumerate(now):
                read[place].append(side)
        vectors, user = model.item(batch.candidates[row]), model.user(batch.user[row])
        parts = []
        for place, pieces in enumerate(read):
            memory = torch.cat(pieces)
            weights = (
                torch.softmax(vectors @ model.scorer.pool[place].bridge(memory).T, dim=-1)
                if len(memory)
                else torch.zeros(len(vectors), 0)
            )
            parts.append(weights @ memory)
        joined = torch.cat((*parts, user.expand(len(vectors), -1), vectors), dim=-1)
        found.append(model.scorer.rest(model.scorer.first(joined)).squeeze(-1))
    return torch.stack(found)


@pytest.mark.parametrize("settings", [{}, {"steps": 0}, {"searches": 0}], ids=str)
def test_scores_are_those_of_the_structure_written_out(small_world: Dataset, settings: dict[str, Any]) -> None:
    model = built(small_world, **settings)
    torch.nn.init.normal_(model.user.weight)
    batch = asked(small_world, model)
    steps = model.config.steps
    depth = [steps if reasons else 0 for reasons in (both(batch) | (model.config.searches == 0)).tolist()]
    assert steps == 0 or model.config.searches == 0 or 20 < sum(map(bool, depth)) < len(batch)
    with torch.no_grad():
        torch.testing.assert_close(model.score(batch), one_by_one(model, batch, depth), atol=1e-4, rtol=1e-4)


def test_losses_are_those_of_the_paper(small_world: Dataset) -> None:
    model = built(small_world, tcl_weight=0.3, margin=0.4)
    batch = asked(small_world, model)
    with torch.no_grad():
        losses, scores = model.loss_and_scores(batch)
        truth = F.one_hot(torch.zeros(len(batch), dtype=torch.long), scores.shape[1]).float()
        torch.testing.assert_close(losses.parts["bce"], F.binary_cross_entropy_with_logits(scores, truth))
        states, here = model.encoded(batch)
        rows = both(batch).nonzero().squeeze(1)
        states, here = [side[rows] for side in states], [side[rows] for side in here]
        target, total = model.item(batch.target[rows]), torch.zeros(())
        for number in range(3):
            assert model.reasoning is not None
            thoughts = model.reasoning(states, here, number, alone=True)
            assert thoughts.alone is not None
            for side in (0, 1):
                near, far = (
                    1 - F.cosine_similarity(target, masked_mean(x[side], here[side]))
                    for x in (thoughts.crossed, thoughts.alone)
                )
                total = total + (near - far + 0.4).clamp(min=0).mean()
            states = thoughts.crossed
    torch.testing.assert_close(losses.parts["tcl"], total)
    assert losses.weights == {"bce": 1.0, "tcl": 0.3}


def gradients(model: LCRSERPaper, value: Tensor) -> dict[str, Tensor]:
    names, weights = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(value, weights, allow_unused=True, retain_graph=True)
    return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}


def test_the_detached_state_gives_no_gradient(small_world: Dataset) -> None:
    """With the crossed state held still by an infinite margin both ways, only what is not detached still moves."""
    found = {}
    for detach in (True, False):
        model = built(small_world, detach=detach, margin=9.0)
        batch = asked(small_world, model)
        states, here = model.encoded(batch)
        steps = model.reasoned(states, here, alone=True)
        still = [dataclasses.replace(step, crossed=[side.detach() for side in step.crossed]) for step in steps]
        moved = gradients(model, model.target_contrast(batch, still))
        found[detach] = {name for name, gradient in moved.items() if bool((gradient != 0).any())}
    assert found[True] == {"item.weight"}, "the target alone"
    assert any(name.startswith("reasoning.") for name in found[False])


def test_the_contrast_pulls_the_crossed_states_to_the_target(small_world: Dataset) -> None:
    model = built(small_world)
    batch = asked(small_world, model)
    adam = torch.optim.Adam(model.reasoning.parameters(), lr=0.01)  # type: ignore[union-attr]
    apart = []
    for _ in range(60):
        states, here = model.encoded(batch)
        value = model.target_contrast(batch, model.reasoned(states, here, alone=True))
        apart.append(value.item())
        adam.zero_grad()
        value.backward()
        adam.step()
    assert apart[-1] < 0.75 * apart[0]
    near, far = model.distances(batch)
    assert near.shape == (int(both(batch).sum()), 4, 2)
    assert far.shape == (int(both(batch).sum()), 3, 2)
    assert (near[:, 1:] < far).float().mean() > 0.8


def test_steps_are_not_taken_without_both_histories(small_world: Dataset) -> None:
    model = built(small_world)
    batch = asked(small_world, model)
    states, here = model.encoded(batch)
    rows = both(batch).nonzero().squeeze(1)
    assert 0 < len(rows) < len(batch)
    for step in model.reasoned(states, here):
        assert torch.equal(step.rows, rows)
    nothing = dataclasses.replace(batch, search_query=torch.zeros_like(batch.search_query))
    assert model.reasoned(*model.encoded(nothing)) == []
    assert float(model.loss(nothing).parts["tcl"]) == 0


# --- early exit ---


def exiting(data: Dataset, **settings: Any) -> LCRSERPaper:
    """Whose halting scores differ between users and change a little with each step."""
    model = built(data, exit_steps=1, **settings)
    assert model.halting is not None
    assert model.reasoning is not None
    for weight in model.reasoning.parameters():
        if weight.dim() == 2:
            weight.data.mul_(0.3)
    torch.nn.init.normal_(model.halting.weight, std=3.0)
    return model


def test_users_who_halt_leave_the_batch_and_score_as_at_that_depth(small_world: Dataset) -> None:
    model = exiting(small_world)
    batch = asked(small_world, model)
    with torch.no_grad():
        by_depth, halting = model.score_by_depth(batch)
        model.halt_above.fill_(halting[halting.isfinite()].sigmoid().median())
        above = halting.sigmoid() > model.halt_above
        depth = torch.where(above.any(1), above.float().argmax(1), 3)
        assert len(set(depth.tolist())) > 2, "users stop at different depths"
        torch.testing.assert_close(model.score(batch), by_depth[torch.arange(len(batch)), depth], atol=1e-5, rtol=1e-5)
        steps = model.reasoned(*model.encoded(batch), halt=True)
        assert [len(step.rows) for step in steps] == [n for n in (int((depth > k).sum()) for k in range(3)) if n], (
            "the batch is compacted"
        )
        torch.testing.assert_close(
            by_depth,
            torch.stack([one_by_one(model, batch, [k * int(b) for b in both(batch)]) for k in range(4)], 1),
            atol=1e-4,
            rtol=1e-4,
        )


def test_nobody_halts_before_it_is_learnt(small_world: Dataset) -> None:
    model, plain = exiting(small_world), built(small_world)
    plain.load_state_dict(model.state_dict(), strict=False)
    batch = asked(small_world, model)
    with torch.no_grad():
        assert torch.equal(model.score(batch), plain.score(batch))


# --- trajectories ---


def test_trajectories_start_from_noise(small_world: Dataset) -> None:
    model = built(small_world, noise=0.5, trajectories=4)
    batch = asked(small_world, model)
    states, _ = model.encoded(batch)
    noise = [torch.randn(len(batch), 4, *side.shape[1:], generator=torch.Generator().manual_seed(0)) for side in states]
    for own in noise:
        own[:, 0] = 0
    with torch.no_grad():
        scores = model.score_trajectories(batch, noise)
        torch.testing.assert_close(scores[:, 0], model.score(batch), atol=1e-5, rtol=1e-5)
        assert (scores[:, 1] - scores[:, 2]).abs().amax(1).min() > 1e-4, "each trajectory is its own"
        small = model.score_trajectories(batch, [own / 100 for own in noise])
    assert (small[:, 1] - small[:, 0]).abs().max() < (scores[:, 1] - scores[:, 0]).abs().max() / 10


def test_each_trajectory_has_its_own_dropout_from_the_encoder_on(small_world: Dataset) -> None:
    model = built(small_world, steps=0, dropout=0.5)
    batch = asked(small_world, model)
    states, _ = model.encoded(batch)
    silence = [torch.zeros(len(batch), 3, *side.shape[1:]) for side in states]
    with torch.no_grad():
        torch.testing.assert_close(model.score_trajectories(batch, silence)[:, 1], model.score(batch))
        scores = model.train().score_trajectories(batch, silence)
    reads = both(batch)
    assert (scores[reads, 0] - scores[reads, 1]).abs().amax(1).min() > 1e-4
